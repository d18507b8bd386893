/** The laws of NFD in f32, on the compiled backends: one program a backend, many features. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, unwrap } from '../../src/backend/compile.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { sameChannels } from '../../src/nfd/align.ts'
import { masked } from '../../src/nfd/combine.ts'
import type { Change } from '../../src/nfd/distil.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import type { NormaliseOptions } from '../../src/nfd/normalise.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'
import { normals } from '../support/trees.ts'
import { contextOf, labels, output, tapped } from './taps.ts'

after(closeAll)
const shape = [2, 3, 5, 6] as const
const [n, c] = shape
const plane = shape[2] * shape[3]
const label = labels([2, 5, 6], [1, 255, 0, 0, 2])

/** The loss, and its gradients with respect to student and teacher, as one program. */
async function programOf(backend: Backend, options: NormaliseOptions, change: Change = d => d) {
  const d = change(
    nfd({ student: tapped(c), teacher: tapped(c), taps: [['f', 'f']], align: sameChannels, ...options }),
  )
  type Both = { readonly s: Tensor; readonly t: Tensor }
  const loss = ({ s, t }: Both) => d.loss({ 'f-f': {} }, {}, output(s), output(t), contextOf({ label })).loss
  const types = features(1)
  const exe = await unwrap(compile((b: Both) => ({ loss: loss(b), g: grad(loss)(b) }), [types], backend))
  return async (s: NDArray, t: NDArray) => {
    const out = await exe({ s, t })
    return {
      loss: Number(out.loss.data[0]),
      s: Array.from(out.g.s.data, Number),
      t: Array.from(out.g.t.data, Number),
    }
  }
}
const mapped = (a: NDArray, f: (x: number, i: number) => number): NDArray =>
  array(
    a.shape,
    'f32',
    Array.from(a.data, (x, i) => f(Number(x), i)),
  )
const features = (seed: number) => ({
  s: mapped(normals(seed, shape), x => x),
  t: mapped(normals(seed + 1, shape), x => x),
})
const planesOf = (xs: readonly number[]): number[][] =>
  Array.from({ length: n * c }, (_, k) => xs.slice(k * plane, (k + 1) * plane))
const sum = (xs: readonly number[]): number => xs.reduce((a, x) => a + x, 0)
const centred = (xs: readonly number[]): number[] => xs.map(x => x - sum(xs) / xs.length)
const dot = (a: readonly number[], b: readonly number[]): number => sum(a.map((x, i) => x * b[i]))
const correlation = (s: NDArray, t: NDArray): number => {
  const b = planesOf(Array.from(t.data, Number)).map(centred)
  const r = planesOf(Array.from(s.data, Number))
    .map(centred)
    .map((a, k) => dot(a, b[k]) / Math.sqrt(dot(a, a) * dot(b[k], b[k])))
  return sum(r) / r.length
}
// f32: means of 180 terms of order 1, an eps of 1e-5 on variances of 0.3 and more
const close = (x: number, y: number, tolerance = 1e-4): void =>
  assert.ok(Math.abs(x - y) <= tolerance, `${x} against ${y}`)

const backends = { 'the CPU backend': () => cpu(), WebGPU: webgpu } as const satisfies {
  readonly [name: string]: (t: TestContext) => Promise<Backend>
}
for (const [name, open] of Object.entries(backends)) {
  test(`the laws of NFD hold on ${name}`, async t0 => {
    const backend = await open(t0)
    const plain = await programOf(backend, {})
    const relative = await programOf(backend, { epsMode: 'relative' })
    const left = await programOf(backend, {}, masked())
    const zero = mapped(features(1).s, () => 0)
    const flat = mapped(features(1).s, (x, i) => (Math.floor(i / plane) % 2 === 0 ? 0.1 : x))
    for (const run of [plain, relative, left])
      for (const [x, y] of [
        [zero, flat],
        [flat, zero],
        [zero, zero],
        [flat, features(3).t],
      ] as const) {
        const out = await run(x, y)
        assert.ok([out.loss, ...out.s].every(Number.isFinite), 'a constant channel is finite')
      }
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 2 ** 30 }),
        fc.double({ min: 0.5, max: 4, noNaN: true }),
        async (seed, a) => {
          const { s, t } = features(seed)
          const r = correlation(s, t)
          const out = await plain(s, t)
          close(out.loss, 2 * (1 - r))
          assert.ok(out.loss >= 0 && out.loss <= 4)
          close(
            (
              await plain(
                mapped(s, x => a * x + 3),
                t,
              )
            ).loss,
            out.loss,
          )
          close(
            (
              await plain(
                s,
                mapped(t, x => a * x - 3),
              )
            ).loss,
            out.loss,
          )
          close(
            (
              await plain(
                mapped(s, x => -x),
                t,
              )
            ).loss,
            2 * (1 + r),
          )
          const values = planesOf(Array.from(s.data, Number))
          planesOf(out.s).forEach((g, k) => {
            close(sum(g), 0, 1e-6)
            // orthogonal where eps = 0; else scaling the feature moves N by eps / var, the loss by up to 4 / planes of it
            const d = centred(values[k])
            close(dot(g, d), 0, 2e-6 + ((4 / (n * c)) * 1e-5 * plane) / dot(d, d))
          })
          assert.ok(out.t.every(x => x === 0) && out.s.some(x => Math.abs(x) > 1e-5))
          // a power of two: nothing is rounded
          for (const gauge of [1 / 128, 128])
            assert.deepEqual(
              await relative(
                s,
                mapped(t, x => gauge * x),
              ),
              await relative(s, t),
            )
          const ignored = (_: number, i: number): boolean =>
            label.data[Math.floor(i / (c * plane)) * plane + (i % plane)] === 255
          const spoilt = (x: NDArray) => mapped(x, (v, i) => (ignored(v, i) ? 1e4 : v))
          assert.deepEqual(await left(spoilt(s), spoilt(t)), await left(s, t))
        },
      ),
      { numRuns: 10 },
    )
  })
}
