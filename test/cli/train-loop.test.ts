import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import type { Evaluation } from '../../src/cli/evaluate-model.ts'
import type { Interrupt } from '../../src/cli/interrupt.ts'
import { openRun, type Run } from '../../src/cli/run-folder.ts'
import { type Context, type Phase, train } from '../../src/cli/train-loop.ts'
import type { Batch } from '../../src/data/loader.ts'
import { confusionMatrix, scores, update } from '../../src/data/metrics.ts'
import { array } from '../../src/dsl/array.ts'
import { add, cast, mean, mul, sub, sum } from '../../src/dsl/build.ts'
import { foldIn, key, uniformAt } from '../../src/dsl/threefry.ts'

const root = mkdtempSync(join(tmpdir(), 'train-loop-'))
after(() => rmSync(root, { recursive: true }))
let made = 0
const freshFolder = (): string => join(root, `run-${made++}`)

const evaluation: Evaluation = (() => {
  const matrix = confusionMatrix(2)
  update(matrix, [0, 1], [0, 1], 2)
  return { scores: scores(matrix, 2), matrix, predictions: [] }
})()

/** Gradient descent with momentum on mean((w - image)^2): enough of a network to see every number. */
function descent(steps: number, learningRate: (step: number) => number = () => 0.1): Phase {
  const batchOf = (step: number): Batch => ({
    image: array(
      [1, 3, 1, 1],
      'f32',
      [0, 1, 2].map(i => uniformAt(foldIn(key(1), step), i)),
    ),
    label: array([1, 1, 1], 'i32', [0]),
    drawn: [{ index: 0, key: key(0) }],
  })
  return {
    name: 'descent',
    steps,
    step: ({ w, v, seen }, { image, learningRate: rate, key: stepKey }) => {
      const d = sub(w, image)
      const velocity = add(mul(v, 0.9), d)
      return {
        state: { w: sub(w, mul(velocity, rate)), v: velocity, seen: add(seen, sum(cast(stepKey, 'f32'))) },
        logs: { loss: mean(mul(d, d)) },
      }
    },
    initial: {
      w: array([1, 3, 1, 1], 'f32', [1, 2, 3]),
      v: array([1, 3, 1, 1], 'f32', [0, 0, 0]),
      seen: array([], 'f32', [0]),
    },
    fixed: {},
    learningRate,
    key: key(7),
    async *batches(start) {
      for (let step = start; step < steps; step++) yield batchOf(step)
    },
    evaluate: async () => evaluation,
  }
}

/** A context whose interrupt comes when the bar has shown `stopAt` steps. */
function contextOf(run: Run, { stopAt = Number.POSITIVE_INFINITY, checkpointEvery = 3 } = {}): Context {
  let requested = false
  const interrupt: Interrupt = {
    get requested() {
      return requested
    },
  }
  return {
    backend: referenceBackend(),
    run,
    interrupt,
    checkpointEvery,
    evalEvery: 2,
    resumeCommand: 'cotangent distill --resume --name x',
    show: () => ({
      update: step => {
        requested = step >= stopAt
      },
      stop: () => {},
    }),
  }
}

const fileOf = (run: Run): Record<string, number[]> =>
  Object.fromEntries([...(run.load('descent')?.tensors ?? [])].map(([name, a]) => [name, Array.from(a.data)]))

test('a run that is interrupted anywhere and resumed gives the bits of one that was not', async () => {
  const steps = 7
  const whole = openRun(freshFolder(), {})
  await train(descent(steps), contextOf(whole))
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: steps - 1 }),
      fc.integer({ min: 1, max: 4 }),
      async (stopAt, every) => {
        const folder = freshFolder()
        const first = openRun(folder, {})
        await assert.rejects(train(descent(steps), contextOf(first, { stopAt, checkpointEvery: every })), {
          tag: 'Interrupted',
          message: new RegExp(`after step ${stopAt} of ${steps}.*\n +cotangent distill --resume --name x`),
        })
        first.close()
        const second = openRun(folder, {})
        assert.equal(second.load('descent')?.metadata.get('step'), String(stopAt))
        await train(descent(steps), contextOf(second, { checkpointEvery: every }))
        assert.deepEqual(fileOf(second), fileOf(whole))
        assert.deepEqual(second.metrics(), whole.metrics())
        second.close()
      },
    ),
    { numRuns: 8 },
  )
  whole.close()
})

test('a killed run goes on from its last checkpoint: what was measured behind it is measured again', async () => {
  const steps = 7
  const whole = openRun(freshFolder(), {})
  await train(descent(steps), contextOf(whole))
  const run = openRun(freshFolder(), {})
  const phase = descent(steps)
  const dying: Phase = {
    ...phase,
    async *batches(start) {
      let step = start
      for await (const batch of phase.batches(start)) {
        if (step++ === 5) throw new Error('killed')
        yield batch
      }
    },
  }
  await assert.rejects(train(dying, contextOf(run)), /killed/)
  assert.equal(run.load('descent')?.metadata.get('step'), '3')
  await train(phase, contextOf(run))
  assert.deepEqual(fileOf(run), fileOf(whole))
  assert.deepEqual(run.metrics(), whole.metrics())
  run.close()
  whole.close()
})

test('a finished phase is not trained again, but scored', async () => {
  const run = openRun(freshFolder(), {})
  const first = await train(descent(4), contextOf(run))
  const lines = run.metrics()
  const unread: Phase = {
    ...descent(4),
    // biome-ignore lint/correctness/useYield: it must never be read
    async *batches() {
      throw new Error('a batch was read')
    },
  }
  const again = await train(unread, contextOf(run))
  assert.deepEqual(run.metrics(), lines)
  assert.deepEqual((await again.state.w.read()).data, (await first.state.w.read()).data)
  assert.equal(again.evaluation, evaluation)
  run.close()
})

test('a loss that is not finite stops the run, and the last good checkpoint stays', async () => {
  const run = openRun(freshFolder(), {})
  const phase = descent(9, step => (step < 6 ? 0.1 : 1e30))
  await assert.rejects(train(phase, contextOf(run)), {
    tag: 'RunError',
    message:
      /descent: the loss is (Infinity|NaN) at step 8 of 9 \(learning rate 1e\+30\); the checkpoint of step 6 is kept/,
  })
  assert(fileOf(run).w.every(Number.isFinite))
  run.close()
})

test('a checkpoint is never written of a state that is not finite', async () => {
  const run = openRun(freshFolder(), {})
  // The loss of step 3 is finite; the weights that it leaves are not.
  const phase = descent(3, step => (step === 2 ? Number.POSITIVE_INFINITY : 0.1))
  await assert.rejects(train(phase, contextOf(run, { checkpointEvery: 2 })), {
    tag: 'RunError',
    message: /'w' is not finite after step 3/,
  })
  assert.equal(run.load('descent')?.metadata.get('step'), '2')
  run.close()
})

test('a checkpoint of another network is refused by name', async () => {
  const run = openRun(freshFolder(), {})
  await train(descent(2), contextOf(run))
  const other = {
    ...descent(2),
    initial: { ...descent(2).initial, w: array([1, 3, 1, 2], 'f32', [1, 2, 3, 4, 5, 6]) },
  }
  await assert.rejects(train(other, contextOf(run)), {
    tag: 'DataError',
    message: /does not fit the network.*\n +w: is f32\[1, 3, 1, 1\], should be f32\[1, 3, 1, 2\]/,
  })
  run.close()
})
