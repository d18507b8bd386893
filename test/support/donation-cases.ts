/** Donated arguments: programs that update their arguments, run with and without donation, must give the same bits. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { grad } from '../../src/autodiff/grad.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { compile, dispose, read, unwrap } from '../../src/backend/compile.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { add, mul, sub } from '../../src/dsl/build.ts'
import { sum } from '../../src/dsl/ops/reduce.ts'
import { range, type Shape, showType, size } from '../../src/dsl/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key, uniformAt } from '../../src/dsl/threefry.ts'
import { type Program, programArguments, programLoss, programs } from '../../src/testing/programs.ts'

type State = readonly Tensor[]
/** A function of a state that gives the next one, of the same types. */
type Update = (state: State) => State

const upload = async (backend: Backend, arrays: readonly NDArray[]) =>
  (await unwrap(compile((xs: State) => xs, [arrays], backend))).resident([arrays])

/** Three steps of an update on the device; donated state and kept state must agree to the bit. */
async function checkUpdate(backend: Backend, update: Update, initial: readonly NDArray[]): Promise<void> {
  const run = async (donate: readonly number[]) => {
    const exe = await unwrap(compile(update, [initial], backend, { donate }))
    let state = await upload(backend, initial)
    for (let i = 0; i < 3; i++) {
      const next = await exe.resident([state])
      if (donate.length === 0) dispose(state)
      state = next
    }
    const out = await read(state)
    dispose(state)
    return { out, peak: exe.stats.peakBytes }
  }
  const [kept, donated] = [await run([]), await run([0])]
  donated.out.forEach((a, i) => {
    assert.deepEqual(a, kept.out[i], `result ${i}, ${showType(a)}`)
  })
  assert.ok(donated.peak <= kept.peak)
}

const ramp = (shape: Shape, seed: number): NDArray =>
  array(
    shape,
    'f32',
    range(size(shape)).map(i => uniformAt(key(seed), i) - 0.5),
  )
const shapes: readonly Shape[] = [[], [1], [4], [5], [7, 3], [16], [33, 2], [64, 9], [2, 3, 5]]

/** The argument that most often breaks in-place code: results that read each other's arguments. */
const crossed: readonly { readonly name: string; readonly update: Update }[] = [
  {
    name: 'momentum and descent',
    update: ([p, m]) => [sub(p, mul(add(mul(m, 0.9), p), 0.1)), add(mul(m, 0.9), p)],
  },
  { name: 'exchanged', update: ([a, b]) => [add(b, 1), add(a, 2)] },
  { name: 'one argument read by both results', update: ([a, b]) => [add(mul(a, 2), b), sub(a, b)] },
  { name: 'an argument handed through', update: ([a, b]) => [a, add(a, b)] },
  { name: 'a reduction of what is overwritten', update: ([a, b]) => [sub(a, sum(a)), sub(b, sum(a))] },
]

/** What a backend must do with donated arguments. */
export const donationCases: readonly {
  readonly name: string
  readonly run: (b: Backend) => Promise<void>
}[] = [
  ...crossed.map(({ name, update }) => ({
    name: `donated arguments: ${name}, in every shape`,
    run: async (b: Backend) => {
      for (const s of shapes) await checkUpdate(b, update, [ramp(s, 1), ramp(s, 2)])
    },
  })),
  {
    name: 'donated arguments: a step of descent on random programs gives the same bits as without donation',
    run: async b => {
      await fc.assert(
        fc.asyncProperty(programs({ length: 6 }), async (p: Program) => {
          const descend: Update = xs => {
            const gs = grad((ts: State) => programLoss(p)(ts))(xs)
            return xs.map((x, i) => sub(x, mul(gs[i], 0.01)))
          }
          await checkUpdate(b, descend, programArguments(p, 'f32'))
        }),
        { numRuns: b.name === 'cpu' ? 150 : 15 },
      )
    },
  },
  {
    name: 'a donated state is updated in place: memory is that of one state',
    run: async b => {
      const state = [ramp([64, 64], 1), ramp([64, 64], 2)]
      const exe = await unwrap(compile(crossed[0].update, [state], b, { donate: [0] }))
      assert.equal(exe.stats.peakBytes, 2 * 64 * 64 * 4)
    },
  },
  {
    name: 'an array that is donated and passed twice is refused',
    run: async b => {
      const [x] = await upload(b, [ramp([8], 1)])
      const exe = await unwrap(
        compile((a: Tensor, c: Tensor) => add(mul(a, 2), c), [x.type, x.type], b, { donate: [0] }),
      )
      await assert.rejects(exe.resident([x, x]), {
        tag: 'DeviceError',
        message: /argument 0 is donated and is argument 1 too/,
      })
      dispose(x)
    },
  },
]
