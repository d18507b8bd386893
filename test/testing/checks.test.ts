import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { custom } from '../../src/autodiff/grad.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { type Pass, passes } from '../../src/backend/pipeline.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { rewrite } from '../../src/dsl/graph.ts'
import { size } from '../../src/dsl/shape.ts'
import { tensor as constantTensor, type Tensor } from '../../src/dsl/tensor.ts'
import { broadcastable, parameters, shape, tensor, tensors } from '../../src/testing/arbitraries.ts'
import { checkBackends } from '../../src/testing/check-backends.ts'
import { checkGrads, compareGrads } from '../../src/testing/check-grads.ts'
import { checkLaws } from '../../src/testing/check-laws.ts'
import { checkTransforms, checkVmap } from '../../src/testing/check-transforms.ts'
import { CheckError } from '../../src/testing/numbers.ts'
import { closeAll, cpu } from '../support/backends.ts'

after(closeAll)
const x23 = array([2, 3], 'f64', [0.3, -1.2, 0.8, 2.1, -0.4, 0.9])
const fails = (f: () => unknown, message: RegExp): void => {
  assert.throws(f, e => e instanceof CheckError && message.test(e.message))
}

test('right gradients pass, of trees, to second order, and in f32 functions with constants of their own', () => {
  const r = checkGrads(
    (p: { w: Tensor; x: Tensor }) => b.map('tanh', b.mul(p.w, p.x)),
    [{ w: array([3], 'f64', [1, -2, 0.5]), x: x23 }],
  )
  assert.equal(r.compared, 3)
  assert.ok(r.moving && r.worst < 1e-7)
  const own = constantTensor([0.1, 0.2, 0.3])
  checkGrads((x: Tensor) => b.map('sin', b.mul(x, own)), [array([3], 'f32', [1, 2, 3])])
})

test('a wrong derivative is found in either mode, and the report names the worst element', () => {
  const wrong = (factor: number) =>
    custom('square', x => [b.mul(x, x)], {
      vjp: ([x], _, [dy]) => [b.mul(b.mul(x, constantTensor([2, 2, factor], 'f64')), dy)],
      jvp: ([x], _, [dx]) => [b.mul(b.mul(x, 2), dx)],
    })
  checkGrads((x: Tensor) => wrong(2)(x)[0], [array([3], 'f64', [1, 2, 3])])
  const args = [array([3], 'f64', [1, 2, 3])]
  fails(() => checkGrads((x: Tensor) => wrong(2.001)(x)[0], args), /reverse mode gives .* forward mode/)
  fails(
    () => checkGrads((x: Tensor) => b.sum(wrong(1)(x)[0]), args, { modes: ['reverse'] }),
    /the worst element: argument 0\[2\], where the gradient is 3 and differences give 6$/,
  )
  fails(
    () => checkGrads((x: Tensor) => b.sum(wrong(2.001)(x)[0]), args, { modes: ['reverse'] }),
    /the worst element: argument 0\[2\]/,
  )
})

test('a wrong second derivative is found where the first is right', () => {
  const twice = custom('twice', x => [b.map('sin', x)], {
    vjp: ([x], _, [dy]) => [b.mul(b.stopGradient(b.map('cos', x)), dy)],
    jvp: ([x], _, [dx]) => [b.mul(b.stopGradient(b.map('cos', x)), dx)],
  })
  // What stopGradient stops is held: the kit takes its word. Computed by other means it is caught.
  const cosine = custom('cosine', x => [b.map('cos', x)], {
    vjp: () => [b.zerosLike(constantTensor([1, 1], 'f64'))],
    jvp: ([x]) => [b.zerosLike(x)],
  })
  const sine = custom('sine', x => [b.map('sin', x)], {
    vjp: ([x], _, [dy]) => [b.mul(cosine(x)[0], dy)],
    jvp: ([x], _, [dx]) => [b.mul(cosine(x)[0], dx)],
  })
  const args = [array([2], 'f64', [0.4, 1])]
  checkGrads((x: Tensor) => twice(x)[0], args, { order: 1 })
  checkGrads((x: Tensor) => sine(x)[0], args, { order: 1 })
  fails(() => checkGrads((x: Tensor) => sine(x)[0], args), /the derivative of the gradient/)
})

test('the second derivative of x^y by x and y at y = 0 is 1/x (the fuzzer found it to be 0)', () => {
  const power = (x: Tensor, y: Tensor) => b.map('pow', x, y)
  checkGrads(power, [array([3], 'f64', [2, 0.5, 3]), array([3], 'f64', [0, 0, 0])])
})

test('kinks are told from wrong gradients: counted, and an error where nothing else is left', () => {
  const relu = (x: Tensor) => b.map('max', x, b.zerosLike(x))
  assert.equal(checkGrads(relu, [array([2], 'f64', [1, -1])]).kinks, 0)
  assert.equal(compareGrads(relu, [array([2], 'f64', [0, 1])], { order: 1 }).kinks, 2)
  // A kink between the steps: a smaller step is smooth.
  assert.equal(checkGrads(relu, [array([1], 'f64', [3e-5])], { order: 1 }).kinks, 0)
  fails(() => checkGrads(relu, [array([2], 'f64', [0, 1])]), /a kink or a jump lies within/)
  fails(() => checkGrads(b.neg, [array([2], 'i32', [0, 1])]), /no float array/)
  // A point of inflection with slope 0 is no kink.
  assert.equal(checkGrads((x: Tensor) => b.mul(x, b.mul(x, x)), [array([], 'f64', [0])]).kinks, 0)
})

test('what stopGradient stops is constant for the differences too', () => {
  checkGrads((x: Tensor) => b.mul(x, b.stopGradient(b.map('exp', x))), [x23])
})

/** A backend that adds to the first element of each result. */
const wrongBackend = (by: number): Backend => {
  const right = referenceBackend()
  return {
    ...right,
    compile: graph => async () => {
      const made = await right.compile(graph)()
      if (made._tag === 'Left') return made
      const run: typeof made.right.run = async (args, donate) =>
        (await made.right.run(args, donate)).map(r => ({
          ...r,
          type: r.type,
          dispose: () => r.dispose(),
          read: async (): Promise<NDArray> => {
            const a = await r.read()
            return array(
              a.shape,
              a.dtype,
              Array.from<number, number>(a.data, (v, i) => (i === 0 ? v + by : v)),
            )
          },
        }))
      return { _tag: 'Right', right: { ...made.right, run } }
    },
  }
}

test('checkBackends passes a right backend, and names the element of a wrong one', async () => {
  const f = (x: Tensor) => b.map('tanh', b.sum(x, 0))
  const args = [array([2, 3], 'f32', [0.3, -1.2, 0.8, 2.1, -0.4, 0.9])]
  const r = await checkBackends(f, args, [await cpu(), referenceBackend()])
  assert.equal(r.compared, 4)
  await assert.rejects(
    checkBackends(f, args, [wrongBackend(1e-3)]),
    e => e instanceof CheckError && /on reference .* result\[0\] is .*, expected/.test(e.message),
  )
  await checkBackends(f, args, [wrongBackend(1e-7)])
})

test('a result that rounding moves far is held to that movement, and is counted', async () => {
  // (1e7 + x) - 1e7 keeps a digit or two of x in f32.
  const f = (x: Tensor) => b.sub(b.add(x, 1e7), 1e7)
  const r = await checkBackends(f, [array([3], 'f32', [0.3, 0.7, -0.2])], [await cpu()], { gradients: false })
  assert.equal(r.illConditioned, 1)
  await assert.rejects(
    checkBackends(f, [array([3], 'f32', [0.3, 0.7, -0.2])], [wrongBackend(1000)]),
    CheckError,
  )
})

test('checkVmap and checkTransforms pass right functions and find a broken pass', () => {
  assert.ok(
    checkVmap((x: Tensor) => b.map('tanh', b.sum(x, 0)), [array([3, 2], 'f64', [1, 2, 3, 4, 5, 6])])
      .compared > 0,
  )
  assert.ok(
    checkTransforms((x: Tensor) => b.map('tanh', b.flip(x, [0])), [x23]).compared === 2 * passes.length,
  )
  const broken: Pass = {
    name: 'unflip',
    why: 'wrong on purpose',
    run: g => rewrite(g, (e, xs) => (e.op === 'flip' ? xs : null)),
  }
  fails(
    () => checkTransforms((x: Tensor) => b.flip(x, [0]), [x23], [broken]),
    /the pass unflip, on the function: result 0/,
  )
  fails(() => checkVmap(b.neg, [array([0, 2], 'f64', [])]), /a batch of at least one/)
})

test('checkLaws holds a loss to its invariances', () => {
  const loss = (x: Tensor, y: Tensor) => b.mean(b.map('abs', b.sub(x, y)))
  const shift = {
    name: 'ignores a common shift',
    change: (x: Tensor, y: Tensor): [Tensor, Tensor] => [b.add(x, 3), b.add(y, 3)],
    expect: 'same' as const,
  }
  const scale = {
    name: 'grows with the scale',
    change: (x: Tensor, y: Tensor): [Tensor, Tensor] => [b.mul(x, 2), b.mul(y, 2)],
    expect: (v: number) => 2 * v,
  }
  const args = [x23, array([2, 3], 'f64', [1, 2, 3, 4, 5, 6])]
  assert.equal(checkLaws(loss, [shift, scale], args).checked, 2)
  fails(
    () => checkLaws(loss, [{ ...scale, expect: 'same' }], args),
    /grows with the scale: the loss is .* expected/,
  )
})

test('arbitraries keep to their bounds, and failing tensors shrink to the smallest', () => {
  fc.assert(
    fc.property(tensor({ awayFromKinks: true, maxSize: 12 }), a => {
      const sorted = Array.from<number>(a.data).sort((p, q) => p - q)
      return sorted.every(
        (v, i) => Math.abs(v) >= 0.05 && Math.abs(v) <= 3 && (i === 0 || v - sorted[i - 1] >= 0.01),
      )
    }),
  )
  fc.assert(fc.property(shape({ minExtent: 0, maxRank: 6 }), s => s.length <= 6 && size(s) <= 256))
  fc.assert(
    fc.property(broadcastable(3), shapes => b.broadcastShapes('test', shapes).length === shapes[0].length),
  )
  fc.assert(fc.property(tensors(2), ([x, y]) => b.broadcastShapes('test', [x.shape, y.shape]).length <= 6))
  fc.assert(fc.property(parameters(), p => 'x' in p))
  const found = fc.check(
    fc.property(tensor(), a => !a.data.some(v => v > 0.7)),
    { seed: 1 },
  )
  assert.deepEqual(found.counterexample?.[0].shape, [])
  assert.deepEqual(Array.from(found.counterexample?.[0].data ?? []), [1])
  const kinds = new Set(
    fc
      .sample(tensor({ special: true, dtype: 'f32' }), { seed: 1, numRuns: 50 })
      .flatMap(a => Array.from<number, string>(a.data, String)),
  )
  for (const v of ['NaN', 'Infinity', '-Infinity', '0', '0.5']) assert.ok(kinds.has(v), `${v} occurs`)
})
