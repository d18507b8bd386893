import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { add, axis, constant, scale } from '../../src/backend/affine.ts'
import { makeHeap } from '../../src/backend/cpu/heap.ts'
import { encodeModule, put, signed, unsigned } from '../../src/backend/cpu/wasm.ts'
import type { Instr, Kernel, Schedule } from '../../src/backend/kernel.ts'
import { type DType, makeData } from '../../src/dsl/dtype.ts'
import { type ScalarOp, scalars } from '../../src/dsl/scalar.ts'
import { coreOps, randomCase, randomData, seeded, seeds, takes } from './random-kernel.ts'
import { agrees, runWasm } from './run-kernel.ts'

const PLAIN: Schedule = { vector: null, tiles: [] }
const isFloatSum = (k: Kernel) =>
  k.accumulators.some(a => a.how === 'sum' && (a.dtype === 'f32' || a.dtype === 'f64'))

test('LEB128 decodes to the number that was encoded', () => {
  const decode = (bytes: readonly number[], sign: boolean) => {
    const n = bytes.reduceRight((x, b) => x * 128n + BigInt(b & 127), 0n)
    const bits = 7n * BigInt(bytes.length)
    return Number(sign && bytes[bytes.length - 1] & 64 ? n - (1n << bits) : n)
  }
  fc.assert(fc.property(fc.integer(), n => decode(signed(n), true) === n))
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 }), n => decode(unsigned(n), false) === n))
})

test('an encoded module is valid, and a wrong one is not', () => {
  const fn = (code: number[]) =>
    encodeModule([{ name: 'f', params: ['i32'], locals: ['f32', 'v128', 'v128'], code }])
  const good: number[] = []
  put(good, 'local.get', 0)
  put(good, 'f32.load', 2, 128)
  put(good, 'local.set', 1)
  assert.ok(WebAssembly.validate(fn(good)))
  const bad: number[] = []
  put(bad, 'local.get', 0)
  put(bad, 'local.set', 1)
  assert.equal(WebAssembly.validate(fn(bad)), false)
  assert.throws(() => put([], 'f32.sin'), /f32\.sin/)
})

test('every random kernel agrees with the interpreter under every schedule', () => {
  const property = fc.property(seeds, seed => {
    const c = randomCase(seed)
    // at most 3000 numbers below 40 each, in any order; one rounding of 2^-24 an addition at most
    const tolerance = isFloatSum(c.kernel)
      ? (x: number) => 2 ** -24 * 3000 * (40 + Math.abs(x)) * 0.05
      : () => 0
    agrees(c.kernel, c.data, c.schedules, tolerance)
  })
  fc.assert(property, { numRuns: 600, endOnFailure: true })
})

/** out[i] = fn(inputs[i]...) over n elements. */
function elementwise(fn: ScalarOp, dtypes: readonly DType[], to: DType, n: number): Kernel {
  const i = axis(0, n)
  const loads = dtypes.map((dtype, buffer): Instr => ({ k: 'load', buffer, index: i, guard: [], dtype }))
  return {
    name: `${fn} ${dtypes.join()} -> ${to}`,
    axes: [{ extent: n, kind: 'parallel' }],
    buffers: [...dtypes, to].map((dtype, b) => ({
      dtype,
      size: n,
      access: b === dtypes.length ? 'write' : 'read',
    })),
    body: [...loads, { k: 'scalar', fn, args: dtypes.map((_, a) => a), dtype: to }],
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: dtypes.length, index: i, value: dtypes.length, mode: 'set', guard: [] }],
  }
}
const DTYPES: readonly DType[] = ['f32', 'f64', 'i32', 'u32', 'bool']

test('every core operation on every dtype has its meaning, element by element and in lanes', () => {
  const n = 61
  let cases = 0
  for (const fn of coreOps)
    for (const d of DTYPES.filter(x => takes(fn, x))) {
      const { out, arity } = scalars[fn]
      const bits = DTYPES.filter(x => x !== 'f64' && x !== 'bool')
      const results =
        out === 'bool' ? ['bool' as const] : out === 'same' ? [d] : fn === 'cast' ? DTYPES : bits
      for (const to of results) {
        const draw = seeded(cases++)
        const dtypes = Array.from(
          { length: arity },
          (_, a): DType => (fn === 'select' && a === 0 ? 'bool' : d),
        )
        // exp2i and exponent are defined on part of the floats only
        const data = dtypes.map(t => randomData(draw, t, n, fn !== 'exp2i' && fn !== 'exponent'))
        if (fn === 'exp2i') data[0].set(data[0].map((_, i) => i - 30))
        if (fn === 'exponent') data[0].set(data[0].map(x => Math.abs(x) + 2 ** -100))
        const kernel = elementwise(fn, dtypes, to, n)
        agrees(kernel, [...data, makeData(to, n)], [PLAIN, { vector: 0, tiles: [{ axis: 0, size: 2 }] }])
      }
    }
  assert.ok(cases > 90, `${cases} cases`)
})

/** y[i] = how over j of x[i, j]; `outer` reduces over the rows of x[j, i] instead. */
function reduction(how: 'sum' | 'prod' | 'max' | 'argmax', m: number, n: number, outer: boolean): Kernel {
  const i = axis(0, m)
  const j = axis(1, n)
  return {
    name: how,
    axes: [
      { extent: m, kind: 'parallel' },
      { extent: n, kind: 'reduce' },
    ],
    buffers: [
      { dtype: 'f32', size: m * n, access: 'read' },
      { dtype: how === 'argmax' ? 'i32' : 'f32', size: m, access: 'write' },
    ],
    body: [
      {
        k: 'load',
        buffer: 0,
        index: outer ? add(scale(j, m), i) : add(scale(i, n), j),
        guard: [],
        dtype: 'f32',
      },
    ],
    accumulators: [{ how, value: 0, dtype: 'f32' }],
    epilogue: [{ k: 'acc', accumulator: 0, dtype: how === 'argmax' ? 'i32' : 'f32' }],
    stores: [{ buffer: 1, index: i, value: 1, mode: 'set', guard: [] }],
  }
}

test('a sum of a million numbers is as accurate as a blocked sum, along lanes and across them', () => {
  const n = 1_000_000
  const x = Float32Array.from({ length: n }, (_, i) => 1 + ((i * 7919) % 1000) / 1000)
  const exact = x.reduce((s, v) => s + v, 0)
  for (const schedule of [PLAIN, { vector: 1, tiles: [{ axis: 1, size: 4 }] }]) {
    const [, y] = runWasm(reduction('sum', 1, n, false), schedule, [x, new Float32Array(1)])
    // blocks of 512 and the sum of at most 2000 of them: 2500 roundings of 2^-24, relative to a sum without cancellation
    assert.ok(Math.abs(y[0] - exact) < 2500 * 2 ** -24 * exact, `${y[0]} for ${exact}`)
  }
})

test('argmax gives the first of equal maxima and the first NaN, whatever the lanes', () => {
  const schedules: Schedule[] = [
    PLAIN,
    { vector: 1, tiles: [{ axis: 1, size: 3 }] },
    { vector: 0, tiles: [] },
  ]
  const rows = [
    [1, 5, 5, 5, 0, 5, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5],
    [0, 9, Number.NaN, 1, 1, 1, 1, Number.NaN, 2, 2, 2, 2, 99, 2, 2, 2, 2],
    new Array<number>(17).fill(Number.NEGATIVE_INFINITY),
    Array.from({ length: 17 }, (_, i) => i),
  ]
  const x = Float32Array.from(rows.flat())
  for (const s of schedules) {
    const [, y] = runWasm(reduction('argmax', 4, 17, false), s, [x, new Int32Array(4)])
    assert.deepEqual([...y], [1, 2, 0, 16])
  }
})

test('an empty reduction gives the identity', () => {
  for (const [how, expected] of [
    ['sum', 0],
    ['prod', 1],
    ['max', -Infinity],
    ['argmax', 0],
  ] as const) {
    const kernel = reduction(how, 5, 0, true)
    const out = how === 'argmax' ? new Int32Array(5) : new Float32Array(5)
    const [, y] = runWasm(kernel, { vector: 0, tiles: [] }, [new Float32Array(0), out])
    assert.deepEqual([...y], new Array(5).fill(expected))
  }
})

test('products agree with the interpreter to rounding, over inner and outer axes', () => {
  const draw = seeded(5)
  for (const outer of [false, true])
    for (const n of [1, 3, 4, 7, 33]) {
      const x = Float32Array.from({ length: 6 * n }, () => 0.5 + draw(0, 1000) / 1000)
      const schedules: Schedule[] = [
        PLAIN,
        { vector: 0, tiles: [] },
        { vector: 1, tiles: [{ axis: 1, size: 2 }] },
      ]
      // n roundings of 2^-24 in each of two orders
      agrees(
        reduction('prod', 6, n, outer),
        [x, new Float32Array(6)],
        schedules,
        e => 2 * n * 2 ** -24 * Math.abs(e),
      )
    }
})

test('a scatter adds in the order of the loop, and drops indices outside the table', () => {
  const n = 10
  const kernel: Kernel = {
    name: 'scatter',
    axes: [{ extent: n, kind: 'reduce' }],
    buffers: [
      { dtype: 'i32', size: n, access: 'read' },
      { dtype: 'f32', size: n, access: 'read' },
      { dtype: 'f32', size: 3, access: 'add' },
    ],
    body: [
      { k: 'load', buffer: 0, index: axis(0, n), guard: [], dtype: 'i32' },
      { k: 'load', buffer: 1, index: axis(0, n), guard: [], dtype: 'f32' },
    ],
    accumulators: [],
    epilogue: [],
    stores: [
      {
        buffer: 2,
        index: { terms: [{ atom: { k: 'value', value: 0 }, coef: 1 }], offset: 0 },
        value: 1,
        mode: 'add',
        guard: [{ index: { terms: [{ atom: { k: 'value', value: 0 }, coef: 1 }], offset: 0 }, lo: 0, hi: 3 }],
      },
    ],
  }
  const to = Int32Array.of(0, 1, 2, 0, -1, 3, 1, 1000000000, 2, 0)
  const x = Float32Array.from({ length: n }, (_, i) => 2 ** i)
  const [, , y] = runWasm(kernel, { vector: 0, tiles: [] }, [to, x, new Float32Array(3)])
  assert.deepEqual([...y], [1 + 8 + 512, 2 + 64, 4 + 256])
})

test('a kernel without points writes nothing and one without axes writes once', () => {
  const kernel = (axes: Kernel['axes']): Kernel => ({
    name: 'fill',
    axes,
    buffers: [{ dtype: 'f32', size: 1, access: 'write' }],
    body: [{ k: 'lit', value: 7, dtype: 'f32' }],
    accumulators: [],
    epilogue: [],
    stores: [{ buffer: 0, index: constant(0), value: 0, mode: 'set', guard: [] }],
  })
  assert.deepEqual(runWasm(kernel([]), PLAIN, [new Float32Array(1)]), [Float32Array.of(7)])
  const none = kernel([{ extent: 0, kind: 'parallel' }])
  assert.deepEqual(runWasm(none, PLAIN, [new Float32Array(1)]), [Float32Array.of(0)])
})

test('the heap gives disjoint ranges and ends empty', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 40 }),
      fc.infiniteStream(fc.boolean()),
      (sizes, coins) => {
        const heap = makeHeap()
        const live: { at: number; n: number }[] = []
        for (const n of sizes) {
          const at = heap.allocate(n)
          assert.ok(at % 256 === 0 && at > 0 && at + n <= heap.memory.buffer.byteLength)
          assert.ok(live.every(o => at + n <= o.at || o.at + o.n <= at))
          live.push({ at, n })
          if (coins.next().value === true) heap.free(live.splice(live.length >> 1, 1)[0].at)
        }
        for (const { at } of live) heap.free(at)
        assert.deepEqual(heap.live(), { buffers: 0, bytes: 0 })
      },
    ),
    { numRuns: 50 },
  )
})
