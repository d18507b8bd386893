/** Cases that move elements or contract them: layout, indices, matrix products, einsum, attention. */
import { define } from './case.ts'
import { at, floats, front, type Grid, grid, type Index, indices, ints, padded, put, total } from './grid.ts'

/** Where a position outside 0 ... n - 1 reads from. */
const edge = (i: number, n: number): number => Math.min(Math.max(i, 0), n - 1)
const reflect = (i: number, n: number): number => (i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i)
const modulo = (i: number, n: number): number => ((i % n) + n) % n

/** An einsum by its definition: every label runs, the product of all operands is added up. */
export function einsum(equation: string, xs: readonly Grid[]): Grid {
  const [left, out] = equation.split('->')
  const terms = left.split(',')
  const extent = new Map(terms.flatMap((t, k) => [...t].map((c, a) => [c, xs[k].shape[a]] as const)))
  const labels = [...extent.keys()]
  const summed = labels.filter(c => !out.includes(c))
  const value = (c: string) => extent.get(c) ?? 0
  return grid([...out].map(value), i => {
    let sum = 0
    for (const inner of indices(summed.map(value))) {
      const where = (c: string) => (out.includes(c) ? i[out.indexOf(c)] : inner[summed.indexOf(c)])
      sum += terms.reduce((p, t, k) => p * at(xs[k], [...t].map(where)), 1)
    }
    return sum
  })
}

/** Adds the layout cases. */
export function shapingCases(): void {
  for (const [shape, to] of [
    [
      [2, 3, 5],
      [5, 6],
    ],
    [
      [1, 7],
      [7, 1, 1],
    ],
    [[4], [2, 2]],
    [[1, 1], []],
  ] as const)
    define('reshape', { shape: to }, [floats(shape)], x => ({ ...x, shape: to }))
  for (const axes of [
    [1, 0],
    [2, 1, 0],
    [0, 3, 1, 2],
    [4, 2, 0, 3, 1],
  ]) {
    const shape = [2, 3, 1, 4, 2].slice(0, axes.length)
    define('transpose', { axes }, [floats(shape)], x =>
      grid(
        axes.map(a => x.shape[a]),
        i =>
          at(
            x,
            axes.reduce<Index>((j, a, k) => put(j, a, i[k]), i),
          ),
      ),
    )
  }
  for (const [shape, starts, stops, steps] of [
    [
      [5, 7],
      [0, 3],
      [5, 7],
      [2, 3],
    ],
    [
      [4, 1, 6],
      [3, 0, 1],
      [4, 1, 6],
      [1, 1, 4],
    ],
    [[9], [2], [9], [7]],
  ] as const)
    define('slice', { starts, stops, steps }, [floats(shape)], x =>
      grid(
        shape.map((_, a) => Math.ceil((stops[a] - starts[a]) / steps[a])),
        i =>
          at(
            x,
            i.map((v, a) => starts[a] + v * steps[a]),
          ),
      ),
    )
  for (const [shape, axes] of [
    [[5], [0]],
    [
      [2, 3, 4],
      [-1, 1],
    ],
    [
      [1, 3],
      [-2, -1],
    ],
  ] as const)
    define('flip', { axes }, [floats(shape)], x => {
      const turned = axes.map(a => front(a, x))
      return grid(shape, i =>
        at(
          x,
          i.map((v, a) => (turned.includes(a) ? shape[a] - 1 - v : v)),
        ),
      )
    })
  for (const [shape, axis, extents] of [
    [[2, 3], -1, [1, 4]],
    [[1, 2, 3], 0, [2, 1, 1]],
    [[3, 1, 2], -2, [1, 3, 2]],
  ] as const) {
    const xs = extents.map(n =>
      floats(shape.map((d, a) => (a === (axis < 0 ? axis + shape.length : axis) ? n : d))),
    )
    const a = front(axis, xs[0])
    define('concat', { axis }, xs, (...parts) =>
      grid(
        put(
          shape,
          a,
          total(parts.length, k => extents[k]),
        ),
        i => {
          let [k, rest] = [0, i[a]]
          for (; rest >= extents[k]; k++) rest -= extents[k]
          return at(parts[k], put(i, a, rest))
        },
      ),
    )
  }
  for (const [shape, axis, n] of [
    [[3], 0, 2],
    [[2, 3], -1, 3],
    [[2, 1, 2], 2, 2],
  ] as const) {
    const a = axis < 0 ? axis + shape.length + 1 : axis
    define(
      'stack',
      { axis },
      Array.from({ length: n }, () => floats(shape)),
      (...xs) =>
        grid([...shape.slice(0, a), n, ...shape.slice(a)], i =>
          at(xs[i[a]], [...i.slice(0, a), ...i.slice(a + 1)]),
        ),
    )
  }
  for (const [shape, shift, axes] of [
    [[5], [7], [0]],
    [[2, 3], [-1], [-1]],
    [
      [3, 4, 2],
      [2, -5, 1],
      [1, 0, -1],
    ],
  ] as const)
    define('roll', { shift, axes }, [floats(shape)], x =>
      grid(shape, i =>
        at(
          x,
          axes.reduce<Index>(
            (j, axis, k) =>
              put(j, front(axis, x), modulo(j[front(axis, x)] - shift[k], shape[front(axis, x)])),
            i,
          ),
        ),
      ),
    )
  for (const [shape, repeats] of [
    [[3], [4]],
    [
      [1, 2],
      [3, 2],
    ],
    [
      [2, 1, 3],
      [1, 5, 1],
    ],
    [
      [2, 2],
      [2, 1, 3],
    ],
  ] as const)
    define('tile', { repeats }, [floats(shape)], x => {
      const lead = repeats.length - shape.length
      const extents = repeats.map((r, a) => r * (shape[a - lead] ?? 1))
      return grid(extents, i =>
        at(
          x,
          i.slice(lead).map((v, a) => v % shape[a]),
        ),
      )
    })
  const pads = [
    [
      [3, 4],
      [
        [2, 0],
        [1, 3],
      ],
    ],
    [
      [1, 2, 3],
      [
        [0, 0],
        [1, 0],
        [2, 2],
      ],
    ],
    [[5], [[4, 4]]],
  ] as const
  for (const [shape, widths] of pads)
    for (const [mode, value] of [
      ['constant', -1.25],
      ['edge', 0],
      ['reflect', 0],
    ] as const)
      define('pad', { widths, mode, ...(mode === 'constant' ? { value } : {}) }, [floats(shape)], x =>
        grid(
          shape.map((n, a) => n + widths[a][0] + widths[a][1]),
          i => {
            const from = i.map((v, a) => v - widths[a][0])
            if (mode === 'constant') return padded(x, from, value)
            return at(
              x,
              from.map((v, a) => (mode === 'edge' ? edge : reflect)(v, shape[a])),
            )
          },
        ),
      )
  for (const [shape, k] of [
    [[3, 5], 0],
    [[4, 3], -2],
    [[2, 3, 3], 1],
    [[1, 4], 2],
  ] as const) {
    const keep = (f: (row: number, column: number) => boolean) => (x: Grid) =>
      grid(shape, i => (f(i[i.length - 2], i[i.length - 1]) ? at(x, i) : 0))
    define(
      'triu',
      { k },
      [floats(shape)],
      keep((row, column) => column - row >= k),
    )
    define(
      'tril',
      { k },
      [floats(shape)],
      keep((row, column) => column - row <= k),
    )
  }
  for (const [[n, c, h, w], r] of [
    [[2, 9, 1, 2], 3],
    [[1, 4, 3, 1], 2],
    [[1, 3, 2, 2], 1],
  ] as const)
    define('pixel_shuffle', { factor: r }, [floats([n, c, h, w])], x =>
      grid([n, c / (r * r), h * r, w * r], ([b, o, i, j]) =>
        at(x, [b, o * r * r + (i % r) * r + (j % r), Math.floor(i / r), Math.floor(j / r)]),
      ),
    )
}

/** Adds the cases with index operands. */
export function indexCases(): void {
  for (const [shape, axis, n] of [
    [[4], 0, 6],
    [[3, 5], -1, 2],
    [[2, 3, 2], 1, 5],
    [[1, 4], 0, 3],
  ] as const) {
    const a = axis < 0 ? axis + shape.length : axis
    const extents = put(shape, a, n)
    define('take', { axis }, [floats(shape), ints([n], shape[a])], (x, k) =>
      grid(extents, i => at(x, put(i, a, at(k, [i[a]])))),
    )
    // an index may be smaller than its operand on the other axes
    for (const smaller of shape.length > 1 ? [0, 1] : [0]) {
      const size = extents.map((d, b) => (b === a ? d : Math.max(1, d - smaller)))
      const index = ints(size, shape[a])
      define('gather', { axis }, [floats(shape), index], (x, k) =>
        grid(size, i => at(x, put(i, a, at(k, i)))),
      )
      define('scatter_add', { axis }, [floats(shape), index, floats(size)], (x, k, u) =>
        grid(shape, i => at(x, i) + total(n, j => (at(k, put(i, a, j)) === i[a] ? at(u, put(i, a, j)) : 0))),
      )
    }
  }
  for (const [shape, depth] of [
    [[5], 3],
    [[2, 1, 3], 7],
    [[], 4],
  ] as const)
    define('one_hot', { depth }, [ints(shape, depth)], x => ({
      ...grid([...shape, depth], i => Number(at(x, i) === i[shape.length])),
      dtype: 'int64',
    }))
}

/** Adds the contractions. */
export function contractionCases(): void {
  for (const [a, b] of [
    [
      [3, 5],
      [5, 2],
    ],
    [
      [1, 7],
      [7, 1],
    ],
    [
      [2, 1, 3, 4],
      [3, 4, 1],
    ],
    [
      [5, 2, 3],
      [3, 3],
    ],
    [[4], [4, 3]],
    [[2, 3], [3]],
  ] as const)
    define('matmul', {}, [floats(a), floats(b)], (x, y) => {
      const [rows, columns] = [x.shape.length > 1, y.shape.length > 1]
      const [bx, by] = [x.shape.slice(0, -2), y.shape.slice(0, -2)]
      const rank = Math.max(bx.length, by.length)
      const batch = Array.from({ length: rank }, (_, k) =>
        Math.max(bx[k - rank + bx.length] ?? 1, by[k - rank + by.length] ?? 1),
      )
      const own = (i: Index, s: readonly number[]) =>
        i.slice(rank - s.length, rank).map((v, k) => (s[k] === 1 ? 0 : v))
      const tail = [...(rows ? x.shape.slice(-2, -1) : []), ...(columns ? y.shape.slice(-1) : [])]
      return grid([...batch, ...tail], i =>
        total(x.shape[x.shape.length - 1], k => {
          const left = rows ? [i[rank], k] : [k]
          const right = columns ? [k, i[i.length - 1]] : [k]
          return at(x, [...own(i, bx), ...left]) * at(y, [...own(i, by), ...right])
        }),
      )
    })
  for (const [equation, ...shapes] of [
    ['bij,bjk->bik', [2, 3, 1], [2, 1, 4]],
    ['ij,kj->', [2, 3], [4, 3]],
    ['i,j->ji', [3], [2]],
    ['abc->b', [2, 3, 2]],
    ['nchw,ochw->no', [2, 2, 1, 3], [3, 2, 1, 3]],
    ['bhqd,bhkd->bhqk', [1, 2, 3, 2], [1, 2, 4, 2]],
    ['ij,jk,kl->il', [2, 3], [3, 2], [2, 4]],
    ['ij,ij->ij', [3, 2], [3, 2]],
  ] as const)
    define(
      'einsum',
      { equation },
      shapes.map(s => floats(s)),
      (...xs) => einsum(equation, xs),
      { step: 1 },
    )
  for (const [[b, h, q, k, d, v], causal] of [
    [[1, 1, 3, 5, 2, 4], false],
    [[2, 1, 4, 4, 3, 3], true],
    [[1, 2, 1, 3, 1, 2], false],
    [[1, 1, 3, 5, 2, 2], true],
  ] as const)
    define(
      'attention',
      { causal },
      [floats([b, h, q, d]), floats([b, h, k, d]), floats([b, h, k, v])],
      (x, y, z) =>
        grid([b, h, q, v], ([n, m, i, c]) => {
          const allowed = (j: number) => !causal || j <= i
          const weight = (j: number) =>
            allowed(j) ? Math.exp(total(d, e => at(x, [n, m, i, e]) * at(y, [n, m, j, e])) / Math.sqrt(d)) : 0
          return total(k, j => weight(j) * at(z, [n, m, j, c])) / total(k, weight)
        }),
    )
}
