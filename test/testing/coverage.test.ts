/**
 * Coverage read off the registries: every primitive, every scalar operation and every pass goes through each check
 * below, and the table that the test prints has a row for each. One that lacks a row fails.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { pullback, pushforward } from '../../src/autodiff/transform.ts'
import { rules } from '../../src/autodiff/vjp.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { evaluate } from '../../src/backend/cpu/reference-backend.ts'
import { inline } from '../../src/backend/passes/inline.ts'
import { optimise, passes } from '../../src/backend/pipeline.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import * as b from '../../src/dsl/build.ts'
import { makeGraph, rebind } from '../../src/dsl/graph.ts'
import { inferRules } from '../../src/dsl/infer.ts'
import type { Op } from '../../src/dsl/prim.ts'
import { type ScalarOp, type ScalarRecord, scalars } from '../../src/dsl/scalar.ts'
import { range, type Shape, size } from '../../src/dsl/shape.ts'
import { constant, type Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { checkBackends } from '../../src/testing/check-backends.ts'
import { checkGrads, compareGrads, traceList } from '../../src/testing/check-grads.ts'
import { checkTransforms, checkVmap } from '../../src/testing/check-transforms.ts'
import { product } from '../../src/testing/numbers.ts'
import {
  countOps,
  programArguments,
  programLoss,
  programSteps,
  programs,
  runProgram,
  type StepName,
} from '../../src/testing/programs.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'

after(closeAll)

const primitives = Object.keys(inferRules) as readonly Op[]
const operations = Object.keys(scalars) as readonly ScalarOp[]
const registry: readonly StepName[] = [...primitives, ...operations]

/** What was done for each entry: the table that is printed at the end. */
const covered = new Map<string, Map<string, number>>(registry.map(n => [n, new Map()]))
const note = (name: string, check: string): void => {
  const row = covered.get(name)
  assert.ok(row, `${name} is in the registry`)
  row.set(check, (row.get(check) ?? 0) + 1)
}

const random = (s: Shape, seed: number, dtype: 'f32' | 'f64' = 'f64'): NDArray =>
  array(
    s,
    dtype,
    range(size(s)).map(i => 2 * uniformAt(key(seed), i) - 1),
  )
/** A step as a function of two tensors. */
const applied =
  (name: StepName, p: number) =>
  (x: Tensor, y: Tensor): Tensor =>
    programSteps[name](x, y, p, [x, y])
/** Shapes of every rank, among them empty ones, single elements, and sizes that are no multiple of 4 or of a tile. */
const shapes: readonly Shape[] = [
  [],
  [1],
  [5],
  [0],
  [17],
  [3, 5],
  [2, 0, 3],
  [33, 1],
  [2, 3, 7],
  [1, 1, 1],
  [2, 1, 3, 5],
  [1, 2, 1, 3, 2],
  [2, 1, 2, 1, 3, 1],
]
/** Every parameter of a step matters: a few choices of each. */
const choices = [0, 1, 2, 5, 7, 11, 22, 44, 83, 166, 255]
/** Whether the step, so chosen, is built from what it is named for. */
const isReached = (name: StepName, p: number, x: NDArray, y: NDArray): boolean => {
  const graph = traceList(([s, t]) => applied(name, p)(s, t), [x, y])
  return countOps(graph.outputs).has(name)
}

test('every primitive and every scalar operation has a step, and the step is built from it', () => {
  for (const name of registry) {
    const reached = shapes.some((s, i) =>
      choices.some(p => isReached(name, p, random(s, i), random(shapes[(i + 3) % shapes.length], i + 50))),
    )
    assert.ok(reached, `${name}: its step never makes one`)
    note(name, 'step')
  }
})

test('reverse mode, forward mode and differences agree for every step, to second order', () => {
  for (const name of registry) {
    let compared = 0
    choices.forEach((p, k) => {
      const s = shapes[(k * 5 + 2) % shapes.length]
      const args = [random(s, k), random(k % 2 ? s : [], k + 50)]
      compared += compareGrads(applied(name, p), args, { order: k % 4 === 0 ? 2 : 1, directions: 1 }).compared
    })
    assert.ok(compared >= 6, `${name}: only ${compared} gradients could be compared`)
    note(name, 'gradients')
  }
})

test('vmap of every step, and of its gradient, is the step example by example', () => {
  for (const name of registry) {
    for (const [k, p] of [1, 6, 44].entries()) {
      const s = shapes[[2, 5, 9][k]]
      checkVmap(applied(name, p), [random([3, ...s], k), random([3, ...s], k + 50)])
    }
    note(name, 'vmap')
  }
})

test('no pass changes a value of any step or of its gradient', () => {
  for (const name of registry) {
    for (const [k, p] of [0, 7, 22].entries())
      checkTransforms(applied(name, p), [
        random(shapes[[5, 7, 10][k]], k),
        random(shapes[[5, 0, 2][k]], k + 50),
      ])
    note(name, 'passes')
  }
})

test('the CPU backend computes every step and its gradient as the reference does, at every rank', async () => {
  const backend = await cpu()
  for (const name of registry) {
    for (const [k, s] of shapes.entries())
      await checkBackends(
        applied(name, choices[k % choices.length]),
        [random(s, k, 'f32'), random(s, k + 50, 'f32')],
        [backend],
        { gradients: k % 3 === 0 },
      )
    note(name, 'cpu')
  }
})

test('WebGPU computes every step and its gradient as the reference does', async t => {
  const backend = await webgpu(t)
  for (const [i, name] of registry.entries()) {
    const k = i % shapes.length
    const own = [shapes[k], shapes[(k + 5) % shapes.length]]
    for (const [n, s] of own.entries())
      await checkBackends(
        applied(name, choices[(i + n) % choices.length]),
        [random(s, k, 'f32'), random(s, k + 50, 'f32')],
        [backend],
        { gradients: n === 0 },
      )
    note(name, 'webgpu')
  }
})

test('every linear primitive and its rule are adjoint: <A x, y> = <x, A* y>', () => {
  const linear = primitives.filter(op => rules[op].kind === 'linear' || rules[op].kind === 'bilinear')
  const wrap = (a: NDArray) => constant(a.shape, a.dtype, a.data)
  for (const name of linear) {
    let pairs = 0
    for (const [k, p] of choices.entries()) {
      const s = shapes[[2, 5, 8, 10][k % 4]]
      const args = [random(s, k), random(s, k + 50)]
      const graph = inline(traceList(([x, y]) => applied(name, p)(x, y), args))
      for (const [n, e] of graph.eqns.entries()) {
        if (e.op !== name) continue
        // The equation alone at its operands' values, linear in one float operand at a time.
        const operands = interpret(makeGraph(graph.inputs, e.inputs), args).map(wrap)
        const { kind } = rules[e.op]
        const data = range(operands.length).filter(i => operands[i].dtype === 'f64')
        assert.ok(kind === 'bilinear' ? data.length === 2 : data.length >= 1)
        for (const i of data) {
          const at = b.identity(operands[i])
          const [y] = rebind(
            e,
            operands.map((x, j) => (j === i ? at : x)),
          )
          const [x0, y0] = [random(at.shape, n + 7), random(y.shape, n + 8)]
          const [dy] = pushforward([y], [at], [wrap(x0)])
          const [dx] = pullback([y], [at], [wrap(y0)])
          const [left, right] = [
            product([evaluate(dy ?? b.zerosLike(y))], [y0]),
            product([x0], [evaluate(dx)]),
          ]
          // The same products in another order: roundings of f64.
          assert.ok(
            Math.abs(left.value - right.value) <= 1e-12 * (left.scale + right.scale + 1e-3),
            `${name}: <Ax, y> = ${left.value}, <x, A'y> = ${right.value}`,
          )
          pairs++
        }
      }
    }
    assert.ok(pairs >= 4, `${name}: only ${pairs} pairs`)
    note(name, 'adjoint')
  }
})

const smooth = operations.filter(fn => scalars[fn].partials !== null)

test("every scalar operation's partials agree with differences where it is smooth, to second order", () => {
  for (const fn of smooth) {
    const { smoothOn }: ScalarRecord = scalars[fn]
    const floats = range(smoothOn.length).filter(i => !(fn === 'select' && i === 0))
    const at = (seed: number): NDArray[] =>
      floats.map(i => {
        const [low, high] = smoothOn[i]
        return array(
          [7],
          'f64',
          range(7).map(j => low + (high - low) * (0.05 + 0.9 * uniformAt(key(seed), 10 * i + j))),
        )
      })
    const even = constant([7], 'bool', Uint8Array.of(1, 0, 1, 0, 0, 1, 1))
    for (const seed of range(5)) {
      const r = checkGrads(
        (...xs: Tensor[]) => b.map(fn, ...(fn === 'select' ? [even, ...xs] : xs)),
        at(seed),
      )
      assert.ok(r.compared >= 2, `${fn} at ${seed}: ${r.kinks} kinks`)
    }
    note(fn, 'partials')
  }
})

/** Gradients at kinks and ends, in PyTorch's convention: operands, then the gradients by each. */
// biome-ignore format: a table
const special: { readonly [K in ScalarOp]?: readonly (readonly [x: readonly number[], want: readonly number[]])[] } = {
  max: [[[1, 1], [0.5, 0.5]], [[0, -0], [0.5, 0.5]], [[2, 1], [1, 0]]],
  min: [[[1, 1], [0.5, 0.5]], [[0, -0], [0.5, 0.5]], [[2, 1], [0, 1]]],
  abs: [[[0], [0]], [[-0], [0]], [[-2], [-1]]],
  sign: [[[0], [0]], [[3], [0]]],
  floor: [[[1], [0]]], ceil: [[[1], [0]]], round: [[[0.5], [0]]], trunc: [[[1], [0]]],
  sqrt: [[[0], [Infinity]], [[Infinity], [0]]],
  exp: [[[-Infinity], [0]], [[0], [1]]], expm1: [[[-Infinity], [0]], [[0], [1]]],
  log: [[[0], [Infinity]], [[Infinity], [0]]], log1p: [[[0], [1]], [[-1], [Infinity]]],
  tanh: [[[Infinity], [0]], [[0], [1]]], erf: [[[Infinity], [0]], [[0], [2 / Math.sqrt(Math.PI)]]],
  pow: [[[0, 2], [0, 0]], [[0, 0], [0, 0]], [[2, 0], [0, Math.LN2]], [[0, 1], [1, 0]]],
  div: [[[0, 2], [0.5, -0]], [[1, Infinity], [0, -0]]],
  mul: [[[0, 3], [3, 0]]], sin: [[[0], [1]]], cos: [[[0], [-0]]],
  add: [[[0, 0], [1, 1]]], sub: [[[0, 0], [1, -1]]], neg: [[[0], [-1]]], opaque: [[[0], [1]]],
  select: [[[1, 5, NaN], [1, 0]], [[0, Infinity, 2], [0, 1]]],
}

test('the gradients of scalar operations at special points follow the stated conventions', () => {
  for (const fn of smooth) {
    const points = special[fn]
    assert.ok(points, `${fn} has a row of special points`)
    for (const [x, want] of points) {
      const cut = fn === 'select' ? 1 : 0
      const head = fn === 'select' ? [constant([], 'bool', Uint8Array.of(x[0]))] : []
      const xs = x.slice(cut).map(v => b.identity(constant([], 'f64', Float64Array.of(v))))
      const got = pullback([b.map(fn, ...head, ...xs)], xs, [b.scalar(1, 'f64')]).map(
        g => evaluate(g).data[0],
      )
      got.forEach((g, i) => {
        assert.ok(
          g === want[i] || Math.abs(g - want[i]) < 1e-15,
          `${fn} at ${x} by operand ${i}: ${g}, stated ${want[i]}`,
        )
      })
    }
    note(fn, 'special')
  }
})

test('every pass changes some program, and gives a valid graph with the same values', t => {
  const changed = new Map(passes.map(p => [p.name, 0]))
  fc.assert(
    fc.property(programs({ length: 6 }), program => {
      const args = programArguments(program, 'f64')
      checkTransforms(runProgram(program), [args])
      let before = traceList(programLoss(program), args)
      optimise(before, (pass, g) => {
        if (g.eqns.length !== before.eqns.length || g.eqns.some((e, i) => e !== before.eqns[i]))
          changed.set(pass.name, (changed.get(pass.name) ?? 0) + 1)
        before = g
      })
    }),
    { numRuns: 40 },
  )
  // A reduction longer than a thread's share, for the pass that cuts it.
  const long = random([6000], 1)
  checkTransforms((x: Tensor) => b.sum(b.mul(x, x)), [long])
  // A padded convolution, for the pass that makes its padding explicit.
  const windows = { big: 0, out: 1, tap: 2, stride: 1, dilation: 1, padding: 1 }
  const spec = { extents: [5, 5, 3], lhs: [0], rhs: [2], out: [1], windows: [windows] }
  const padded = traceList(([x, w]) => b.contract(spec, x, w), [random([5], 2), random([3], 3)])
  optimise(padded, (pass, g) => {
    if (pass.name === 'windows') changed.set('windows', g.eqns.filter(e => e.op === 'pad').length)
  })
  // A product with many terms and few results, for the pass that cuts it.
  const product = { extents: [2, 6000, 3], lhs: [0, 1], rhs: [1, 2], out: [0, 2], windows: [] }
  const many = traceList(([x, w]) => b.contract(product, x, w), [random([2, 6000], 4), random([6000, 3], 5)])
  optimise(many, (pass, g) => {
    if (pass.name === 'split contractions')
      changed.set(pass.name, g.eqns.filter(e => e.op === 'reduce').length)
  })
  const cut = optimise(traceList(([x]) => b.sum(x), [long]))
  changed.set('split', cut.eqns.filter(e => e.op === 'reduce').length - 1)
  for (const [name, n] of changed) {
    assert.ok(n > 0, `${name} changed no program`)
    t.diagnostic(`pass ${name}: changed ${n} programs`)
  }
})

test('the table has no gap', t => {
  const checks = ['step', 'gradients', 'vmap', 'passes', 'cpu', 'webgpu', 'adjoint', 'partials', 'special']
  t.diagnostic(['operation'.padEnd(14), ...checks].join(' '))
  for (const [name, row] of covered) {
    const due = new Set(['step', 'gradients', 'vmap', 'passes', 'cpu', 'webgpu'])
    const op = primitives.find(k => k === name)
    if (op && ['linear', 'bilinear'].includes(rules[op].kind)) due.add('adjoint')
    if (smooth.some(fn => fn === name)) {
      due.add('partials')
      due.add('special')
    }
    t.diagnostic(
      [
        name.padEnd(14),
        ...checks.map(c => (row.has(c) ? 'yes' : due.has(c) ? 'NO' : '-').padEnd(c.length)),
      ].join(' '),
    )
    for (const c of due) assert.ok(row.has(c), `${name} lacks ${c}`)
  }
})
