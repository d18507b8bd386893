/** Contractions for the tests of staged shaders: their kernels, at random, and data on which they are exact. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import * as ix from '../../src/backend/affine.ts'
import type { Instr, Kernel, Schedule, Stage } from '../../src/backend/kernel.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { contractionOf } from '../../src/backend/webgpu/contraction.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { machineOf } from '../../src/backend/webgpu/load.ts'
import { stagingOf } from '../../src/backend/webgpu/stage.ts'
import { makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import { spec, trace } from '../../src/dsl/trace.ts'
import type { Shape, Tensor } from '../../src/index.ts'
import * as ct from '../../src/index.ts'
import { assertClose, both, device, plainSchedule } from './webgpu-support.ts'

/** Any tensor. */
export type F32 = Tensor<Shape, 'f32'>
type Image = Tensor<readonly [number, number, number, number], 'f32'>
/** The kernels of a function that are products of matrices. */
export function productsOf(f: (...xs: never[]) => unknown, shapes: readonly Shape[]): Kernel[] {
  const { graph } = trace(
    f,
    shapes.map(s => spec(s)),
  )
  const kernels = planGraph(graph, () => plainSchedule).steps.map(s => s.kernel)
  return kernels.filter(k => contractionOf(k) !== null)
}

/** Around the edges of blocks. */
const extent = fc.constantFrom(3, 8, 15, 16, 17, 20, 31, 32, 33)
const summed = fc.constantFrom(2, 4, 7, 8, 9, 16, 20, 33)
const seed = fc.nat(1000)

/** A kernel, how it is computed, and on what. */
export interface Item {
  readonly kernel: Kernel
  readonly schedule: Schedule
  readonly data: readonly TypedArray[]
}
/** Small integers, other ones for each seed: their sums are exact in f32, and they are in f16. */
export const itemOf = (kernel: Kernel, stage: Stage, seed: number): Item => ({
  kernel,
  schedule: { ...plainSchedule, stage },
  data: kernel.buffers.map(({ dtype, size }, b) => {
    const made = makeData(dtype, size)
    for (let i = 0; i < size; i++) made[i] = ((Math.imul(i + 31 * b + seed + 1, 2654435761) >>> 15) % 9) - 4
    return made
  }),
})
const forms = {
  NN: (m: number, n: number, k: number) => ({ f: (a: F32, b: F32) => ct.matmul(a, b), a: [m, k], b: [k, n] }),
  NT: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(a, ct.transpose(b)),
    a: [m, k],
    b: [n, k],
  }),
  TN: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(ct.transpose(a), b),
    a: [k, m],
    b: [k, n],
  }),
  TT: (m: number, n: number, k: number) => ({
    f: (a: F32, b: F32) => ct.matmul(ct.transpose(a), ct.transpose(b)),
    a: [k, m],
    b: [n, k],
  }),
}
/** Products in all four forms of transposition, at every edge of a block. */
export const productOf = (stage: fc.Arbitrary<Stage>) =>
  fc
    .record({ form: fc.constantFrom('NN', 'NT', 'TN', 'TT'), m: extent, n: extent, k: summed, stage, seed })
    .map(({ form, m, n, k, stage, seed }) => {
      const { f, a, b } = forms[form](m, n, k)
      return productsOf(f as never, [a, b]).map(kernel => itemOf(kernel, stage, seed))
    })

/** Convolutions with both their gradients. */
export const convolutionOf = (stage: fc.Arbitrary<Stage>) =>
  fc
    .record({
      groups: fc.constantFrom(1, 1, 2),
      options: fc.constantFrom(
        { padding: 1 },
        { padding: 1, stride: 2 },
        { padding: 2, dilation: 2 },
        { stride: 2, dilation: 2, padding: 1 },
        {},
      ),
      batch: fc.constantFrom(1, 2),
      channels: fc.constantFrom(2, 3),
      filters: fc.constantFrom(2, 5, 8),
      height: fc.constantFrom(5, 6),
      width: fc.constantFrom(5, 8),
      taps: fc.constantFrom(1, 3),
      stage,
      seed,
    })
    .map(({ groups, options, batch, channels, filters, height, width, taps, stage, seed }) => {
      const conv = (x: Image, w: Image) => ct.conv2d(x, w, { ...options, groups })
      const both = (x: Image, w: Image) => {
        const [y, pullback] = ct.vjp((at: readonly [Image, Image]) => conv(...at), [x, w] as const)
        return [y, ...pullback(y)]
      }
      const x = [batch, channels * groups, height, width]
      const w = [filters * groups, channels, taps, taps]
      return productsOf(both as never, [x, w]).map(kernel => itemOf(kernel, stage, seed))
    })

/** Batches of products with a bias and a second result. */
export const withEpilogueOf = (stage: fc.Arbitrary<Stage>) =>
  fc
    .record({
      batch: fc.constantFrom(1, 2, 3),
      m: extent,
      n: extent,
      k: summed,
      shared: fc.boolean(),
      stage,
      seed,
    })
    .map(({ batch, m, n, k, shared, stage, seed }) => {
      const f = (a: F32, b: F32, bias: F32, c: F32) => {
        const y = ct.add(ct.matmul(a, b), bias)
        return [y, ct.relu(ct.sub(y, c) as F32)]
      }
      const shapes = [[batch, m, k], shared ? [k, n] : [batch, k, n], [n], [batch, m, n]]
      return productsOf(f as never, shapes).map(kernel => itemOf(kernel, stage, seed))
    })

/** y[i, j] = sum over k of f(a[i, k]) f(b[k, j]), where f is no operation or adds 1. */
export function matrixProduct(m: number, n: number, terms: number, addsOne = false): Kernel {
  const [i, j, k] = [ix.axis(0, m), ix.axis(1, n), ix.axis(2, terms)]
  const load = (buffer: number, index: ix.Affine): Instr => ({
    k: 'load',
    buffer,
    index,
    guard: [],
    dtype: 'f32',
  })
  const scalar = (fn: 'add' | 'mul', args: number[]): Instr => ({ k: 'scalar', fn, args, dtype: 'f32' })
  const loads = [load(0, ix.addScaled(k, i, terms)), load(1, ix.addScaled(j, k, n))]
  const body: Instr[] = addsOne
    ? [
        ...loads,
        { k: 'lit', value: 1, dtype: 'f32' },
        ...[0, 1].map(id => scalar('add', [id, 2])),
        scalar('mul', [3, 4]),
      ]
    : [...loads, scalar('mul', [0, 1])]
  return {
    name: 'product',
    axes: [
      { extent: m, kind: 'parallel' },
      { extent: n, kind: 'parallel' },
      { extent: terms, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: m * terms, access: 'read' },
      { dtype: 'f32', size: terms * n, access: 'read' },
      { dtype: 'f32', size: m * n, access: 'write' },
    ],
    body,
    accumulators: [{ how: 'sum', value: body.length - 1, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: ix.addScaled(j, i, n), value: body.length, mode: 'set', guard: [] }],
  }
}

/** Runs kernels on a device and compares with the interpreter, bit for bit. */
export async function agree(items: readonly Item[], on: Device = device()): Promise<void> {
  const { got, want } = await both(items, on)
  for (const [n, { kernel, schedule }] of items.entries())
    assertClose(got[n], want[n], 0, i => `${kernel.name} ${JSON.stringify(schedule.stage)} at ${i}`)
}

/** Checks the kernels of several cases, in one program; all of them are to be staged. */
export const hold = (cases: fc.Arbitrary<readonly Item[]>, size: number, on: Device = device()) =>
  fc.assert(
    fc.asyncProperty(fc.array(cases, { minLength: size, maxLength: size }), async all => {
      for (const { kernel, schedule } of all.flat())
        assert.ok(stagingOf(kernel, schedule, machineOf(on)), `${kernel.name} is not staged`)
      await agree(all.flat(), on)
    }),
    { numRuns: Number(process.env.COTANGENT_FUZZ ?? 2), includeErrorInReport: true },
  )
