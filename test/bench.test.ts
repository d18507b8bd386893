import assert from 'node:assert/strict'
import test from 'node:test'
import { type CoreSpeed, startProbe, waitForCores, wholeCores } from '../bench/cores.ts'
import { describeMachine } from '../bench/machine.ts'
import { targetsSheet } from '../bench/results.ts'

const machine = { ...describeMachine(), cores: 2, wholeCores: 2, load: 0 }
const run = (own: number, rival: number, cores: readonly CoreSpeed[]) => ({
  machine,
  contenders: {},
  absent: {},
  results: [
    {
      workload: 'conv',
      title: 'conv',
      cores,
      outcomes: [
        { contender: 'ct cpu 2T', median: own },
        { contender: 'tfjs wasm 1T', median: rival },
      ],
    },
  ],
})
const verdictOf = (r: ReturnType<typeof run>) => targetsSheet(r).rows[0].slice(-2)

test('a target is judged where every thread had a core of its own, and only there', () => {
  const whole = { one: 50, all: 98 }
  const shared = { one: 50, all: 62 }
  assert.deepEqual(verdictOf(run(10, 21, [whole, whole, shared])), ['2.10x', 'reached'])
  assert.deepEqual(verdictOf(run(10, 19, [whole])), ['1.90x', 'missed'])
  assert.deepEqual(verdictOf(run(10, 21, [shared, shared, whole])), [
    '2.10x',
    'not judged: 2 threads had 1.24 cores',
  ])
  // one thread that was slow as well hides nothing: the best of the run counts
  assert.equal(wholeCores([{ one: 30, all: 60 }], [whole, { one: 30, all: 60 }]), 1.2)
  assert.deepEqual(verdictOf({ ...run(10, 21, [whole]), machine: { ...machine, load: 2 } }), [
    '2.10x',
    'not judged: the machine was busy',
  ])
})

test('waiting ends when the cores are whole, or when the time for it is spent', async () => {
  const samples = [
    { one: 50, all: 51 },
    { one: 50, all: 99 },
    { one: 50, all: 50 },
  ]
  const probe = { measure: () => samples.shift() ?? assert.fail('looked too often'), stop: () => undefined }
  const [seen, budget]: [CoreSpeed[], { ms: number }] = [[], { ms: 10_000 }]
  assert.deepEqual(await waitForCores(probe, seen, budget, 2), { one: 50, all: 99 })
  assert.equal(seen.length, 2)
  assert.ok(budget.ms < 10_000, `${budget.ms}`)
  await waitForCores(probe, seen, { ms: 0 }, 2)
  assert.equal(seen.length, 3)
})

test('the probe measures one thread and all', () => {
  const probe = startProbe(2)
  const { one, all } = probe.measure()
  probe.stop()
  // a lane-wise loop of any machine does more than a multiplication a nanosecond, and two threads no less than a quarter of one
  assert.ok(one > 1 && all > one / 4, `${one} ${all}`)
})
