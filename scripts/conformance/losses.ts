/** Normalisation and losses, by their definitions. */
import { define } from './case.ts'
import {
  at,
  floats,
  front,
  type Grid,
  given,
  grid,
  type Index,
  indices,
  ints,
  put,
  random,
  total,
} from './grid.ts'

const mean = (v: readonly number[]): number => total(v.length, k => v[k]) / v.length
const variance = (v: readonly number[]): number => mean(v.map(x => (x - mean(v)) ** 2))
const scalar = (v: number): Grid => ({ shape: [], data: [v] })

/** (x - m) / sqrt(v + eps) over the elements that share a group. */
function standardise(x: Grid, group: (i: Index) => string, eps: number): Grid {
  const groups = new Map<string, number[]>()
  for (const i of indices(x.shape)) groups.set(group(i), [...(groups.get(group(i)) ?? []), at(x, i)])
  const moments = new Map([...groups].map(([k, v]) => [k, [mean(v), Math.sqrt(variance(v) + eps)] as const]))
  return grid(x.shape, i => {
    const [m, root] = moments.get(group(i)) ?? [0, 1]
    return (at(x, i) - m) / root
  })
}
const affine = (x: Grid, weight: (i: Index) => number, bias: (i: Index) => number): Grid =>
  grid(x.shape, i => at(x, i) * weight(i) + bias(i))
const channel = (v: Grid) => (i: Index) => at(v, [i[1]])

/** Adds batch, layer, group and instance norm, and NFD. */
export function normCases(): void {
  for (const [shape, eps, momentum] of [
    [[3, 2, 1, 3], 0.01, 0.3],
    [[2, 3, 4], 1e-5, 0.1],
    [[5, 2], 1e-3, 1],
  ] as const) {
    const c = shape[1]
    const inputs = [floats(shape), floats([c]), floats([c]), floats([c]), floats([c], 0.3, 2)]
    const values = (x: Grid, k: number) => [...indices(x.shape)].filter(i => i[1] === k).map(i => at(x, i))
    define(
      'batch_norm',
      { training: true, eps, momentum, outputs: ['y', 'new_mean', 'new_var'] },
      inputs,
      (x, w, b, m, v) => {
        const n = values(x, 0).length
        return [
          affine(
            standardise(x, i => String(i[1]), eps),
            channel(w),
            channel(b),
          ),
          grid([c], ([k]) => (1 - momentum) * at(m, [k]) + momentum * mean(values(x, k))),
          grid([c], ([k]) => (1 - momentum) * at(v, [k]) + (momentum * variance(values(x, k)) * n) / (n - 1)),
        ]
      },
      { wrt: [0, 1, 2], step: 0.1 },
    )
    define(
      'batch_norm',
      { training: false, eps },
      inputs,
      (x, w, b, m, v) =>
        grid(
          shape,
          i => ((at(x, i) - at(m, [i[1]])) / Math.sqrt(at(v, [i[1]]) + eps)) * at(w, [i[1]]) + at(b, [i[1]]),
        ),
      { wrt: [0, 1, 2] },
    )
  }
  for (const [shape, axes, eps] of [
    [[2, 3, 5], [-1], 0.1],
    [[2, 3, 2], [1, 2], 1e-5],
    [[4, 3], [0, 1], 1e-3],
  ] as const) {
    const extents = axes.map(a => shape[a < 0 ? a + shape.length : a])
    define(
      'layer_norm',
      { axes, eps },
      [floats(shape), floats(extents), floats(extents)],
      (x, w, b) => {
        const list = axes.map(a => front(a, x))
        const own = (i: Index) => list.map(a => i[a])
        return affine(
          standardise(x, i => String(i.filter((_, a) => !list.includes(a))), eps),
          i => at(w, own(i)),
          i => at(b, own(i)),
        )
      },
      { step: 0.1 },
    )
  }
  for (const [shape, groups] of [
    [[2, 6, 3], 3],
    [[1, 4, 2, 3], 1],
    [[2, 2, 1, 5], 2],
  ] as const) {
    const c = shape[1]
    define(
      'group_norm',
      { groups, eps: 0.02 },
      [floats(shape), floats([c]), floats([c])],
      (x, w, b) =>
        affine(
          standardise(x, i => `${i[0]} ${Math.floor(i[1] / (c / groups))}`, 0.02),
          channel(w),
          channel(b),
        ),
      { step: 0.1 },
    )
    define(
      'instance_norm',
      { eps: 0.003 },
      [floats(shape)],
      x => standardise(x, i => `${i[0]} ${i[1]}`, 0.003),
      { step: 0.05 },
    )
  }
  for (const [shape, axes, eps] of [
    [[2, 2, 3, 3], [2, 3], 1e-3],
    [[1, 3, 2, 5], [1], 0.05],
    [[3, 2, 2, 2], [0, 2, 3], 0.1],
  ] as const)
    define(
      'nfd',
      { axes, eps },
      [floats(shape), floats(shape)],
      (s, t) => {
        const group = (i: Index) => String(i.filter((_, a) => !axes.some(b => b === a)))
        const [p, q] = [standardise(s, group, eps), standardise(t, group, eps)]
        return scalar(mean(p.data.map((v, k) => (v - q.data[k]) ** 2)))
      },
      { wrt: [0], step: 0.05 },
    )
}

/** Adds the losses. */
export function lossCases(): void {
  const reductions = ['mean', 'sum', 'none'] as const
  const reduced = (losses: Grid, how: (typeof reductions)[number]): Grid =>
    how === 'none'
      ? losses
      : scalar(how === 'sum' ? total(losses.data.length, k => losses.data[k]) : mean(losses.data))
  const logSoftmax = (x: Grid, axis: number, temperature = 1): Grid => {
    const sum = (i: Index) => total(x.shape[axis], k => Math.exp(at(x, put(i, axis, k)) / temperature))
    return grid(x.shape, i => at(x, i) / temperature - Math.log(sum(i)))
  }
  for (const [shape, ignore] of [
    [[2, 3, 2, 3], 255],
    [[5, 3], 2],
    [[3, 2, 4], -100],
    [[1, 5, 1, 4], 255],
  ] as const)
    for (const [smoothing, weighted] of [
      [0, false],
      [0, true],
      [0.3, false],
      [0.2, true],
    ] as const)
      for (const reduction of smoothing > 0 && shape[3] === 3
        ? reductions
        : reductions.slice(shape.length % 3, (shape.length % 3) + 1)) {
        const classes = shape[1]
        const drawn = ints([shape[0], ...shape.slice(2)], classes)
        const labels = {
          ...drawn,
          data: drawn.data.map((v, k) => (k > 0 && random() < 0.2 ? ignore : v === ignore ? 0 : v)),
        }
        const attrs = {
          reduction,
          ignore_index: ignore,
          ...(smoothing > 0 ? { label_smoothing: smoothing } : {}),
          ...(weighted ? { weighted } : {}),
        }
        const inputs = [floats(shape, -3, 3), labels, ...(weighted ? [floats([classes], 0.2, 2)] : [])]
        define(
          'cross_entropy',
          attrs,
          inputs,
          (x, y, w) => {
            const logs = logSoftmax(x, 1)
            const weight = (c: number) => (w ? at(w, [c]) : 1)
            const losses = grid(y.shape, i => {
              if (at(y, i) === ignore) return 0
              const q = (c: number) => (1 - smoothing) * Number(c === at(y, i)) + smoothing / classes
              return -total(classes, c => q(c) * weight(c) * at(logs, [i[0], c, ...i.slice(1)]))
            })
            if (reduction !== 'mean') return reduced(losses, reduction)
            const norm = y.data.map(c => (c === ignore ? 0 : weight(c)))
            return scalar(total(losses.data.length, k => losses.data[k]) / total(norm.length, k => norm[k]))
          },
          { wrt: [0] },
        )
      }
  const pairwise = (
    x: Grid,
    y: Grid,
    how: (typeof reductions)[number],
    f: (a: number, b: number) => number,
  ) =>
    reduced(
      grid(x.shape, i => f(at(x, i), at(y, i))),
      how,
    )
  for (const [k, reduction] of reductions.entries()) {
    const shape = [[7], [2, 1, 3], [1, 3, 2]][k]
    define('mse_loss', { reduction }, [floats(shape), floats(shape)], (x, y) =>
      pairwise(x, y, reduction, (a, b) => (a - b) ** 2),
    )
    define(
      'bce_with_logits',
      { reduction },
      [floats(shape, -5, 5), floats(shape, 0, 1)],
      (x, y) =>
        pairwise(
          x,
          y,
          reduction,
          (a, b) => -b * Math.log(1 / (1 + Math.exp(-a))) - (1 - b) * Math.log(1 / (1 + Math.exp(a))),
        ),
      { wrt: [0] },
    )
    for (const beta of [0.5, 1, 3.25])
      define(
        'smooth_l1_loss',
        { reduction, beta },
        [
          floats(shape),
          {
            ...given(
              shape,
              grid(shape, () => 0).data.map((_, j) => 2 * (j % 2) - 1),
            ),
          },
        ].map(quarter),
        (x, y) =>
          pairwise(x, y, reduction, (a, b) =>
            Math.abs(a - b) < beta ? (a - b) ** 2 / (2 * beta) : Math.abs(a - b) - beta / 2,
          ),
        { step: 0.1 },
      )
  }
  define(
    'bce_with_logits',
    { reduction: 'none' },
    [given([4], [100, -100, 40, -40]), given([4], [0, 1, 1, 0])],
    () => given([4], [100, 100, Math.exp(-40), Math.exp(-40)]),
    {
      wrt: [0],
      pullback: (_, dy) => [
        given([4], [dy.data[0], -dy.data[1], -dy.data[2] * Math.exp(-40), dy.data[3] * Math.exp(-40)]),
        null,
      ],
    },
  )
  for (const [shape, axis, temperature] of [
    [[3, 5], 1, 1],
    [[2, 3, 2, 2], 1, 4],
    [[4, 1, 3], -1, 0.5],
    [[3, 2], 0, 2.5],
  ] as const)
    define(
      'kl_distillation',
      { temperature, axis },
      [floats(shape), floats(shape)],
      (s, t) => {
        const a = front(axis, s)
        const [q, p] = [logSoftmax(s, a, temperature), logSoftmax(t, a, temperature)]
        const sum = total(p.data.length, k => Math.exp(p.data[k]) * (p.data[k] - q.data[k]))
        return scalar((sum / (p.data.length / shape[a])) * temperature ** 2)
      },
      { wrt: [0], step: 0.1 },
    )
  for (const [shape, axis] of [
    [[2, 5], -1],
    [[3, 2, 4], 0],
    [[2, 3, 1, 2], 1],
  ] as const)
    define(
      'cosine_similarity',
      { axis },
      [floats(shape), floats(shape)],
      (x, y) => {
        const a = front(axis, x)
        const dot = (u: Grid, v: Grid, i: Index) =>
          total(shape[a], k => at(u, put(i, a, k)) * at(v, put(i, a, k)))
        const kept = grid(
          shape.map((n, k) => (k === a ? 1 : n)),
          i => dot(x, y, i) / Math.sqrt(dot(x, x, i) * dot(y, y, i)),
        )
        return { ...kept, shape: shape.filter((_, k) => k !== a) }
      },
      { step: 0.1 },
    )
}
/** Values on a grid of 1/4 and 1/8 off it, so that differences keep 1/8 away from the kinks at 0.5, 1 and 3.25. */
const quarter = (x: Grid, k: number): Grid => ({ ...x, data: x.data.map(v => Math.round(v * 4) / 4 + k / 8) })
