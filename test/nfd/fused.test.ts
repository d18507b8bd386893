/** The fused form of NFD's term: the numbers of the composed one, and derivatives of its own. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { mean, mul, sub } from '../../src/dsl/build.ts'
import { standardise } from '../../src/dsl/ops/norm.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { standardisedError } from '../../src/nfd/fused.ts'
import { floats } from '../../src/nn/feature.ts'
import { checkBackends, checkGrads } from '../../src/testing/index.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { mapArrays, normals } from '../support/trees.ts'
import { traced } from './taps.ts'

after(closeAll)
const axesChoices = [[2, 3], [0, 2, 3], [1], [1, 2, 3]] as const
type Both = { readonly s: Tensor; readonly t: Tensor }
const composed =
  (axes: readonly number[], eps: number) =>
  ({ s, t }: Both): Tensor => {
    const N = (x: Tensor): Tensor => standardise(floats('test', x), { axes, eps })
    const d = sub(N(s), N(t))
    return mean(mul(d, d))
  }
const fused =
  (axes: readonly number[], eps: number) =>
  ({ s, t }: Both): Tensor =>
    standardisedError(s, t, axes, eps)
const numbers = (x: Tensor): number[] => Array.from(evaluate(x).data, Number)
/** Largest difference relative to the largest value. */
const apart = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i]))) / Math.max(1e-3, ...b.map(Math.abs))

test('the fused form has the value and both gradients of the composed one, over every choice of axes', () =>
  fc.assert(
    fc.property(
      fc.constantFrom(...axesChoices),
      fc.constantFrom(1e-5, 1e-2),
      fc.constantFrom(1e-3, 1, 30),
      fc.integer({ min: 0, max: 2 ** 30 }),
      (axes, eps, std, seed) => {
        const both = {
          s: traced(normals(seed, [2, 3, 3, 4], std)),
          t: traced(normals(seed + 1, [2, 3, 3, 4])),
        }
        const [a, b] = [fused(axes, eps), composed(axes, eps)]
        // f64: sums of at most 72 terms; the factor 1 / std amplifies rounding by 1e3
        assert.ok(apart(numbers(a(both)), numbers(b(both))) < 1e-9)
        const [g, h] = [grad(a)(both), grad(b)(both)]
        assert.ok(apart(numbers(g.s), numbers(h.s)) < 1e-9)
        assert.ok(apart(numbers(g.t), numbers(h.t)) < 1e-9)
      },
    ),
    { numRuns: 40 },
  ))

test('its derivatives are right in both modes and to the second order', () => {
  for (const axes of axesChoices)
    checkGrads(fused(axes, 1e-2), [{ s: normals(1, [2, 3, 2, 3]), t: normals(2, [2, 3, 2, 3]) }])
})

test('constant and equal features have finite gradients', () => {
  const x = traced(normals(1, [1, 2, 3, 3]))
  const zero = mul(x, 0)
  for (const both of [
    { s: zero, t: x },
    { s: x, t: zero },
    { s: zero, t: zero },
    { s: x, t: x },
  ]) {
    const g = grad(fused([2, 3], 1e-5))(both)
    assert.ok([...numbers(g.s), ...numbers(g.t)].every(Number.isFinite))
  }
})

test('it is the same on the CPU backend and on WebGPU', async t0 => {
  const f32 = mapArrays({ s: normals(1, [2, 3, 8, 8]), t: normals(2, [2, 3, 8, 8]) }, a => ({
    ...a,
    dtype: 'f32',
    data: Float32Array.from(a.data, Number),
  }))
  await checkBackends(fused([2, 3], 1e-5), [f32], [await cpu(), await webgpu(t0)])
})
