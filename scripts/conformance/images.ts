/** Cases over images, [batch, channels, height, width]: convolutions, pooling, windows and resizing, as loops. */
import { define } from './case.ts'
import { at, floats, type Grid, given, grid, padded, spaced, total } from './grid.ts'

type Pair = readonly [number, number]
const extent = (n: number, k: number, s: number, p: number, d: number): number =>
  Math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1

interface Convolution {
  readonly stride: Pair
  readonly padding: Pair
  readonly dilation: Pair
  readonly groups: number
}
function conv2d(
  x: Grid,
  w: Grid,
  bias: Grid | undefined,
  { stride, padding, dilation, groups }: Convolution,
): Grid {
  const [n, , h, width] = x.shape
  const [out, each, kh, kw] = w.shape
  const size = [
    extent(h, kh, stride[0], padding[0], dilation[0]),
    extent(width, kw, stride[1], padding[1], dilation[1]),
  ]
  return grid([n, out, ...size], ([b, o, i, j]) => {
    const first = Math.floor(o / (out / groups)) * each
    const y = total(each, c =>
      total(kh, u =>
        total(
          kw,
          v =>
            at(w, [o, c, u, v]) *
            padded(x, [
              b,
              first + c,
              stride[0] * i + dilation[0] * u - padding[0],
              stride[1] * j + dilation[1] * v - padding[1],
            ]),
        ),
      ),
    )
    return y + (bias ? at(bias, [o]) : 0)
  })
}
/** Every input element is spread over a window of the output. */
function convTranspose2d(
  x: Grid,
  w: Grid,
  bias: Grid | undefined,
  o: Convolution & { readonly output_padding: Pair },
): Grid {
  const [n, channels, h, width] = x.shape
  const [, each, kh, kw] = w.shape
  const size = (m: number, k: number, a: 0 | 1) =>
    (m - 1) * o.stride[a] - 2 * o.padding[a] + o.dilation[a] * (k - 1) + o.output_padding[a] + 1
  const y = {
    ...grid([n, each * o.groups, size(h, kh, 0), size(width, kw, 1)], ([, c]) => (bias ? at(bias, [c]) : 0)),
  }
  const data = [...y.data]
  const [, outs, oh, ow] = y.shape
  for (let b = 0; b < n; b++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < h; i++)
        for (let j = 0; j < width; j++)
          for (let e = 0; e < each; e++)
            for (let u = 0; u < kh; u++)
              for (let v = 0; v < kw; v++) {
                const channel = Math.floor(c / (channels / o.groups)) * each + e
                const row = i * o.stride[0] + u * o.dilation[0] - o.padding[0]
                const column = j * o.stride[1] + v * o.dilation[1] - o.padding[1]
                if (row >= 0 && row < oh && column >= 0 && column < ow)
                  data[((b * outs + channel) * oh + row) * ow + column] +=
                    at(x, [b, c, i, j]) * at(w, [c, e, u, v])
              }
  return { ...y, data }
}

/** Adds the convolutions. Every one is linear in each operand, so a step of 1 is exact. */
export function convolutionCases(): void {
  const linear = { step: 1 }
  for (const [x, w, stride, padding, dilation, groups, bias] of [
    [[2, 3, 5, 7], [2, 3, 3, 1], [2, 3], [0, 2], [1, 1], 1, true],
    [[1, 4, 4, 3], [6, 2, 1, 2], [1, 2], [3, 0], [1, 2], 2, false],
    [[2, 3, 5, 3], [6, 1, 2, 3], [3, 1], [1, 2], [2, 2], 3, true],
    [[3, 1, 1, 4], [1, 1, 1, 3], [1, 1], [0, 0], [1, 1], 1, false],
    [[1, 2, 9, 2], [3, 2, 4, 2], [4, 1], [2, 1], [2, 3], 1, true],
  ] as const) {
    const inputs = [floats(x), floats(w), ...(bias ? [floats([w[0]])] : [])]
    define(
      'conv2d',
      { stride, padding, dilation, groups },
      inputs,
      (a, b, c) => conv2d(a, b, c, { stride, padding, dilation, groups }),
      linear,
    )
  }
  for (const [x, w, stride, padding, dilation, groups, bias] of [
    [[2, 3, 8], [4, 3, 2], 3, 0, 2, 1, true],
    [[1, 4, 5], [2, 2, 3], 1, 4, 1, 2, false],
    [[2, 2, 7], [2, 1, 1], 2, 1, 1, 2, true],
  ] as const) {
    const inputs = [floats(x), floats(w), ...(bias ? [floats([w[0]])] : [])]
    const flat = (y: Grid) => ({ ...y, shape: [y.shape[0], y.shape[1], y.shape[3]] })
    const image = (y: Grid) => ({ ...y, shape: [y.shape[0], y.shape[1], 1, y.shape[2]] })
    define(
      'conv1d',
      { stride, padding, dilation, groups },
      inputs,
      (a, b, c) =>
        flat(
          conv2d(image(a), image(b), c, {
            stride: [1, stride],
            padding: [0, padding],
            dilation: [1, dilation],
            groups,
          }),
        ),
      linear,
    )
  }
  for (const [x, w, stride, padding, output_padding, dilation, groups, bias] of [
    [[1, 2, 3, 2], [2, 3, 3, 2], [3, 2], [1, 1], [2, 1], [1, 3], 1, true],
    [[1, 4, 2, 3], [4, 1, 2, 3], [1, 2], [0, 2], [0, 0], [2, 1], 2, false],
    [[1, 3, 1, 4], [3, 2, 1, 4], [2, 1], [0, 1], [1, 0], [1, 1], 3, true],
    [[2, 1, 3, 3], [1, 2, 2, 2], [2, 2], [0, 0], [0, 0], [1, 1], 1, true],
  ] as const) {
    const options = { stride, padding, output_padding, dilation, groups }
    const inputs = [floats(x), floats(w), ...(bias ? [floats([w[1] * groups])] : [])]
    define('conv_transpose2d', options, inputs, (a, b, c) => convTranspose2d(a, b, c, options), linear)
  }
}

/** Adds pooling and windows. */
export function poolingCases(): void {
  for (const [x, kernel, stride, padding, dilation] of [
    [
      [2, 1, 7, 5],
      [3, 2],
      [2, 3],
      [1, 0],
      [2, 1],
    ],
    [
      [1, 2, 4, 6],
      [1, 4],
      [1, 2],
      [0, 2],
      [1, 1],
    ],
    [
      [1, 3, 5, 1],
      [2, 1],
      [4, 1],
      [0, 0],
      [1, 1],
    ],
    [
      [2, 1, 4, 8],
      [3, 3],
      [1, 2],
      [1, 1],
      [1, 3],
    ],
  ] as const) {
    const [n, c, h, w] = x
    const size = (d: Pair) => [
      extent(h, kernel[0], stride[0], padding[0], d[0]),
      extent(w, kernel[1], stride[1], padding[1], d[1]),
    ]
    const window = ([b, k, i, j]: readonly number[], d: Pair) =>
      Array.from({ length: kernel[0] * kernel[1] }, (_, t) => {
        const [u, v] = [Math.floor(t / kernel[1]), t % kernel[1]]
        return [b, k, stride[0] * i + d[0] * u - padding[0], stride[1] * j + d[1] * v - padding[1]]
      })
    define(
      'max_pool2d',
      { kernel, stride, padding, dilation },
      [spaced(x)],
      g =>
        grid([n, c, ...size(dilation)], i =>
          Math.max(...window(i, dilation).map(p => padded(g, p, -Infinity))),
        ),
      { step: 0.02 },
    )
    for (const count_include_pad of [true, false])
      define(
        'avg_pool2d',
        { kernel, stride, padding, count_include_pad },
        [floats(x)],
        g =>
          grid([n, c, ...size([1, 1])], i => {
            const places = window(i, [1, 1])
            const inside = places.filter(([, , a, b]) => a >= 0 && a < h && b >= 0 && b < w).length
            return (
              total(places.length, k => padded(g, places[k])) / (count_include_pad ? places.length : inside)
            )
          }),
        { step: 1 },
      )
    const [oh, ow] = size(dilation)
    define(
      'unfold',
      { kernel, stride, padding, dilation },
      [floats(x)],
      g =>
        grid([n, c * kernel[0] * kernel[1], oh * ow], ([b, k, l]) => {
          const area = kernel[0] * kernel[1]
          return padded(g, window([b, Math.floor(k / area), Math.floor(l / ow), l % ow], dilation)[k % area])
        }),
      { step: 1 },
    )
  }
  define(
    'max_pool2d',
    { kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [1, 1] },
    [given([1, 1, 3, 5], [1, 1, 0, 2, 9, 1, 0, 2, 2, 9, 9, 9, 9, 9, 9])],
    () => given([1, 1, 1, 2], [1, 2]),
    {
      note: 'ties: the first of a window takes the gradient',
      pullback: (_, dy) => [
        given([1, 1, 3, 5], [dy.data[0], 0, 0, dy.data[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      ],
    },
  )
  for (const [x, size] of [
    [
      [2, 1, 7, 5],
      [3, 2],
    ],
    [
      [1, 2, 4, 4],
      [5, 1],
    ],
    [
      [1, 3, 1, 9],
      [1, 4],
    ],
    [
      [1, 2, 3, 2],
      [3, 2],
    ],
  ] as const)
    define(
      'adaptive_avg_pool2d',
      { output_size: size },
      [floats(x)],
      g =>
        grid([x[0], x[1], ...size], ([n, c, i, j]) => {
          const part = (k: number, m: number, o: number) => [
            Math.floor((k * m) / o),
            Math.ceil(((k + 1) * m) / o),
          ]
          const [[top, bottom], [left, right]] = [part(i, x[2], size[0]), part(j, x[3], size[1])]
          return (
            total(bottom - top, u => total(right - left, v => at(g, [n, c, top + u, left + v]))) /
            ((bottom - top) * (right - left))
          )
        }),
      { step: 1 },
    )
}

/** Weights of source positions for output position i of n to m pixels. */
type Sampling = (i: number, n: number, m: number, align: boolean) => readonly (readonly [number, number])[]
const place = (i: number, n: number, m: number, align: boolean): number =>
  align ? (m > 1 ? (i * (n - 1)) / (m - 1) : 0) : ((i + 0.5) * n) / m - 0.5
const bilinear: Sampling = (i, n, m, align) => {
  const s = Math.max(place(i, n, m, align), 0)
  const low = Math.floor(s)
  return [
    [low, 1 - (s - low)],
    [Math.min(low + 1, n - 1), s - low],
  ]
}
/** Keys' kernel with a = -0.75 (1981), positions clamped to the image. */
const bicubic: Sampling = (i, n, m, align) => {
  const s = place(i, n, m, align)
  const low = Math.floor(s)
  const a = -0.75
  const weight = (t: number) =>
    t <= 1
      ? (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1
      : t < 2
        ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a
        : 0
  return [-1, 0, 1, 2].map(
    k => [Math.min(Math.max(low + k, 0), n - 1), weight(Math.abs(s - low - k))] as const,
  )
}
const nearest: Sampling = (i, n, m) => [[Math.floor((i * n) / m), 1]]

/** Adds resizing. */
export function resizeCases(): void {
  const resize = (x: Grid, size: Pair, align: boolean, how: Sampling): Grid =>
    grid([x.shape[0], x.shape[1], ...size], ([n, c, i, j]) =>
      how(i, x.shape[2], size[0], align).reduce(
        (sum, [u, wu]) =>
          sum +
          how(j, x.shape[3], size[1], align).reduce((t, [v, wv]) => t + wu * wv * at(x, [n, c, u, v]), 0),
        0,
      ),
    )
  for (const [x, size] of [
    [
      [1, 1, 3, 5],
      [7, 2],
    ],
    [
      [2, 1, 1, 4],
      [3, 9],
    ],
    [
      [1, 1, 6, 3],
      [1, 3],
    ],
    [
      [2, 1, 2, 5],
      [5, 4],
    ],
  ] as const) {
    for (const align_corners of [false, true]) {
      define(
        'resize_bilinear',
        { size, align_corners },
        [floats(x)],
        g => resize(g, size, align_corners, bilinear),
        { step: 1 },
      )
      define(
        'resize_bicubic',
        { size, align_corners },
        [floats(x)],
        g => resize(g, size, align_corners, bicubic),
        { step: 1 },
      )
    }
    define('resize_nearest', { size }, [floats(x)], g => resize(g, size, false, nearest), { step: 1 })
  }
}
