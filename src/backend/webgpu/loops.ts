/**
 * The reduce axes of a kernel -> loops in an invocation, with partial sums; and their text.
 */
import type { Kernel } from '../kernel.ts'
import type { Emitter } from './emit.ts'
import type { Team } from './team.ts'
import type { Tile } from './tiles.ts'

export interface Loop {
  readonly axis: number
  /** `i{axis}` of the innermost loop over the axis, else the first index of a block. */
  readonly name: string
  /** Whether it is the innermost loop over its axis. */
  readonly inner: boolean
  /** Steps in all, the number of groups of a tiled axis. */
  readonly total: number
  readonly step: number
  /** Where it starts in its block: at the invocation's number in its team, or at 0. */
  readonly first: string
  /** The loop over blocks around this one. */
  readonly block: { readonly name: string; readonly step: number } | null
  /** Whether long sums have a partial sum inside this loop. */
  readonly partial: boolean
}

/** Whether an accumulator is a sum in f32, which is cut in blocks. */
export const isLongSum = (k: Kernel, n: number): boolean =>
  k.accumulators[n].how === 'sum' && k.accumulators[n].dtype === 'f32'

/** How the reduce axes are walked. */
export interface LoopOptions {
  /** The longest loop goes innermost, where the order of the terms is free. */
  readonly longestInnermost: boolean
  /** Whether an invocation has few sums, see RUNS. */
  readonly few: boolean
  /** The axis whose steps are dealt out to the invocations of a team, or null. */
  readonly team: Team | null
}

/**
 * The loops over the reduce axes (tiled ones: over their groups), outermost first; long ones in blocks where f32
 * is summed.
 */
export function loopsOf(
  k: Kernel,
  tiles: readonly Tile[],
  { longestInnermost, few, team }: LoopOptions,
): Loop[] {
  const { longest, block } = few ? RUNS.few : RUNS.many
  const sums = k.accumulators.some((_, n) => isLongSum(k, n))
  const loops: Loop[] = []
  const unrolled = tiles.filter(t => k.axes[t.axis].kind === 'reduce')
  let run = few ? 1 : unrolled.reduce((n, t) => n * t.size, 1)
  const fixed =
    unrolled.length > 0 ||
    k.accumulators.some(a => a.how.startsWith('arg')) ||
    k.stores.some(s => s.mode === 'add')
  const axes = k.axes.flatMap(({ kind, extent }, axis) => (kind === 'reduce' ? [{ axis, extent }] : []))
  if (longestInnermost && !fixed) axes.sort((a, b) => a.extent - b.extent)
  for (const { axis, extent } of axes.reverse()) {
    const total = unrolled.find(t => t.axis === axis)?.groups ?? extent
    if (total === 1) continue
    const base = team?.axis === axis ? team.size : 1
    for (let step = base; ; ) {
      const inner = step === base
      const name = inner ? `i${axis}` : `i${axis}s${step}`
      const add = (partial: boolean, outer: number | null) =>
        loops.unshift({
          axis,
          name,
          inner,
          total,
          step,
          first: inner && base > 1 ? 'i32(l)' : '0',
          block: outer === null ? null : { name: `i${axis}s${outer}`, step: outer },
          partial,
        })
      const count = Math.ceil(total / step)
      if (!sums || run * count <= longest) {
        add(false, null)
        run *= count
        break
      }
      if (run >= block / 4 && loops.length > 0) {
        loops[0] = { ...loops[0], partial: true }
        run = 1
        continue
      }
      const outer = step * Math.max(2, Math.floor(block / run))
      add(true, outer)
      step = outer
      run = 1
    }
  }
  return loops
}

/**
 * Levels, loops and accumulators put around each other.
 *
 * Note [Hidden trips]. Mesa unrolls loops of up to 32 known steps, nests of them too, and the time to compile grows with
 * the square of the loads: 0.2 s for 24 of them, 12 s for 216. So where unrolling would make many, the number of steps
 * is hidden behind a zero from a uniform. What is worth unrolling is unrolled by the schedule.
 * @param join        statements between the loops and the epilogue
 * @param hidesTrips  see Note [Hidden trips]
 */
export function nest(
  k: Kernel,
  code: Emitter,
  loops: readonly Loop[],
  join: readonly string[],
  hidesTrips: boolean,
): string[] {
  const longSums = [...code.accumulators].filter(([, a]) => isLongSum(k, a.index)).map(([name]) => name)
  const declared = [...code.accumulators].flatMap(([name, a]) => [
    `var ${name} = ${a.from};`,
    ...(k.accumulators[a.index].how.startsWith('arg') ? [`var ${name}_at = 0;`] : []),
  ])
  let lines: readonly string[] = code.levels[loops.length]
  let loads = loadsIn(lines)
  for (let l = loops.length; l > 0; l--) {
    const { name, total, step, first, block, partial } = loops[l - 1]
    const end =
      block === null
        ? String(total)
        : total % block.step === 0
          ? `${block.name} + ${block.step}`
          : `min(${block.name} + ${block.step}, ${total})`
    const trips = Math.ceil(Math.min(total, block?.step ?? total) / step)
    const hidden = hidesTrips && trips <= UNROLLED_TRIPS && trips * loads > UNROLLED_LOADS
    loads = (trips > UNROLLED_TRIPS || hidden ? loads : trips * loads) + loadsIn(code.levels[l - 1])
    const start = block === null ? first : first === '0' ? block.name : `${block.name} + ${first}`
    const outer = 'p'.repeat(loops.slice(0, l - 1).filter(x => x.partial).length)
    lines = [
      ...code.levels[l - 1],
      ...(l === 1 ? declared : []),
      ...(partial ? longSums.map(a => `var ${a}${outer}p = 0f;`) : []),
      `for (var ${name} = ${start}; ${name} < ${end}${hidden ? ' + i32(ct_zero)' : ''}; ${name} += ${step}) {`,
      ...lines.map(x => `  ${x}`),
      '}',
      ...(partial ? longSums.map(a => `${a}${outer} += ${a}${outer}p;`) : []),
    ]
  }
  const before = loops.length === 0 ? [...declared, ...code.levels[0]] : lines
  return [...before, ...join, ...code.levels[loops.length + 1]]
}

const loadsIn = (lines: readonly string[]): number =>
  lines.reduce((n, x) => n + x.split(/\bb\d+\[/).length - 1, 0)

/** Steps up to which Mesa unrolls a loop, and loads that it may make by that. */
const UNROLLED_TRIPS = 32
const UNROLLED_LOADS = 24

/**
 * Terms that one f32 sum adds up in a row, and the terms of a partial sum where there are more. Of n terms in a row
 * the error is about n / 2 roundings, of blocks of blocks the number in a block. Drivers fold compensated sums.
 * Entering a loop costs: invocations with many results, which are contractions, do it less often.
 */
export const RUNS = { few: { longest: 16, block: 16 }, many: { longest: 1024, block: 256 } } as const
