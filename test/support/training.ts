/** A whole training step on a small network, for tests on every backend. */
import { valueAuxAndGrad } from '../../src/autodiff/grad.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { add } from '../../src/dsl/build.ts'
import { crossEntropy } from '../../src/dsl/ops/loss.ts'
import { keyTensor } from '../../src/dsl/ops/random.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { constantTeacher } from '../../src/nfd/distil.ts'
import { nfd } from '../../src/nfd/nfd.ts'
import type { Tensors } from '../../src/nn/module.ts'
import { sgd } from '../../src/nn/optim.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { unet } from '../../src/nn/unet.ts'

const classes = 3
const side = 16
const numbers = (seed: number, shape: readonly number[]): NDArray =>
  array(
    shape,
    'f32',
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 2 * uniformAt(key(seed), i) - 1),
  )

/** A PSPNet that learns from labels and from a teacher's neck, with momentum: state in, state and gradient out. */
export function smallTraining() {
  const student = pspnet({ classes, width: 4, poolScales: [1, 2] })
  const teacher = unet({ classes, width: 3, depth: 2 })
  const method = nfd({ student, teacher, taps: [['neck', 'neck']] })
  const optimiser = sgd({ momentum: 0.9, weightDecay: 1e-4 })
  const teach = constantTeacher(teacher)
  const taught = teacher.init(key(3))
  const net = student.init(key(4))
  const params = { net: net.params, aligners: method.init(key(5)).params }
  const state = { params, running: net.state, optimiser: optimiser.init(params) }
  const batch = {
    image: numbers(1, [2, 3, side, side]),
    label: array(
      [2, side, side],
      'i32',
      Array.from({ length: 2 * side * side }, (_, i) =>
        i % 13 === 0 ? 255 : Math.floor(uniformAt([7, 7], i) * classes),
      ),
    ),
    rate: array([], 'f32', [0.05]),
  }
  const step = (
    s: Tensors<typeof state>,
    x: Tensors<typeof batch>,
    fixed: { readonly params: Tensors<typeof taught.params>; readonly state: Tensors<typeof taught.state> },
  ) => {
    const [[loss, running], gradient] = valueAuxAndGrad((p: Tensors<typeof params>) => {
      const { out, state: next } = student.apply(p.net, s.running, x.image, {
        training: true,
        key: keyTensor(9),
      })
      const target = teach(fixed.params, fixed.state, x.image)
      const label = x.label as Tensor<readonly number[], 'i32'>
      const context = { label, key: keyTensor(10), step: s.optimiser.step }
      return [
        add(crossEntropy(out.logits, label), method.loss(p.aligners, {}, out, target, context).loss),
        next,
      ]
    })(s.params)
    const next = optimiser.update(gradient, s.optimiser, s.params, x.rate)
    return { loss, gradient, state: { params: next.params, running, optimiser: next.state } }
  }
  return { step, state, batch, taught }
}
