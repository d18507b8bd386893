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
    'not judged: 2 threads had 1.37 cores',
  ])
  // cores that are shared all the time are no whole ones, but clocks that fall when all work are
  assert.deepEqual(verdictOf(run(10, 21, [shared])), ['2.10x', 'not judged: 2 threads had 1.65 cores'])
  assert.deepEqual(verdictOf(run(10, 21, [{ one: 50, all: 84 }])), ['2.10x', 'reached'])
  // one thread that was slow as well hides nothing: the best of the run counts
  const slow = { one: 30, all: 60 }
  assert.equal(wholeCores([slow], [...new Array<CoreSpeed>(9).fill({ one: 50, all: 100 }), slow], 2), 1.2)
  assert.deepEqual(verdictOf({ ...run(10, 21, [whole]), machine: { ...machine, load: 2 } }), [
    '2.10x',
    'not judged: the machine was busy',
  ])
})

test('waiting ends when the cores are whole, or when the time for it is spent; the look after it counts', async () => {
  const whole = { one: 50, all: 99 }
  const shared = { one: 50, all: 51 }
  const first = new Array<CoreSpeed>(25).fill(whole)
  const probeOf = (samples: CoreSpeed[]) => ({
    measure: () => samples.shift() ?? assert.fail('looked too often'),
    stop: () => undefined,
  })
  const [seen, budget]: [CoreSpeed[], { ms: number }] = [[], { ms: 10_000 }]
  const last = { one: 50, all: 70 }
  assert.equal(await waitForCores(probeOf([...first, shared, shared, whole, last]), seen, budget, 2), last)
  assert.equal(seen.length, 29)
  assert.ok(budget.ms < 10_000, `${budget.ms}`)
  // two looks take 40 ms
  assert.equal(await waitForCores(probeOf([shared, shared, last]), seen, { ms: 30 }, 2), last)
  assert.equal(await waitForCores(probeOf([shared]), [], { ms: 0 }, 2), shared)
})

test('the probe measures one thread and all', () => {
  const probe = startProbe(2)
  const { one, all } = probe.measure()
  probe.stop()
  // a lane-wise loop of any machine does more than a multiplication a nanosecond, and two threads no less than a quarter of one
  assert.ok(one > 1 && all > one / 4, `${one} ${all}`)
})
