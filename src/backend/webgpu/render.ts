/**
 * Kernel + Schedule -> WGSL. In: a loop nest of the kernel IR and how to lay it on the machine. Out: the text of
 * a compute shader and its number of workgroups. Equal kernels give equal text, so pipelines are cached by it.
 *
 * One invocation computes one parallel point, or one register tile of them; the reduce axes are serial loops
 * in it. (No workgroup memory: barriers are very expensive on software drivers.)
 */
import { CompileError } from '../../dsl/errors.ts'
import type { Kernel, Schedule } from '../kernel.ts'
import { bindingType, type Emitter, makeEmitter } from './emit.ts'
import { type At, quadBindings, type Slot, type Tile, tilesOf } from './tiles.ts'
import { helpersFor } from './wgsl.ts'

/** A compute shader: entry point `main`, every binding in group 0. */
export interface Shader {
  readonly text: string
  /** None of them where the kernel has no points. */
  readonly workgroups: readonly [x: number, y: number, z: number]
  /** The bindings of buffers that the text uses. */
  readonly bindings: readonly number[]
  /** The binding of a uniform u32 that holds 0, or null where the text needs none. */
  readonly zeroBinding: number | null
}

/** What of a device matters to a shader's text. */
export interface Machine {
  /** Invocations that run together: where there are few, workgroups are of this size. */
  readonly subgroup: number
  /**
   * The longest reduce loop goes innermost, where the order of the terms is free. Software drivers pay for entering
   * a loop; a GPU gains more from windows whose elements stay in the cache.
   */
  readonly longestInnermost: boolean
}
const anyGPU: Machine = { subgroup: 32, longestInnermost: false }

/** Invocations of a workgroup: a multiple of every subgroup size, within every adapter's limit. */
const WORKGROUP = 64
/** Workgroups of a dispatch in one dimension: WebGPU's default limit, and what drivers have. */
const MAX_GROUPS = 65535
/** Fewer invocations than this go in workgroups of one subgroup, so that every core gets some. */
const MANY = 16384
/** Invocations of a workgroup along each of two axes of a contraction: a square reuses most in the caches. */
const SQUARE = 8
/**
 * Terms that one f32 sum adds up in a row, and the terms of a partial sum where there are more. Of n terms in a row
 * the error is about n / 2 roundings, of blocks of blocks the number in a block. Drivers fold compensated sums.
 * Entering a loop costs: invocations with many results, which are contractions, do it less often.
 */
const RUNS = { few: { longest: 16, block: 16 }, many: { longest: 1024, block: 256 } } as const
/** Sums of one invocation up to which they are few. */
const FEW_SUMS = 8

/** A binding for each buffer, in order. */
export const separateSlots = (k: Kernel): Slot[] =>
  k.buffers.map((b, binding) => ({ binding, readWrite: b.access !== 'read', offset: 0 }))

/**
 * Renders a kernel.
 * @param schedule  tiles are computed in registers; of the `vector` axis 4 neighbours, loaded and stored as one
 *   vector where the addresses allow it; tiled reduce axes are unrolled
 * @param slots     one per buffer of the kernel; by default a binding each
 * @param machine   what of the device matters to the text
 * @throws CompileError  for f64, and where a size or an index does not fit in 32 bits
 * @example renderWGSL(kernel, { vector: null, tiles: [{ axis: 0, size: 4 }] }).text
 */
export function renderWGSL(
  k: Kernel,
  schedule: Schedule,
  slots: readonly Slot[] = separateSlots(k),
  machine: Machine = anyGPU,
): Shader {
  for (const b of k.buffers)
    if (b.size >= 2 ** 31)
      throw new CompileError(`webgpu: kernel ${k.name} has a buffer of ${b.size} elements; the limit is 2^31`)
  const tiles = tilesOf(k, schedule)
  const grid = gridOf(k, tiles, machine.subgroup)
  const nothing: Shader = { text: '', workgroups: [0, 0, 0], bindings: [], zeroBinding: null }
  if (grid.workgroups[0] === 0) return nothing

  const unrolled = tiles.filter(t => k.axes[t.axis].kind === 'reduce')
  const results = everyPosition(tiles.slice(0, tiles.length - unrolled.length))
  const steps = everyPosition(unrolled)
  const few = results.length * k.accumulators.length <= FEW_SUMS
  const loops = loopsOf(k, tiles, machine.longestInnermost, few)
  const levelOf = new Map(loops.flatMap((l, i) => (l.step === 1 ? [[l.axis, i + 1]] : [])))
  const quads = quadBindings(k, slots, tiles)
  const code = makeEmitter(k, slots, tiles, quads, levelOf, loops.length)
  const partial = 'p'.repeat(loops.filter(l => l.partial).length)
  const fold = (n: number, at: readonly At[]) => code.accumulate(n, at, isLongSum(k, n) ? partial : '')
  const pairs = few && steps.length > 1
  if (pairs)
    for (const n of k.accumulators.keys())
      if (isLongSum(k, n))
        for (const r of results)
          fold(
            n,
            steps.map(step => [...r, ...step]),
          )
  for (const step of steps)
    for (const at of results.map(r => [...r, ...step])) {
      for (const n of k.accumulators.keys()) if (!pairs || !isLongSum(k, n)) fold(n, [at])
      for (const s of k.stores) if (s.mode === 'add') code.store(s, at)
    }
  for (const at of results.map(r => [...r, ...steps[0]]))
    for (const s of k.stores) if (s.mode === 'set') code.store(s, at)

  const body = [...grid.head, ...nest(k, code, loops)]
  const shader = assemble(k, slots, quads, grid.size, body)
  return shader.bindings.length === 0 ? nothing : { ...shader, workgroups: grid.workgroups }
}

const everyPosition = (tiles: readonly Tile[]): At[] =>
  tiles.reduce<number[][]>(
    (all, t) => all.flatMap(at => Array.from({ length: t.size }, (_, i) => [...at, i])),
    [[]],
  )

interface Grid {
  readonly workgroups: readonly [number, number, number]
  /** Invocations of a workgroup. */
  readonly size: number
  /** Statements that find `i{axis}` of every parallel axis, or leave where there is no such point. */
  readonly head: readonly string[]
}

/** The points of the parallel axes (tiled ones by their groups), in workgroups; the last axis is the fastest. */
function gridOf(k: Kernel, tiles: readonly Tile[], subgroup: number): Grid {
  const axes = k.axes.flatMap(({ kind, extent }, axis) =>
    kind === 'reduce'
      ? []
      : [{ axis, name: `i${axis}`, count: tiles.find(t => t.axis === axis)?.groups ?? extent }],
  )
  const points = product(axes)
  if (points >= 2 ** 31)
    throw new CompileError(`webgpu: kernel ${k.name} has ${points} parallel points; the limit is 2^31`)
  // A square of a tiled axis and the fastest one: neighbours in memory are neighbours in the workgroup.
  const wide = axes.filter(a => a.count >= SQUARE)
  const column = wide.at(-1)
  const row = wide.find(a => a !== column && tiles.some(t => t.axis === a.axis))
  if (column === undefined || row === undefined || subgroup < (SQUARE * SQUARE) / 2) {
    const size = points < MANY ? Math.min(subgroup, WORKGROUP) : WORKGROUP
    const { workgroups, flat } = spread(Math.ceil(points / size))
    const head = [
      `let n = ${flat} * ${size}u + l;`,
      ...(points === workgroups[0] * workgroups[1] * size ? [] : [`if (n >= ${points}u) { return; }`]),
    ]
    return { workgroups, size, head: [...head, ...decompose('n', axes)] }
  }
  const square = [row, column]
  const blocks = axes.map(a =>
    square.includes(a) ? { name: `g${a.axis}`, count: Math.ceil(a.count / SQUARE) } : a,
  )
  const groups = product(blocks)
  const { workgroups, flat } = spread(groups)
  const within = [`l / ${SQUARE}u`, `l % ${SQUARE}u`]
  return {
    workgroups,
    size: SQUARE * SQUARE,
    head: [
      `let n = ${flat};`,
      ...(groups === workgroups[0] * workgroups[1] ? [] : [`if (n >= ${groups}u) { return; }`]),
      ...decompose('n', blocks),
      ...square.flatMap(({ axis, name, count }, i) => [
        `let ${name} = ${count > SQUARE ? `g${axis} * ${SQUARE} + ` : ''}i32(${within[i]});`,
        ...(count % SQUARE === 0 ? [] : [`if (${name} >= ${count}) { return; }`]),
      ]),
    ],
  }
}

const product = (axes: readonly { readonly count: number }[]): number => axes.reduce((n, a) => n * a.count, 1)

/** A number of workgroups as a dispatch, and the flat number of each (a few beyond may come of rounding). */
function spread(groups: number) {
  const y = Math.ceil(groups / MAX_GROUPS)
  const x = y === 0 ? 0 : Math.ceil(groups / y)
  const workgroups: Shader['workgroups'] = [x, y, y === 0 ? 0 : 1]
  return { workgroups, flat: y > 1 ? `(w.x + w.y * ${x}u)` : 'w.x' }
}

/** Statements that take a flat number apart, the last axis fastest. */
function decompose(flat: string, axes: readonly { readonly name: string; readonly count: number }[]) {
  const lines: string[] = []
  let rest = flat
  const real = axes.filter(a => a.count !== 1).reverse()
  for (const [i, { name, count }] of real.entries()) {
    if (i === real.length - 1) lines.push(`let ${name} = i32(${rest});`)
    else {
      lines.push(`let ${name} = i32(${rest} % ${count}u);`, `let q${i} = ${rest} / ${count}u;`)
      rest = `q${i}`
    }
  }
  return lines
}

interface Loop {
  readonly axis: number
  /** `i{axis}` where the step is 1, else the first index of a block. */
  readonly name: string
  /** Steps in all, the number of groups of a tiled axis. */
  readonly total: number
  readonly step: number
  /** The loop over blocks around this one. */
  readonly block: { readonly name: string; readonly step: number } | null
  /** Whether long sums have a partial sum inside this loop. */
  readonly partial: boolean
}

const isLongSum = (k: Kernel, n: number): boolean =>
  k.accumulators[n].how === 'sum' && k.accumulators[n].dtype === 'f32'

/**
 * The loops over the reduce axes (tiled ones: over their groups), outermost first; long ones in blocks where f32
 * is summed.
 */
function loopsOf(k: Kernel, tiles: readonly Tile[], longestInnermost: boolean, few: boolean): Loop[] {
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
    for (let step = 1; ; ) {
      const name = step === 1 ? `i${axis}` : `i${axis}s${step}`
      const add = (partial: boolean, outer: number | null) =>
        loops.unshift({
          axis,
          name,
          total,
          step,
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

/** Levels, loops and accumulators put around each other. */
function nest(k: Kernel, code: Emitter, loops: readonly Loop[]): string[] {
  const longSums = [...code.accumulators].filter(([, a]) => isLongSum(k, a.index)).map(([name]) => name)
  const declared = [...code.accumulators].flatMap(([name, a]) => [
    `var ${name} = ${a.from};`,
    ...(k.accumulators[a.index].how.startsWith('arg') ? [`var ${name}_at = 0;`] : []),
  ])
  let lines: readonly string[] = code.levels[loops.length]
  for (let l = loops.length; l > 0; l--) {
    const { name, total, step, block, partial } = loops[l - 1]
    const end =
      block === null
        ? String(total)
        : total % block.step === 0
          ? `${block.name} + ${block.step}`
          : `min(${block.name} + ${block.step}, ${total})`
    const outer = 'p'.repeat(loops.slice(0, l - 1).filter(x => x.partial).length)
    lines = [
      ...code.levels[l - 1],
      ...(l === 1 ? declared : []),
      ...(partial ? longSums.map(a => `var ${a}${outer}p = 0f;`) : []),
      `for (var ${name} = ${block?.name ?? 0}; ${name} < ${end}; ${name} += ${step}) {`,
      ...lines.map(x => `  ${x}`),
      '}',
      ...(partial ? longSums.map(a => `${a}${outer} += ${a}${outer}p;`) : []),
    ]
  }
  const before = loops.length === 0 ? [...declared, ...code.levels[0]] : lines
  return [...before, ...code.levels[loops.length + 1]]
}

/** Bindings, helper functions and the entry point around the statements of `main`. */
function assemble(
  k: Kernel,
  slots: readonly Slot[],
  quads: ReadonlySet<number>,
  size: number,
  body: readonly string[],
) {
  const main = [
    `@compute @workgroup_size(${size}) fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {`,
    ...body.map(x => `  ${x}`),
    '}',
  ].join('\n')
  const helpers = helpersFor(main)
  const needsZero = [main, ...helpers].some(x => x.includes('ct_zero'))
  const zeroBinding = needsZero ? Math.max(-1, ...slots.map(s => s.binding)) + 1 : null
  // WebGPU leaves out of a pipeline's layout what the shader does not use.
  const used = new Map(
    slots.flatMap(s => (main.includes(`b${s.binding}[`) ? [[s.binding, s.readWrite]] : [])),
  )
  const declarations = [...used].map(([b, readWrite]) => {
    const type = bindingType(k, slots, b)
    return `@group(0) @binding(${b}) var<storage, ${readWrite ? 'read_write' : 'read'}> b${b}: array<${quads.has(b) ? `vec4<${type}>` : type}>;`
  })
  if (needsZero) declarations.push(`@group(0) @binding(${zeroBinding}) var<uniform> ct_zero: u32;`)
  return { text: [...declarations, ...helpers, main, ''].join('\n'), bindings: [...used.keys()], zeroBinding }
}
