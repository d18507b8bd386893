/**
 * The check of subgroup matrices on the device that has them, before anything else uses them. In: a device. Out: nothing,
 * or a `DeviceError` with the numbers. A product with edges on all sides is computed by every block that kernels may get,
 * and compared with the host's.
 *
 * The operands are exact in f16, so that a driver's way of rounding them does not matter; their products have 22 bits,
 * so that sums in f16 are found, by far: they are off by 2^-11, and what is allowed is 2^-16 of the sum of absolute
 * values. 40 terms in f32 are off by less than 2^-17 even where every addition cuts off.
 */
import * as TE from 'fp-ts/lib/TaskEither.js'
import { DeviceError } from '../../dsl/errors.ts'
import * as ix from '../affine.ts'
import type { Instr, Kernel, MatrixShape, Stage } from '../kernel.ts'
import { BUFFER_USAGE } from './buffers.ts'
import { messageOf } from './dawn.ts'
import type { Device } from './device.ts'
import { makeStep, submit } from './encode.ts'
import { machineOf } from './load.ts'
import { matrixLack } from './matrix-feature.ts'
import { profileOf } from './presets.ts'
import { renderWGSL } from './render.ts'

/** The product: rows, columns and terms, multiples of no block. */
const SIZE: MatrixShape = { m: 50, n: 70, k: 40 }
/** Of the sum of absolute values: see the beginning of this file. */
const TOLERANCE = 2 ** -16

/**
 * The device, when it has subgroup matrices and they compute what they should.
 * @returns Left(DeviceError) otherwise; the device stays open
 */
export const withMatrices = (device: Device): TE.TaskEither<DeviceError, Device> =>
  TE.tryCatch(
    async () => {
      const { name } = device.info
      const stages = profileOf(device.info).matrices
      const lack = matrixLack(device.info) ?? (stages.length > 0 ? null : 'matrices that a block is made for')
      if (lack !== null)
        throw new DeviceError(
          `webgpu: subgroup matrices need ${lack}, which ${name} has not; leave subgroupMatrices out, or choose another adapter`,
        )
      for (const stage of stages) compare(await productBy(device, stage), stage, name)
      return device
    },
    e => (e instanceof DeviceError ? e : new DeviceError(`webgpu: subgroup matrices: ${messageOf(e)}`)),
  )

/** Multiples of 2^-10 below 2 in absolute value: 11 bits. */
const values = (count: number, seed: number): Float32Array =>
  Float32Array.from(
    { length: count },
    (_, i) => (((Math.imul(i + seed, 2654435761) >>> 16) % 4095) - 2047) / 1024,
  )
const left = values(SIZE.m * SIZE.k, 1)
const right = values(SIZE.k * SIZE.n, 10_007)

/** The product by one of the blocks. */
async function productBy(device: Device, stage: Stage): Promise<Float32Array> {
  const { text, workgroups, bindings, zeroBinding } = renderWGSL(
    kernel,
    { vector: null, tiles: [], stage },
    undefined,
    machineOf(device),
  )
  const label = 'check of subgroup matrices'
  const [pipeline] = await device.pipelines([{ label, wgsl: text }])
  const buffers = await Promise.all(kernel.buffers.map(b => device.createBuffer(4 * b.size, label)))
  const zero = await device.createBuffer(16, 'zero', BUFFER_USAGE.uniform)
  device.write(buffers[0], 0, left)
  device.write(buffers[1], 0, right)
  const step = makeStep(pipeline, workgroups, [
    ...bindings.map(binding => ({ binding, fixed: { buffer: buffers[binding] } })),
    ...(zeroBinding === null ? [] : [{ binding: zeroBinding, fixed: { buffer: zero } }]),
  ])
  await device.guard(label, () => submit(device, [step], { input: [], output: [] }, Infinity, null))
  const result = await device.read(buffers[2], 0, 4 * SIZE.m * SIZE.n)
  for (const b of [...buffers, zero]) device.release(b)
  return new Float32Array(result)
}

/** @throws DeviceError at the first element that is off */
function compare(got: Float32Array, { block, matrix }: Stage, name: string): void {
  for (let r = 0; r < SIZE.m; r++)
    for (let c = 0; c < SIZE.n; c++) {
      let [sum, size] = [0, 0]
      for (let k = 0; k < SIZE.k; k++) {
        const product = left[r * SIZE.k + k] * right[k * SIZE.n + c]
        sum += product
        size += Math.abs(product)
      }
      const value = got[r * SIZE.n + c]
      if (Math.abs(value - sum) <= TOLERANCE * size) continue
      throw new DeviceError(
        `webgpu: the subgroup matrices of ${name} do not compute what they should: of a product of ${SIZE.m} x ${SIZE.k} and ${SIZE.k} x ${SIZE.n}, in blocks of ${block.join(' x ')} of matrices of ${matrix?.m} x ${matrix?.n} x ${matrix?.k}, element [${r}, ${c}] is ${value}, and should be ${sum} within ${(TOLERANCE * size).toPrecision(2)}; leave subgroupMatrices out, or update the driver`,
      )
    }
}

/** y[i, j] = sum over k of a[i, k] b[k, j] */
const kernel = ((): Kernel => {
  const { m, n, k } = SIZE
  const [row, column, term] = [ix.axis(0, m), ix.axis(1, n), ix.axis(2, k)]
  const load = (buffer: number, index: ix.Affine): Instr => ({
    k: 'load',
    buffer,
    index,
    guard: [],
    dtype: 'f32',
  })
  return {
    name: 'product',
    axes: [
      { extent: m, kind: 'parallel' },
      { extent: n, kind: 'parallel' },
      { extent: k, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: m * k, access: 'read' },
      { dtype: 'f32', size: k * n, access: 'read' },
      { dtype: 'f32', size: m * n, access: 'write' },
    ],
    body: [
      load(0, ix.addScaled(term, row, k)),
      load(1, ix.addScaled(column, term, n)),
      { k: 'scalar', fn: 'mul', args: [0, 1], dtype: 'f32' },
    ],
    accumulators: [{ how: 'sum', value: 2, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: 'f32' }],
    stores: [{ buffer: 2, index: ix.addScaled(column, row, n), value: 3, mode: 'set', guard: [] }],
  }
})()
