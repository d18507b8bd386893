/** `--profile` as users call it. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { cotangent, metricsOf, tiny } from './command.ts'

const out = mkdtempSync(join(tmpdir(), 'profile-'))
after(() => rmSync(out, { recursive: true }))

interface Event {
  readonly name: string
  readonly ph: string
  readonly ts: number
  readonly dur: number
  readonly args: { readonly run: number }
}
const eventsOf = (file: string): readonly Event[] => JSON.parse(readFileSync(file, 'utf8')).traceEvents

test('--profile prints where the time went and writes a trace into the run folder; the numbers stay the same', async () => {
  const [timed, plain] = await Promise.all([
    cotangent([...tiny, '--out', out, '--name', 'timed', '--profile']),
    cotangent([...tiny, '--out', out, '--name', 'plain']),
  ])
  assert.equal(timed.code, 0, timed.stderr)
  assert.match(timed.stdout, /^kernel +axes +calls +ms +GFLOP\/s +GB\/s +share %$/m)
  assert.match(timed.stdout, /^student \/ .* \/ conv2d \/ contract +\d+( x \d+\+?)+ +\d+ +[\d.]+/m)
  assert.match(timed.stdout, /^all \d+ kernels +\d+ +[\d.]+ +[\d.]+ +[\d.]+ +100\.00$/m)
  const trace = join(out, 'timed', 'trace.json')
  assert(timed.stdout.includes(`trace     ${trace}`))
  const events = eventsOf(trace)
  assert(events.length > 100 && events.every(e => e.ph === 'X' && e.dur >= 0))
  // one kernel at a time
  for (const [i, e] of events.entries())
    if (i > 0) assert(e.ts >= events[i - 1].ts + events[i - 1].dur - 0.01, `event ${i}`)
  assert(!plain.stdout.includes('GFLOP/s') && !existsSync(join(out, 'plain', 'trace.json')))
  assert.deepEqual(metricsOf(join(out, 'timed')), metricsOf(join(out, 'plain')))
})

test('--profile FILE writes the trace there', async () => {
  const file = join(out, 'elsewhere.json')
  const { code, stderr } = await cotangent([...tiny, '--out', out, '--name', 'other', '--profile', file])
  assert.equal(code, 0, stderr)
  assert(eventsOf(file).length > 100)
  assert(!existsSync(join(out, 'other', 'trace.json')))
})
