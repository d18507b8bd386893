/**
 * Workgroups whose invocations share one result, or one tile of them: a team. Each takes every nth step of a reduce
 * axis, so that neighbours read neighbouring elements; then the accumulators are combined, within subgroups by
 * shuffles and across them through workgroup memory. The order depends on the sizes alone: two runs give the same bits.
 *
 * Note [Subgroups]. The lanes of a subgroup are consecutive invocations: so it is on every driver, for workgroups of
 * one dimension. Without the feature `subgroups` all goes through workgroup memory, halving by halving.
 */
import { instructions, type Kernel, type Schedule } from '../kernel.ts'
import type { Emitter } from './emit.ts'
import type { Machine } from './machine.ts'
import type { Tile } from './tiles.ts'
import { combine, storageType } from './wgsl.ts'

/** A team and the reduce axis that it shares out. */
export interface Team {
  readonly axis: number
  /** Invocations, a power of two. */
  readonly size: number
}

/** Invocations of the largest team, and words of its workgroup memory: within every adapter's limits. */
const LARGEST = 256
const WORDS = 4096

/** Whether teams can compute a kernel: it folds numbers, positions aside, and adds to no buffer while it does. */
export const canShare = (k: Kernel): boolean =>
  k.axes.some(a => a.kind === 'reduce' && a.extent > 1) &&
  k.accumulators.length > 0 &&
  k.accumulators.every(
    a => !a.how.startsWith('arg') && instructions(k)[a.value].dtype !== 'bool' && a.dtype !== 'bool',
  ) &&
  k.stores.every(s => s.mode === 'set')

/** The team of a schedule; null where it wants none, or where the kernel cannot be shared. */
export function teamOf(k: Kernel, schedule: Schedule, tiles: readonly Tile[]): Team | null {
  const results = tiles.reduce((n, t) => (k.axes[t.axis].kind === 'parallel' ? n * t.size : n), 1)
  const room = Math.floor(WORDS / Math.max(1, results * k.accumulators.length))
  const wanted = Math.min(schedule.team ?? 1, LARGEST, room)
  const size = 2 ** Math.floor(Math.log2(Math.max(1, wanted)))
  if (size === 1 || !canShare(k)) return null
  const steps = (axis: number) => tiles.find(t => t.axis === axis)?.groups ?? k.axes[axis].extent
  const axes = k.axes.flatMap((a, i) => (a.kind === 'reduce' && steps(i) > 1 ? [i] : []))
  if (axes.length === 0) return null
  // the innermost of the longest: its elements are neighbours most often
  const axis = axes.reduce((best, i) => (Math.min(steps(i), size) >= Math.min(steps(best), size) ? i : best))
  return { axis, size }
}

/** What joins the accumulators of a team, and the declarations that this needs. */
export interface Join {
  readonly declarations: readonly string[]
  readonly statements: readonly string[]
}

/** Statements after which every accumulator of the team's first invocation holds the whole; the others leave. */
export function join(k: Kernel, code: Emitter, { size }: Team, machine: Machine): Join {
  const all = instructions(k)
  const accumulators = [...code.accumulators].map(([name, { index }]) => {
    const { how, value } = k.accumulators[index]
    return { name, type: storageType(all[value].dtype), how, dtype: all[value].dtype }
  })
  const fold = (other: (name: string) => string) =>
    accumulators.map(a => `  { let v = ${other(a.name)}; ${combine(a.how, a.dtype, a.name, 'v', '')} }`)
  const shared = (n: number) => accumulators.map(a => `var<workgroup> t_${a.name}: array<${a.type}, ${n}>;`)
  const leave = 'if (l != 0u) { return; }'
  if (!machine.subgroups) {
    const put = accumulators.map(a => `t_${a.name}[l] = ${a.name};`)
    const add = accumulators.map(
      a =>
        `    { var a = t_${a.name}[l]; let v = t_${a.name}[l + m]; ${combine(a.how, a.dtype, 'a', 'v', '')} t_${a.name}[l] = a; }`,
    )
    return {
      declarations: shared(size),
      statements: [
        ...put,
        'workgroupBarrier();',
        `for (var m = ${size / 2}u; m > 0u; m >>= 1u) {`,
        '  if (l < m) {',
        ...add,
        '  }',
        '  workgroupBarrier();',
        '}',
        leave,
        ...accumulators.map(a => `${a.name} = t_${a.name}[0];`),
      ],
    }
  }
  const { min } = machine.subgroups
  const within = [
    `let lanes = min(subgroup, ${size}u);`,
    'for (var m = 1u; m < lanes; m <<= 1u) {',
    ...fold(name => `subgroupShuffleXor(${name}, m)`),
    '}',
  ]
  if (size <= min) return { declarations: [], statements: [...within, leave] }
  return {
    declarations: shared(size / min),
    statements: [
      ...within,
      'if (l % lanes == 0u) {',
      ...accumulators.map(a => `  t_${a.name}[l / lanes] = ${a.name};`),
      '}',
      'workgroupBarrier();',
      leave,
      `for (var j = 1u; j < ${size}u / lanes; j++) {`,
      ...fold(name => `t_${name}[j]`),
      '}',
    ],
  }
}
