/** The gradient of a whole training loss against central differences, in f64, on the reference interpreter. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipe } from 'fp-ts/lib/function.js'
import { valueAndGrad } from '../../src/autodiff/grad.ts'
import { array } from '../../src/dsl/array.ts'
import { add } from '../../src/dsl/build.ts'
import { crossEntropy } from '../../src/dsl/ops/loss.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { masked } from '../../src/nfd/combine.ts'
import * as distil from '../../src/nfd/distil.ts'
import { kd } from '../../src/nfd/kd.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import type { Tensors } from '../../src/nn/module.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { unet } from '../../src/nn/unet.ts'
import { countOf, innerProduct, mapArrays, moved, normals, onReference, wide } from '../support/trees.ts'

const classes = 3
const size = 16
const image = normals(1, [2, 3, size, size])
const label = array(
  [2, size, size],
  'i32',
  Array.from({ length: 2 * size * size }, (_, i) =>
    i % 11 === 0 ? 255 : Math.floor(uniformAt([5, 5], i) * classes),
  ),
)

const teacher = unet({ classes, width: 3, depth: 2 })
const student = pspnet({ classes, width: 4, poolScales: [1, 2] })
const distillation = distil.sum(
  pipe(
    nfd({
      student,
      teacher,
      taps: [
        ['stage2', 'stage2'],
        ['neck', 'neck'],
      ],
      weight: 2,
    }),
    masked(),
  ),
  kd({ temperature: 2, weight: 0.5 }),
)
const taught = wide(teacher.init(key(3)))
const variables = wide(student.init(key(4)))
const start = { net: variables.params, aligners: wide(distillation.init(key(5)).params) }
const teach = distil.constantTeacher(teacher)

test("a whole network's gradient: PSPNet with cross-entropy, NFD and KD, batch norm in training mode", async t => {
  const lossOf = (
    p: Tensors<typeof start>,
    x: Tensor,
    y: Tensor<readonly number[], 'i32'>,
    s: Tensors<typeof variables.state>,
    fixed: { readonly params: Tensors<typeof taught.params>; readonly state: Tensors<typeof taught.state> },
  ) => {
    const { out } = student.apply(p.net, s, x, { training: true, key: keyTensor(9) })
    const target = teach(fixed.params, fixed.state, x)
    const context = { label: y, key: keyTensor(10), step: constant([], 'i32', new Int32Array(1)) }
    return add(
      crossEntropy(out.logits, y),
      distillation.loss(p.aligners, [{}, {}], out, target, context).loss,
    )
  }
  const rest = [image, label, variables.state, taught] as const
  const begun = performance.now()
  const [loss, gradient] = await onReference(valueAndGrad(lossOf))(start, ...rest)
  const value = onReference(lossOf)
  const at = async (p: typeof start) => Number((await value(p, ...rest)).data[0])
  assert.ok(Number.isFinite(Number(loss.data[0])))
  // A step crosses kinks of relu in proportion to h, and the loss rounds at 1e-15: 1e-7 leaves some 1e-7 of either
  // error, relative to the slope.
  const h = 1e-7
  // All parameters at once, and each part alone, lest a small part's error hide behind the others' slopes.
  const parts = ['', 'net.backbone', 'net.pyramid', 'net.neck', 'net.classifier', 'aligners']
  for (const [i, part] of parts.entries()) {
    let leaf = 1000 * (i + 1)
    const direction = mapArrays(start, (a, path) => normals(leaf++, a.shape, path.startsWith(part) ? 1 : 0))
    const slope = ((await at(moved(start, direction, h))) - (await at(moved(start, direction, -h)))) / (2 * h)
    const claimed = innerProduct(gradient, direction)
    const summary = `${part || 'all'}: ${claimed} against ${slope}`
    t.diagnostic(summary)
    assert.ok(Math.abs(slope) > 1e-3, `${part} has no slope to compare`)
    assert.ok(Math.abs(claimed - slope) <= 1e-5 * Math.max(1, Math.abs(slope)), summary)
  }
  t.diagnostic(`${countOf(start)} parameters, ${Math.round(performance.now() - begun)} ms`)
})
