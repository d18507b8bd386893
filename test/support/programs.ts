/**
 * Random well-typed programs over the primitives: a list of choices that always builds. Each step picks an
 * operation and operands among what there is, and adapts its parameters to their shapes.
 */
import fc from 'fast-check'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import type { FloatDType } from '../../src/dsl/dtype.ts'
import { range, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'

/** A program as plain data: it shrinks and prints. */
export interface RandomProgram {
  readonly shapes: readonly (readonly number[])[]
  readonly steps: readonly {
    readonly op: number
    readonly x: number
    readonly y: number
    readonly p: number
  }[]
  readonly seed: number
}

type Step = (x: Tensor, y: Tensor, p: number) => Tensor
const axisOf = (x: Tensor, p: number): number => p % Math.max(x.shape.length, 1)
const orderOf = (x: Tensor, p: number): number[] => {
  const order = range(x.shape.length)
  for (let i = order.length - 1, q = p; i > 0; i--, q = Math.floor(q / 3)) {
    const j = q % (i + 1)
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}
/** An i32 index tensor that counts around an axis. */
const indices = (x: Tensor, axis: number, n: number, p: number): Tensor => {
  const shape = x.shape.map((d, a) => (a === axis ? n : d))
  const at = b.add(b.mul(b.iota(shape, axis), 3), p % 5)
  return b.map('rem', at, b.full(shape, Math.max(x.shape[axis], 1), 'i32'))
}
const ranked =
  (f: Step): Step =>
  (x, y, p) =>
    x.shape.length === 0 || x.shape.some(n => n === 0) ? x : f(x, y, p)
const small = (x: Tensor): boolean => size(x.shape) <= 512

/** The operations, by name: all of them smooth almost everywhere on what they are given. */
export const programSteps: { readonly [name: string]: Step } = {
  add: (x, y) => (broadcastable(x, y) ? b.add(x, y) : x),
  sub: (x, y) => (broadcastable(x, y) ? b.sub(x, y) : x),
  mul: (x, y) => (broadcastable(x, y) ? b.mul(x, y) : x),
  div: (x, y) => (broadcastable(x, y) ? b.div(x, b.add(b.mul(y, y), 1)) : x),
  max: (x, y) => (broadcastable(x, y) ? b.map('max', x, y) : x),
  select: (x, y) => (broadcastable(x, y) ? b.select(b.less(x, y), x, b.mul(y, 0.5)) : x),
  tanh: x => b.map('tanh', x),
  exp: x => b.map('exp', b.map('tanh', x)),
  log: x => b.map('log', b.add(b.mul(x, x), 1)),
  sqrt: x => b.map('sqrt', b.add(b.mul(x, x), 0.5)),
  sin: x => b.map('sin', x),
  neg: x => b.neg(x),
  sum: ranked((x, _, p) => b.sum(x, axisOf(x, p), p % 2 === 0)),
  mean: ranked((x, _, p) => b.mean(x, orderOf(x, p).slice(0, 1 + (p % x.shape.length)), p % 3 === 0)),
  max1: ranked((x, _, p) => b.reduce('max', x, axisOf(x, p), p % 2 === 0)),
  prod: ranked((x, _, p) => b.reduce('prod', b.map('tanh', x), axisOf(x, p))),
  argmax: ranked((x, _, p) =>
    b.add(b.sum(x, axisOf(x, p)), b.cast(b.reduce('argmax', x, axisOf(x, p)), x.dtype)),
  ),
  reshape: (x, _, p) => b.reshape(x, p % 2 === 0 ? [size(x.shape)] : [1, ...[...x.shape].reverse()]),
  permute: (x, _, p) => b.permute(x, orderOf(x, p)),
  broadcast: (x, _, p) => (small(x) && x.shape.length < 5 ? b.broadcastTo(x, [1 + (p % 3), ...x.shape]) : x),
  pad: (x, _, p) =>
    b.pad(
      x,
      x.shape.map((_n, a) => (p >> a) % 3),
      x.shape.map((_n, a) => (p >> (a + 1)) % 2),
      0.5,
    ),
  spread: ranked((x, _, p) =>
    small(x)
      ? b.pad(
          x,
          x.shape.map(() => 0),
          x.shape.map(() => 0),
          0,
          x.shape.map((_n, a) => (p >> a) % 2),
        )
      : x,
  ),
  slice: ranked((x, _, p) =>
    b.slice(
      x,
      x.shape.map(n => p % n),
      x.shape,
      x.shape.map((_n, a) => 1 + ((p >> a) % 2)),
    ),
  ),
  flip: ranked((x, _, p) => b.flip(x, [axisOf(x, p)])),
  concat: ranked((x, _, p) =>
    small(x) ? b.concat([x, b.mul(x, 2), b.sliceAxis(x, axisOf(x, p), 0, 1)], axisOf(x, p)) : x,
  ),
  matmul: ranked((x, _, p) => {
    const rows = b.reshape(x, [-1, x.shape[x.shape.length - 1]])
    const [n, k] = rows.shape
    if (n > 64) return x
    const spec =
      p % 2 === 0
        ? { lhs: [0, 1], rhs: [2, 1], out: [0, 2], extents: [n, k, n], windows: [] }
        : { lhs: [1, 0], rhs: [1, 2], out: [0, 2], extents: [k, n, k], windows: [] }
    return b.mul(b.contract(spec, rows, b.map('tanh', rows)), 1 / k)
  }),
  conv: ranked((x, _, p) => {
    const n = x.shape[x.shape.length - 1]
    const rows = b.reshape(x, [-1, n])
    const [stride, padding, taps] = [1 + (p % 3), (p >> 1) % 3, 1 + ((p >> 2) % 3)]
    const dilation = 1 + ((p >> 4) % 2)
    const out = Math.floor((n + 2 * padding - dilation * (taps - 1) - 1) / stride) + 1
    if (out < 1 || rows.shape[0] > 64) return x
    const kernel = b.add(b.map('sin', b.cast(b.iota([2, taps], 1), x.dtype)), 0.3)
    const spec = {
      lhs: [0, 1],
      rhs: [2, 3],
      out: [0, 2, 4],
      extents: [rows.shape[0], n, 2, taps, out],
      windows: [{ big: 1, out: 4, tap: 3, stride, dilation, padding }],
    }
    return b.contract(spec, rows, kernel)
  }),
  unfold: ranked((x, _, p) => {
    const axis = axisOf(x, p)
    const [stride, taps] = [1 + (p % 2), 1 + ((p >> 1) % 3)]
    if (x.shape[axis] < taps || !small(x) || x.shape.length > 4) return x
    const windows = b.unfold(x, { axes: [axis], size: [taps], stride: [stride], dilation: [1] })
    return p % 3 === 0
      ? windows
      : b.fold(
          b.map('tanh', windows),
          { axes: [axis], size: [taps], stride: [stride], dilation: [1] },
          x.shape,
        )
  }),
  gather: ranked((x, _, p) => b.gather(x, indices(x, axisOf(x, p), 1 + (p % 4), p), axisOf(x, p))),
  scatterAdd: ranked((x, _, p) =>
    b.scatterAdd(indices(x, axisOf(x, p), x.shape[axisOf(x, p)], p), x, axisOf(x, p), x.shape[axisOf(x, p)]),
  ),
  stopGradient: x => b.add(x, b.stopGradient(b.mul(x, 0.5))),
}
const steps = Object.values(programSteps)

function broadcastable(x: Tensor, y: Tensor): boolean {
  const rank = Math.min(x.shape.length, y.shape.length)
  const fits = range(rank).every(i => {
    const [m, n] = [x.shape[x.shape.length - 1 - i], y.shape[y.shape.length - 1 - i]]
    return m === n || m === 1 || n === 1
  })
  return fits && size(b.broadcastShapes('add', [x.shape, y.shape])) <= 2048
}

/** Programs of up to `length` steps on two arguments. */
export const arbitraryProgram = (length = 8): fc.Arbitrary<RandomProgram> =>
  fc.record({
    shapes: fc.tuple(arbitraryShape, arbitraryShape),
    steps: fc.array(
      fc.record({ op: fc.nat(steps.length - 1), x: fc.nat(20), y: fc.nat(20), p: fc.nat(255) }),
      { minLength: 1, maxLength: length },
    ),
    seed: fc.nat(1e6),
  })
const arbitraryShape = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 })

/** The program as a function of its arguments: the last value and one in the middle. */
export const runProgram =
  (program: RandomProgram) =>
  (args: readonly Tensor[]): Tensor[] => {
    const values = [...args]
    for (const { op, x, y, p } of program.steps) {
      const from = (i: number) => values[values.length - 1 - (i % Math.min(values.length, 4))]
      const next = steps[op](from(x), from(y), p)
      if (size(next.shape) <= 4096 && next.shape.length <= 6) values.push(next)
    }
    return [values[values.length - 1], values[Math.floor(values.length / 2)]]
  }

/** A scalar of the whole program. */
export const programLoss =
  (program: RandomProgram) =>
  (args: readonly Tensor[]): Tensor =>
    runProgram(program)(args)
      .map(y => b.mean(b.map('tanh', y)))
      .reduce((x, y) => b.add(x, y))

/** Arguments for a program, in [-1, 1] and away from ties. */
export const programArguments = (program: RandomProgram, dtype: FloatDType): NDArray[] =>
  program.shapes.map((shape, k) =>
    array(
      shape,
      dtype,
      range(size(shape)).map(i => 2 * uniformAt(key(program.seed * 2 + k), i) - 1),
    ),
  )
