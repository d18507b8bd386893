/** Cutting contractions changes no value, cuts what it should, and leaves the rest. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { vjp } from '../../../src/autodiff/grad.ts'
import { interpret } from '../../../src/backend/cpu/reference.ts'
import { splitContractions } from '../../../src/backend/passes/split-contraction.ts'
import { explicitWindows } from '../../../src/backend/passes/windows.ts'
import { array } from '../../../src/dsl/array.ts'
import { conv2d } from '../../../src/dsl/ops/conv.ts'
import { matmul } from '../../../src/dsl/ops/linalg.ts'
import { transpose } from '../../../src/dsl/ops/shape.ts'
import { size } from '../../../src/dsl/shape.ts'
import type { Tensor } from '../../../src/dsl/tensor.ts'
import { spec, trace } from '../../../src/dsl/trace.ts'
import { verify } from '../../../src/dsl/verify.ts'

const weightGradient =
  (stride: number, groups = 1) =>
  (x: Tensor, w: Tensor): Tensor => {
    const [y, back] = vjp((v: Tensor) => conv2d(x, v, { stride, padding: 1, groups }), w)
    return back(y)
  }
const f64 = (...shape: number[]) => spec(shape, 'f64')
const cases = [
  {
    name: 'a weight gradient is cut along the batch',
    f: weightGradient(1),
    types: [f64(4, 2, 40, 40), f64(3, 2, 3, 3)],
    parts: 4,
  },
  {
    name: 'so is that of a strided, grouped convolution',
    f: weightGradient(2, 2),
    types: [f64(6, 4, 60, 60), f64(2, 2, 3, 3)],
    parts: 6,
  },
  { name: 'a long matrix product', f: matmul, types: [f64(3, 8192), f64(8192, 5)], parts: 32 },
  {
    name: 'a transposed one',
    f: (x: Tensor, y: Tensor) => matmul(transpose(x), y),
    types: [f64(5000, 2), f64(5000, 3)],
    parts: 10,
  },
]

for (const { name, f, types, parts } of cases)
  test(`${name}, and the value stays`, () => {
    const { graph } = trace(f as never, types)
    const plain = explicitWindows(graph)
    const cut = splitContractions(plain)
    verify(cut)
    const extents = cut.eqns.flatMap(e => (e.op === 'reduce' ? [e.inputs[0].shape[0]] : []))
    assert.deepEqual(extents, [parts])
    const args = types.map(t =>
      array(
        t.shape,
        'f64',
        new Float64Array(size(t.shape)).map((_, i) => Math.sin(i)),
      ),
    )
    const [want] = interpret(plain, args)
    const [got] = interpret(cut, args)
    // the same f64 terms in another order
    for (const [i, w] of [...want.data].entries())
      assert.ok(Math.abs(got.data[i] - w) < 1e-9 * (1 + Math.abs(w)))
  })

test('short contractions and those with many results are left whole', () => {
  for (const types of [
    [f64(3, 4000), f64(4000, 5)],
    [f64(1024, 8192), f64(8192, 1024)],
  ]) {
    const { graph } = trace(matmul as never, types)
    assert.equal(splitContractions(graph).eqns.length, graph.eqns.length)
  }
})
