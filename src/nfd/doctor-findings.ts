/**
 * From measurements to sentences. In: arrays and numbers. Out: findings, each with what is wrong and what to mend. Pure.
 */
import type { NDArray } from '../dsl/array.ts'
import { isFloat } from '../dsl/dtype.ts'
import { size } from '../dsl/shape.ts'

/** What the doctor found: an error makes a run worthless, a warning may be meant. */
export interface Finding {
  readonly level: 'error' | 'warning'
  /** One sentence or two: what is wrong, and what to mend. */
  readonly message: string
}
export const error = (message: string): Finding => ({ level: 'error', message })
export const warning = (message: string): Finding => ({ level: 'warning', message })

/** Arrays by name. */
export type Arrays = { readonly [name: string]: NDArray }

/** The smallest and the largest of an array, and whether all of it is finite. */
export function rangeOf({ data }: NDArray): {
  readonly low: number
  readonly high: number
  readonly finite: boolean
} {
  let [low, high, finite] = [Infinity, -Infinity, true]
  for (const value of data) {
    const x = Number(value)
    if (!Number.isFinite(x)) finite = false
    if (x < low) low = x
    if (x > high) high = x
  }
  return { low, high, finite }
}

/** The entries of a prefix, without it. */
export const under = (prefix: string, all: Arrays): readonly (readonly [string, NDArray])[] =>
  Object.entries(all)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, a]) => [name.slice(prefix.length), a])

/** A few names, and how many more there are. */
const some = (names: readonly string[]): string =>
  names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`

/** An output as sentences call it: `the teacher's tap 'stage4'`. */
const called = (who: string, name: string): string =>
  name.startsWith('taps.') ? `the ${who}'s tap '${name.slice(5)}'` : `the ${who}'s ${name}`

/** What is not a number in inputs and outputs: in the order of the computation, so that the first is the cause. */
export function notFinite(inputs: Arrays, looked: Arrays): readonly Finding[] {
  const bad = (entries: readonly (readonly [string, NDArray])[]) =>
    entries.filter(([, a]) => isFloat(a.dtype) && !rangeOf(a).finite).map(([name]) => name)
  const values = bad(Object.entries(inputs))
  if (values.length > 0)
    return [
      error(
        `${some(values)} ${values.length === 1 ? 'holds' : 'hold'} a NaN or an infinity before anything is computed: look at the file that it came from, or at the normalisation of the images`,
      ),
    ]
  const outputs = (['teacher', 'student'] as const).flatMap(who =>
    bad(under(`${who}.`, looked))
      .slice(0, 1)
      .map(name =>
        error(
          `${called(who, name)} holds a NaN or an infinity, from finite values and images: debug.nans names the operation that made the first`,
        ),
      ),
  )
  if (outputs.length > 0) return outputs
  return bad(under('loss.', looked)).map(name =>
    error(
      name === 'task'
        ? 'the loss of the labels is not finite: is every pixel of the batch ignored (label 255)? If not, debug.nans names the operation'
        : `the loss ${name.replace(/^term\./, '')} is not finite, from finite features: debug.nans names the operation`,
    ),
  )
}

/** Teacher's outputs that say nothing, among those that the distillation reads. */
export function silentTaps(looked: Arrays, read: ReadonlySet<string>): readonly Finding[] {
  return under('teacher.', looked)
    .filter(([name]) => read.has(name))
    .flatMap(([name, a]) => {
      const { low, high } = rangeOf(a)
      if (low === 0 && high === 0)
        return [
          error(
            `${called('teacher', name)} is 0 everywhere: load the teacher's weights, or name another tap (a rectifier may be dead)`,
          ),
        ]
      return high - low <= 1e-6 * Math.max(Math.abs(low), Math.abs(high))
        ? [
            error(
              `${called('teacher', name)} is the constant ${low.toPrecision(3)}, whatever the image shows: load the teacher's weights, or name another tap`,
            ),
          ]
        : []
    })
}

/** A teacher whose output for an image depends on the other images, or that was called in training mode. */
export function teacherMode(looked: Arrays, called: ReadonlySet<boolean>): readonly Finding[] {
  if (called.has(true))
    return [
      error(
        'the teacher is called in training mode: its dropout and the statistics of each batch are in its features; use constantTeacher(net), or training: false',
      ),
    ]
  const others = new Map(under('other.', looked))
  const moved = under('teacher.', looked).filter(([name, a]) => {
    const b = others.get(name)
    return b !== undefined && firstRowsDiffer(a, b)
  })
  return moved.length === 0
    ? []
    : [
        error(
          `the teacher's output for an image changes with the other images of the batch (${some(moved.map(([n]) => n))}): a layer of it is in training mode; make its apply heed mode.training`,
        ),
      ]
}
/** Relative to the largest: rounding alone stays far below. */
function firstRowsDiffer(a: NDArray, b: NDArray): boolean {
  const n = a.data.length / (a.shape[0] ?? 1)
  let [most, far] = [0, 0]
  for (let i = 0; i < n; i++) {
    most = Math.max(most, Math.abs(Number(a.data[i])))
    far = Math.max(far, Math.abs(Number(a.data[i]) - Number(b.data[i])))
  }
  return far > 1e-3 * most
}

/** A layer: a parameter's path without its last name. */
const layerOf = (path: string): string => path.slice(0, Math.max(path.lastIndexOf('.'), 0)) || path

/**
 * Student and aligners without a gradient.
 * @param dead  the names, `net.*` and `aligners.*`, of parameters whose gradient is 0 everywhere
 */
export function withoutGradient(names: readonly string[], dead: ReadonlySet<string>): readonly Finding[] {
  const inside = (prefix: string): readonly string[] =>
    names.filter(name => name.startsWith(prefix)).map(name => name.slice(prefix.length))
  const adapters = inside('aligners.')
    .filter(name => dead.has(`aligners.${name}`))
    .map(name =>
      error(
        `the adapter '${name}' gets no gradient of any term: its output is not compared, or is under stopGradient; compare align.apply's result`,
      ),
    )
  const net = inside('net.')
  const isDead = (name: string): boolean => dead.has(`net.${name}`)
  if (net.length > 0 && net.every(isDead))
    return [
      ...adapters,
      error(
        'the student gets no gradient at all, of the labels or of a term: its outputs are under stopGradient, or its output layer is 0, or every pixel is ignored (label 255)',
      ),
    ]
  const layers = [...new Set(net.map(layerOf))].filter(layer =>
    net.filter(name => layerOf(name) === layer).every(isDead),
  )
  const [are, get] = layers.length === 1 ? ['layer', 'gets'] : ['layers', 'get']
  return layers.length === 0
    ? adapters
    : [
        ...adapters,
        error(
          `the student's ${are} ${some(layers)} ${get} no gradient: nothing that is compared or scored depends on it; look for a stopGradient, a dead rectifier or a part that apply leaves out`,
        ),
      ]
}

/** What weights look like beside two fresh initialisations of their network. */
export interface WeightsSeen {
  readonly who: string
  readonly values: Arrays
  readonly fresh: readonly [Arrays, Arrays]
}

/** Larger arrays are kernels; drawing them afresh to compare would take longer than all the rest. */
const compared = 4096

/**
 * Weights that were not loaded. What every initialisation makes alike (gains of 1, offsets of 0, running statistics) moves in the first
 * steps of training: where all of it is as new, nothing was loaded.
 */
export function notLoaded({ who, values, fresh: [a, b] }: WeightsSeen): readonly Finding[] {
  const names = Object.keys(values).filter(name => name in a && name in b)
  const small = names.filter(name => size(values[name].shape) <= compared)
  const alike = small.filter(name => equal(a[name], b[name]))
  const asNew = alike.filter(name => equal(values[name], a[name]))
  const drawn = small.filter(name => !alike.includes(name))
  const same = drawn.filter(name => equal(values[name], a[name]) || equal(values[name], b[name]))
  const constant = names.filter(
    name => !alike.includes(name) && values[name].data.length > 1 && isConstant(values[name]),
  )
  const empty = constant.map(name =>
    error(
      `the ${who}'s '${name}' is ${Number(values[name].data[0])} everywhere, which no training makes of it: the file does not hold it, or it was not loaded`,
    ),
  )
  if (alike.length > 0 && asNew.length === alike.length)
    return [
      ...empty,
      error(
        `every gain, offset and running statistic of the ${who} is as new (${some(asNew)}): its weights are those of a fresh initialisation; load params and state from its checkpoint`,
      ),
    ]
  const layers = [...new Set([...asNew.filter(name => values[name].data.length > 1), ...same].map(layerOf))]
  return layers.length === 0
    ? empty
    : [
        ...empty,
        warning(
          `the ${who}'s ${some(layers)} ${layers.length === 1 ? 'has' : 'have'} values of a fresh initialisation: see that the file's names fit the network's`,
        ),
      ]
}
const equal = (a: NDArray, b: NDArray): boolean =>
  a.data.length === b.data.length && a.data.every((x, i) => x === b.data[i])
const isConstant = ({ data }: NDArray): boolean => data.every(x => x === data[0])
