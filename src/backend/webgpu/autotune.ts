/**
 * Schedules by measurement. In: a plan. Out: the same plan with the schedule of each kernel that was fastest on this
 * device among a few; what was measured once is remembered (a `ScheduleStore`, for instance on disk).
 *
 * A kernel is measured by itself, on zeros. Schedules change the order of sums, so tuned programs agree with others
 * to rounding; two runs with the same store give the same bits.
 */
import { type Kernel, printKernel, type Schedule } from '../kernel.ts'
import { type Dispatch, deviceBytes, type Plan } from '../plan.ts'
import { BUFFER_USAGE } from './buffers.ts'
import type { Choice } from './choice.ts'
import type { Device } from './device.ts'
import { makeStep, type Step, submit } from './encode.ts'
import { label, layoutOf } from './layout.ts'
import { machineOf } from './load.ts'
import { profileOf } from './presets.ts'
import { renderWGSL } from './render.ts'
import { isStage } from './stage.ts'
import { makeTimer, type Timer } from './timing.ts'
import { worthTrying } from './tune.ts'

/** Remembers choices, by a key of the kernel's content. */
export interface ScheduleStore {
  get(key: string): unknown
  /** Called once for each plan that had unknown kernels. */
  put(choices: ReadonlyMap<string, Choice>): void
}

/** A store that forgets at the end of the process. */
export function memoryStore(): ScheduleStore {
  const known = new Map<string, Choice>()
  return {
    get: key => known.get(key),
    put: choices => {
      for (const [key, choice] of choices) known.set(key, choice)
    },
  }
}

/** Schedules measured for a kernel. */
const CANDIDATES = 10
/** A choice other than the untuned one must be so much faster: timers and other processes make noise. */
const GAIN = 0.95

/**
 * The tuner of a device: the backend's option `refine`.
 * @param onChoice  told of every kernel that has several schedules, measured now or remembered
 * @throws DeviceError if the device fails
 * @example webgpuBackend(device, toPlan, { refine: tuner(device, memoryStore(), c => console.log(describeChoice(c))) })
 */
export function tuner(
  device: Device,
  store: ScheduleStore,
  onChoice: (choice: Choice) => void = () => {},
): (plan: Plan) => Promise<Plan> {
  const profile = profileOf(device.info)
  // with and without them other schedules were measured
  const asked = [
    ...(profile.matrices.length > 0 ? ['\nsubgroup matrices'] : []),
    ...(profile.sharing !== null ? ['\nshared loads'] : []),
  ].join('')
  const clock = makeClock(device)
  return async plan => {
    const texts = plan.steps.map(s => printKernel(s.kernel))
    const chosen = new Map<string, Schedule>()
    const found = new Map<string, Choice>()
    for (const [i, step] of plan.steps.entries()) {
      if (chosen.has(texts[i])) continue
      const schedules = worthTrying(step.kernel, profile, CANDIDATES)
      chosen.set(texts[i], schedules[0])
      if (schedules.length === 1) continue
      const key = await digest(texts[i] + asked)
      const choice = asChoice(store.get(key), step.kernel) ?? (await measure(device, step, schedules, clock))
      if (choice !== store.get(key)) found.set(key, choice)
      chosen.set(texts[i], choice.schedule)
      onChoice(choice)
    }
    if (found.size > 0) store.put(found)
    return {
      ...plan,
      steps: plan.steps.map((s, i) => ({ ...s, schedule: chosen.get(texts[i]) ?? s.schedule })),
    }
  }
}

/** A stored value as a choice for this kernel; null where it is none. */
export function asChoice(x: unknown, kernel: Kernel): Choice | null {
  if (typeof x !== 'object' || x === null || !('schedule' in x)) return null
  const { schedule: s } = x
  const isAxis = (a: unknown) => Number.isInteger(a) && Number(a) >= 0 && Number(a) < kernel.axes.length
  const isSize = (n: unknown) => Number.isInteger(n) && Number(n) >= 1 && Number(n) <= 1024
  if (typeof s !== 'object' || s === null || !('vector' in s) || !('tiles' in s)) return null
  if (s.vector !== null && !isAxis(s.vector)) return null
  if (!Array.isArray(s.tiles) || !s.tiles.every(t => isAxis(t?.axis) && isSize(t?.size))) return null
  if ('team' in s && !isSize(s.team)) return null
  if ('stage' in s && !isStage(s.stage)) return null
  const fields = ['time', 'untuned'].every(f => typeof Reflect.get(x, f) === 'number')
  // every field was looked at
  return fields && 'kernel' in x && typeof x.kernel === 'string' ? (x as Choice) : null
}

/** SHA-256 of a kernel's text, in hexadecimal: a short key. */
async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return [...new Uint8Array(bytes)].map(b => b.toString(16).padStart(2, '0')).join('')
}

async function measure(
  device: Device,
  step: Dispatch,
  schedules: readonly Schedule[],
  clock: Clock,
): Promise<Choice> {
  const { kernel } = step
  const { slots, spans } = layoutOf(step, device.info.limits)
  const shaders = schedules.map(s => renderWGSL(kernel, s, slots, machineOf(device)))
  const pipelines = await device.pipelines(shaders.map(s => ({ label: label(step), wgsl: s.text })))
  const bytes = spans.map((span, binding) =>
    Math.max(
      span.bytes,
      ...kernel.buffers.map((b, i) => (slots[i].binding === binding ? deviceBytes(b.dtype, b.size) : 0)),
    ),
  )
  const buffers = await Promise.all(bytes.map(n => device.createBuffer(n, `tuning ${kernel.name}`)))
  const zero = await device.createBuffer(16, 'zero', BUFFER_USAGE.uniform)
  const steps = shaders.map((shader, i) =>
    makeStep(pipelines[i], shader.workgroups, [
      ...shader.bindings.map(binding => ({ binding, fixed: { buffer: buffers[binding] } })),
      ...(shader.zeroBinding === null ? [] : [{ binding: shader.zeroBinding, fixed: { buffer: zero } }]),
    ]),
  )
  const times = await clock(steps)
  for (const b of [...buffers, zero]) device.release(b)
  const best = times.reduce((b, t, i) => (t < times[b] ? i : b), 0)
  const index = times[best] < GAIN * times[0] ? best : 0
  const axes = kernel.axes.map(a => `${a.extent}${a.kind === 'reduce' ? '+' : ''}`).join(' x ')
  return {
    kernel: `${label(step)} ${axes}`,
    schedule: schedules[index],
    time: times[index],
    untuned: times[0],
  }
}

/** Microseconds of each dispatch: the least of several rounds, in which all take turns. */
type Clock = (steps: readonly Step[]) => Promise<readonly number[]>

/** Dispatches of one submit, and microseconds that a round of measurements may take. */
const DISPATCHES = 128
const ROUND = 200_000
/** Rounds after the first, which compiles and warms up. */
const ROUNDS = 8

const nothing = { input: [], output: [] }

/** By the device's timestamps where it has them, else by the wall clock, many runs at once. */
function makeClock(device: Device): Clock {
  const once = async (step: Step, runs: number): Promise<number> => {
    const start = performance.now()
    submit(device, Array<Step>(runs).fill(step), nothing, Infinity, null)
    await device.wait(device.queue.onSubmittedWorkDone())
    return ((performance.now() - start) * 1000) / runs
  }
  let timer: Promise<Timer> | undefined
  const round = async (steps: readonly Step[]): Promise<readonly number[]> => {
    timer ??= makeTimer(device, DISPATCHES)
    const t = await timer
    submit(device, steps, nothing, Infinity, t)
    return (await t.read()).slice(0, steps.length).map(([from, to]) => (to - from) / 1000)
  }
  const stamps = device.info.features.includes('timestamp-query')
  return async steps => {
    // the first round compiles
    await device.guard('tuning', () => submit(device, steps, nothing, Infinity, null))
    await device.wait(device.queue.onSubmittedWorkDone())
    const measured = async (): Promise<readonly number[]> => {
      if (stamps) return round(steps)
      const times: number[] = []
      for (const s of steps) {
        const first = await once(s, 1)
        times.push(await once(s, Math.max(1, Math.min(64, Math.ceil(5000 / first)))))
      }
      return times
    }
    let least = await measured()
    const total = least.reduce((n, t) => n + t, 0)
    const rounds = Math.max(1, Math.min(ROUNDS, Math.floor(ROUND / total)))
    for (let r = 0; r < rounds; r++) {
      const again = await measured()
      least = least.map((t, i) => Math.min(t, again[i]))
    }
    return least
  }
}
