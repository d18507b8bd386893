/** What users call: `grad` and its kin on trees of tensors, what they refuse, and what a custom rule may close over. */
import assert from 'node:assert/strict'
import { custom, grad, jvp, valueAndGrad, valueAuxAndGrad, vjp } from '../../src/autodiff/grad.ts'
import * as b from '../../src/dsl/build.ts'
import { makeGraph } from '../../src/dsl/graph.ts'
import { type Tensor, tensor } from '../../src/dsl/tensor.ts'
import { fact, type Property } from './property.ts'
import { list, throwsGradientError } from './samples.ts'

const x = tensor([1, 2], 'f64')

/** k c sum(w s), with respect to { w, deep: [c, ...] }: a tree with values among it that are no tensors. */
function trees(): void {
  const p = { w: x, deep: [tensor(3, 'f64'), { n: 7, name: 'a' }] as const }
  const f = (q: typeof p, s: Tensor, k: number) => b.mul(b.sum(b.mul(q.w, s)), b.mul(q.deep[0], k)) as Tensor
  const s = tensor([2, 5], 'f64')
  const [value, g] = valueAndGrad(f)(p, s, 10)
  for (const own of [g, grad(f)(p, s, 10)]) {
    assert.deepEqual(Object.keys(own), ['w', 'deep'])
    assert.deepEqual([list(own.w), list(own.deep[0]), own.deep[1]], [[60, 150], [120], { n: 7, name: 'a' }])
  }
  assert.deepEqual(list(value), [360])
  const [[loss, aux], h] = valueAuxAndGrad((q: typeof p, k: number) => [f(q, s, k), { seen: b.neg(q.w), k }])(
    p,
    1,
  )
  assert.deepEqual([list(loss), list(aux.seen), aux.k, list(h.w)], [[36], [-1, -2], 1, [6, 15]])
  assert.equal(grad((t: Tensor) => b.sum(t))(tensor([1, 2])).dtype, 'f32')

  const pair = (q: { readonly u: Tensor; readonly v: Tensor }) => ({
    sum: b.add(q.u, q.v),
    more: [b.mul(q.u, q.v)],
  })
  const at = { u: x, v: tensor([3, 5], 'f64') }
  const [y, back] = vjp(pair, at)
  assert.deepEqual(
    [list(y.sum), list(y.more[0])],
    [
      [4, 7],
      [3, 10],
    ],
  )
  const cotangents = back({ sum: tensor([1, 10], 'f64'), more: [tensor([100, 1000], 'f64')] })
  assert.deepEqual(
    [list(cotangents.u), list(cotangents.v)],
    [
      [301, 5010],
      [101, 2010],
    ],
  )
  const [z, tangents] = jvp(pair, at, { u: tensor([1, 10], 'f64'), v: tensor([100, 1000], 'f64') })
  assert.deepEqual(
    [list(z.sum), list(z.more[0])],
    [
      [4, 7],
      [3, 10],
    ],
  )
  assert.deepEqual(
    [list(tangents.sum), list(tangents.more[0])],
    [
      [101, 1010],
      [103, 2050],
    ],
  )
}

function refusals(): void {
  const whole = tensor([1, 2], 'i32')
  const total = (q: { readonly n: Tensor }) => b.sum(q.n)
  throwsGradientError(
    () => grad(total)({ n: whole }),
    /^grad: the argument at 'n' is i32\[2\]; only f32 and f64 have derivatives/,
  )
  throwsGradientError(() => vjp((t: Tensor) => t, whole), /^vjp: the argument is i32\[2\]; only/)
  throwsGradientError(() => jvp((t: Tensor) => t, whole, whole), /^jvp: the argument is i32\[2\]; only/)
  throwsGradientError(() => grad(() => b.sum(x))({ n: 1 }), /^grad: the argument holds no tensor$/)
  // a function that TypeScript would refuse too
  const number = (() => 3) as unknown as (t: Tensor) => Tensor
  throwsGradientError(() => grad(number)(x), /^grad: the function must return a scalar tensor, got number$/)
  const scalar =
    /^grad: the function must return a scalar, got (f64\[2\]|i32\[\]|i32\[2\]); did you forget mean/
  for (const f of [(t: Tensor) => t, () => b.sum(whole), () => whole])
    throwsGradientError(() => grad(f as (t: Tensor) => Tensor)(x), scalar)

  // derivatives have the types of what they belong to
  const along = (d: Tensor) => jvp((t: Tensor) => t, x, d)
  throwsGradientError(() => along(tensor([1], 'f64')), /^jvp: the tangent is f64\[1\], its primal f64\[2\]$/)
  throwsGradientError(() => along(tensor([1, 2])), /^jvp: the tangent is f32\[2\], its primal f64\[2\]$/)
  const back = (d: Tensor) => vjp((t: Tensor) => t, x)[1](d)
  throwsGradientError(() => back(tensor([1], 'f64')), /^vjp: the cotangent is f64\[1\], its result f64\[2\]$/)
  throwsGradientError(() => back(tensor([1, 2])), /^vjp: the cotangent is f32\[2\], its result f64\[2\]$/)
  const twice = (t: readonly Tensor[]) => t.map(u => b.mul(u, 2))
  throwsGradientError(() => jvp(twice, [x, x], [x]), /^jvp: 1 tangents for 2 primals$/)
  throwsGradientError(() => vjp(twice, [x, x])[1]([x, x, x]), /^vjp: 3 cotangents for 2 results$/)
}

/** A custom function may use constants and what it makes itself; of an outer tensor the gradient would be lost. */
function closures(): void {
  const scale = tensor([3, 4], 'f64')
  const inner = custom('inner', z => [b.mul(b.mul(z, scale), b.iota([2], 0, 'f64')), z], {})
  assert.deepEqual(inner(x).map(list), [
    [0, 8],
    [1, 2],
  ])
  assert.deepEqual(list(grad((t: Tensor) => b.sum(inner(t)[0]))(x)), [0, 4])
  assert.deepEqual(custom('made', () => [b.iota([2], 0), scale], {})().map(list), [
    [0, 1],
    [3, 4],
  ])
  for (const use of [(z: Tensor, t: Tensor) => b.mul(z, t), (_: Tensor, t: Tensor) => t])
    throwsGradientError(
      () =>
        grad((t: Tensor) => {
          const outer = b.mul(t, 2)
          return b.sum(custom('closes', z => [use(z, outer)], {})(t)[0])
        })(x),
      /^closes: the function closes over a traced tensor, whose gradient would be lost; pass it as an argument$/,
    )
  // an argument that leaves its function is known by the function's name
  const leaked: Tensor[] = []
  const leaky = (z: Tensor) => {
    leaked.push(z)
    return [z]
  }
  custom('leaky', leaky, {})(x)
  assert.throws(() => makeGraph([], leaked), /the function uses leaky's argument, an argument of another/)
}

export const interfaceProperties: readonly Property[] = [
  fact('derivatives of trees are trees, and what is no tensor stays', trees),
  fact('derivatives have the types of what they belong to; what has none is refused', refusals),
  fact('a custom function closes over constants only', closures),
]
