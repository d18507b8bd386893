/**
 * Every method from its formula, in f64, as loops over numbers: what the tests of `src/nfd` compare with. It shares
 * no code with it. In: aligned features, [batch, channels, h, w]. Out: the loss.
 */
import type { NDArray } from '../../src/dsl/array.ts'

/** A feature's numbers: x(n, c, p), p the pixel. */
export interface Grid {
  readonly n: number
  readonly c: number
  readonly h: number
  readonly w: number
  readonly x: (n: number, c: number, p: number) => number
}
/** A feature as a grid. */
export function grid({ shape: [n, c, h, w], data }: NDArray): Grid {
  return { n, c, h, w, x: (b, k, p) => Number(data[(b * c + k) * h * w + p]) }
}
const changed = (g: Grid, x: Grid['x']): Grid => ({ ...g, x })
/** The numbers of a grid computed once. */
function stored(g: Grid): Grid {
  const values = upTo(g.n).map(b => upTo(g.c).map(k => upTo(g.h * g.w).map(p => g.x(b, k, p))))
  return changed(g, (b, k, p) => values[b][k][p])
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const sum = (xs: readonly number[]): number => xs.reduce((a, x) => a + x, 0)
const mean = (xs: readonly number[]): number => sum(xs) / xs.length
const dot = (a: readonly number[], b: readonly number[]): number => sum(a.map((x, i) => x * b[i]))
const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a))
const unit = (a: readonly number[]): number[] => a.map(x => x / norm(a))
const centred = (a: readonly number[]): number[] => a.map(x => x - mean(a))
const softmax = (z: readonly number[], t: number): number[] => {
  const e = z.map(v => Math.exp((v - Math.max(...z)) / t))
  return e.map(v => v / sum(e))
}
const kl = (p: readonly number[], q: readonly number[]): number =>
  sum(p.map((v, i) => v * Math.log(v / q[i])))
const pearson = (a: readonly number[], b: readonly number[]): number =>
  dot(centred(a), centred(b)) / (norm(centred(a)) * norm(centred(b)))
const pixels = (g: Grid): number[] => upTo(g.h * g.w)
/** The vector of a pixel over the channels. */
const vector = (g: Grid, b: number, p: number): number[] => upTo(g.c).map(k => g.x(b, k, p))
/** A plane. */
const plane = (g: Grid, b: number, k: number): number[] => pixels(g).map(p => g.x(b, k, p))
/** All (batch, pixel). */
const places = (g: Grid): (readonly [number, number])[] =>
  upTo(g.n).flatMap(b => pixels(g).map(p => [b, p] as const))
const meanSquare = (s: Grid, t: Grid): number =>
  mean(upTo(s.n).flatMap(b => upTo(s.c).flatMap(k => pixels(s).map(p => (s.x(b, k, p) - t.x(b, k, p)) ** 2))))

/** FitNet */
export const fitnet = meanSquare

/** The axes of a group, by name. */
export type Axes = 'HW' | 'NHW' | 'C' | 'CHW' | 'none'
/** The values that share statistics with (b, k, p). */
const group = (g: Grid, axes: Axes, b: number, k: number, p: number): number[] =>
  axes === 'HW'
    ? plane(g, b, k)
    : axes === 'NHW'
      ? upTo(g.n).flatMap(m => plane(g, m, k))
      : axes === 'C'
        ? vector(g, b, p)
        : upTo(g.c).flatMap(l => plane(g, b, l))
const standardised = (g: Grid, axes: Axes, deviation: (variance: number, count: number) => number): Grid =>
  stored(
    changed(g, (b, k, p) => {
      const values = group(g, axes, b, k, p)
      const variance = mean(centred(values).map(v => v * v))
      return (g.x(b, k, p) - mean(values)) / deviation(variance, values.length)
    }),
  )

/** NFD, absolute eps */
export const nfd = (s: Grid, t: Grid, axes: Axes, eps: number): number => {
  const N = (g: Grid) => (axes === 'none' ? g : standardised(g, axes, v => Math.sqrt(v + eps)))
  return meanSquare(N(s), N(t))
}
/** NFD, eps in units of the feature's mean variance */
export const nfdRelative = (s: Grid, t: Grid, axes: Exclude<Axes, 'none'>, eps: number): number => {
  const N = (g: Grid) => {
    const variances = upTo(g.n).flatMap(b =>
      upTo(g.c).flatMap(k => pixels(g).map(p => mean(centred(group(g, axes, b, k, p)).map(v => v * v)))),
    )
    return standardised(g, axes, v => Math.sqrt(v + eps * mean(variances)))
  }
  return meanSquare(N(s), N(t))
}

const unbiased = (variance: number, count: number): number => Math.sqrt((variance * count) / (count - 1))
/** PKD */
export const pkd = (s: Grid, t: Grid): number => {
  const N = (g: Grid) => standardised(g, 'NHW', (v, n) => unbiased(v, n) + 1e-6)
  return meanSquare(N(s), N(t)) / 2
}

/** CWD */
export const cwd = (s: Grid, t: Grid, tau: number): number =>
  tau ** 2 *
  mean(
    upTo(s.n).flatMap(b =>
      upTo(s.c).map(k => kl(softmax(plane(t, b, k), tau), softmax(plane(s, b, k), tau))),
    ),
  )

/** KD */
export const kd = (s: Grid, t: Grid, tau: number): number =>
  tau ** 2 * mean(places(s).map(([b, p]) => kl(softmax(vector(t, b, p), tau), softmax(vector(s, b, p), tau))))

/** KD of standardised logits */
export const standardisedKd = (s: Grid, t: Grid, tau: number): number => {
  const Z = (g: Grid) => standardised(g, 'C', (v, n) => unbiased(v, n) + 1e-7)
  return kd(Z(s), Z(t), tau)
}

/** DIST */
export function dist(s: Grid, t: Grid, tau: number, beta: number, gamma: number): number {
  const P = (g: Grid) => stored(changed(g, (b, k, p) => softmax(vector(g, b, p), tau)[k]))
  const [a, b] = [P(s), P(t)]
  const inter = 1 - mean(places(s).map(([i, p]) => pearson(vector(a, i, p), vector(b, i, p))))
  const column = (g: Grid, k: number) => places(g).map(([i, p]) => g.x(i, k, p))
  const intra = 1 - mean(upTo(s.c).map(k => pearson(column(a, k), column(b, k))))
  return tau ** 2 * (beta * inter + gamma * intra)
}

/** AT */
export function at(s: Grid, t: Grid): number {
  const map = (g: Grid, b: number) => unit(pixels(g).map(p => mean(vector(g, b, p).map(v => v * v))))
  return mean(upTo(s.n).flatMap(b => map(s, b).map((v, p) => (v - map(t, b)[p]) ** 2)))
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
/** What attention without parameters leaves. */
function refined(g: Grid): Grid {
  const gated = stored(
    changed(g, (b, k, p) => {
      const values = plane(g, b, k)
      return g.x(b, k, p) * sigmoid(mean(values) + Math.max(...values))
    }),
  )
  return stored(
    changed(g, (b, k, p) => {
      const values = vector(gated, b, p)
      return gated.x(b, k, p) * sigmoid(mean(values) + Math.max(...values))
    }),
  )
}
const wholeNorm = (g: Grid): number => norm(places(g).flatMap(([b, p]) => vector(g, b, p)))
/** AttnFD, of a student's feature that its aligner has made */
export function attnfd(s: Grid, t: Grid): number {
  const u = (g: Grid) => {
    const length = wholeNorm(g)
    return changed(g, (b, k, p) => g.x(b, k, p) / length)
  }
  return meanSquare(u(s), u(refined(t))) * s.c * s.h * s.w
}
/** The weights of AttnFD's aligner, row-major. */
export interface Attentive {
  readonly hidden: readonly number[]
  readonly channels: readonly number[]
  readonly pixels: readonly number[]
  readonly weight: readonly number[]
}
/** AttnFD's aligner, gains 1 and biases 0: attention, 1 x 1 convolution, batch norm. */
export function attentive(g: Grid, to: number, a: Attentive): Grid {
  const hidden = a.hidden.length / g.c
  const score = (v: readonly number[]) => {
    const middle = upTo(hidden).map(i => Math.max(0, dot(a.hidden.slice(i * g.c, (i + 1) * g.c), v)))
    return upTo(g.c).map(k => dot(a.channels.slice(k * hidden, (k + 1) * hidden), middle))
  }
  const gated = stored(
    changed(g, (b, k, p) => {
      const both = [mean, (v: readonly number[]) => Math.max(...v)].map(
        f => score(upTo(g.c).map(l => f(plane(g, b, l))))[k],
      )
      return g.x(b, k, p) * sigmoid(sum(both))
    }),
  )
  const focused = stored(
    changed(g, (b, k, p) => {
      const [i, j] = [Math.floor(p / g.w), p % g.w]
      let total = 0
      for (const u of upTo(7))
        for (const v of upTo(7)) {
          const [y, x] = [i + u - 3, j + v - 3]
          if (y < 0 || x < 0 || y >= g.h || x >= g.w) continue
          const values = vector(gated, b, y * g.w + x)
          total += a.pixels[u * 7 + v] * Math.max(...values) + a.pixels[49 + u * 7 + v] * mean(values)
        }
      return gated.x(b, k, p) * sigmoid(total)
    }),
  )
  const mixed = stored({
    ...g,
    c: to,
    x: (b, o, p) => dot(a.weight.slice(o * g.c, (o + 1) * g.c), vector(focused, b, p)),
  })
  return standardised(mixed, 'NHW', v => Math.sqrt(v + 1e-5))
}

/** Layer-norm distillation */
export function layerNormFd(s: Grid, t: Grid): number {
  const target = standardised(t, 'C', v => Math.sqrt(v + 1e-5))
  const huber = (d: number) => (Math.abs(d) < 2 ? (d * d) / 4 : Math.abs(d) - 1)
  return mean(places(s).flatMap(([b, p]) => upTo(s.c).map(k => huber(s.x(b, k, p) - target.x(b, k, p)))))
}

/** The simple recipe */
export function simpleRecipe(s: Grid, t: Grid): number {
  const N = (g: Grid, k: number) => {
    const values = upTo(g.n).map(b => mean(plane(g, b, k)))
    const variance = mean(centred(values).map(v => v * v))
    return centred(values).map(v => v / Math.sqrt(variance + 1e-5))
  }
  return Math.log(sum(upTo(s.c).flatMap(k => N(s, k).map((v, b) => (v - N(t, k)[b]) ** 4))))
}

/** SKD, on sizes that the grid divides */
export function skd(s: Grid, t: Grid, cells: number): number {
  const gram = (g: Grid, b: number): number[] => {
    const vectors = upTo(cells * cells).map(cell => {
      const [i, j] = [Math.floor(cell / cells), cell % cells]
      const inside = pixels(g).filter(
        p =>
          Math.floor((Math.floor(p / g.w) * cells) / g.h) === i &&
          Math.floor(((p % g.w) * cells) / g.w) === j,
      )
      return unit(upTo(g.c).map(k => Math.max(...inside.map(p => g.x(b, k, p)))))
    })
    return vectors.flatMap(u => vectors.map(v => dot(u, v)))
  }
  return mean(upTo(s.n).flatMap(b => gram(s, b).map((v, i) => (v - gram(t, b)[i]) ** 2)))
}

/** IFVD; `label` (b, p) at the features' size */
export function ifvd(s: Grid, t: Grid, label: (b: number, p: number) => number, classes: number): number {
  const cosine = (g: Grid, b: number, p: number): number => {
    const members = pixels(g).filter(q => label(b, q) === label(b, p))
    const prototype = upTo(g.c).map(k => mean(members.map(q => g.x(b, k, q))))
    return dot(unit(vector(g, b, p)), unit(prototype))
  }
  return mean(
    places(s).map(([b, p]) => (label(b, p) < classes ? (cosine(s, b, p) - cosine(t, b, p)) ** 2 : 0)),
  )
}

/** CIRKD in the batch */
export function cirkd(s: Grid, t: Grid, tau: number): number {
  const row = (g: Grid, i: number, p: number, j: number) =>
    softmax(
      pixels(g).map(q => dot(unit(vector(g, i, p)), unit(vector(g, j, q)))),
      tau,
    )
  return mean(places(s).flatMap(([i, p]) => upTo(s.n).map(j => kl(row(t, i, p, j), row(s, i, p, j)))))
}

/** CIRKD's comparison with a queue, as rows of unit length */
export const cirkdQueue = (
  s: Grid,
  t: Grid,
  entries: readonly (readonly number[])[],
  tau: number,
): number => {
  const row = (g: Grid, b: number, p: number) =>
    softmax(
      entries.map(e => dot(unit(vector(g, b, p)), e)),
      tau,
    )
  return mean(places(s).map(([b, p]) => kl(row(t, b, p), row(s, b, p))))
}
/** The unit vector of a pixel of the teacher's. */
export const direction = (g: Grid, b: number, p: number): number[] => unit(vector(g, b, p))
/** The unit vector of the mean of unit vectors of some pixels. */
export const region = (g: Grid, b: number, members: readonly number[]): number[] =>
  unit(upTo(g.c).map(k => mean(members.map(p => direction(g, b, p)[k]))))

/** MGD: pixels that `shown` leaves go through two 3 x 3 convolutions, [out, in, 3, 3] row-major with biases. */
export function mgd(
  s: Grid,
  t: Grid,
  shown: (b: number, p: number) => boolean,
  layers: readonly (readonly [weight: readonly number[], bias: readonly number[]])[],
): number {
  const conv = (g: Grid, [weight, bias]: (typeof layers)[number]): Grid =>
    stored({
      ...g,
      c: bias.length,
      x: (b, o, p) => {
        const [i, j] = [Math.floor(p / g.w), p % g.w]
        let total = bias[o]
        for (const k of upTo(g.c))
          for (const u of upTo(3))
            for (const v of upTo(3)) {
              const [y, x] = [i + u - 1, j + v - 1]
              if (y >= 0 && x >= 0 && y < g.h && x < g.w)
                total += weight[((o * g.c + k) * 3 + u) * 3 + v] * g.x(b, k, y * g.w + x)
            }
        return total
      },
    })
  const dropped = changed(s, (b, k, p) => (shown(b, p) ? s.x(b, k, p) : 0))
  const first = conv(dropped, layers[0])
  const hidden = changed(first, (b, k, p) => Math.max(0, first.x(b, k, p)))
  return meanSquare(conv(hidden, layers[1]), t) * s.c * s.h * s.w
}
