/**
 * Kernel + Schedule -> WGSL. In: a loop nest of the kernel IR and how to lay it on the machine. Out: the text of
 * a compute shader and its number of workgroups. Equal kernels give equal text, so pipelines are cached by it.
 *
 * One invocation computes one parallel point, or one register tile of them; the reduce axes are serial loops in it,
 * unless the schedule has a team share them (team.ts), or has a contraction go through workgroup memory (staged.ts,
 * matrices.ts).
 * Barriers are very expensive on software drivers.
 */
import { CompileError } from '../../dsl/errors.ts'
import type { Kernel, Schedule } from '../kernel.ts'
import { makeEmitter } from './emit.ts'
import { gridOf } from './grid.ts'
import { isLongSum, loopsOf, nest } from './loops.ts'
import type { Machine } from './machine.ts'
import { hasMatrices, renderMatrices } from './matrices.ts'
import { stagingOf } from './stage.ts'
import { renderStaged } from './staged.ts'
import { join, teamOf } from './team.ts'
import { type At, bindingType, quadBindings, type Slot, type Tile, tilesOf } from './tiles.ts'
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

const anyGPU: Machine = {
  subgroup: 32,
  longestInnermost: false,
  hidesTrips: false,
  neighbours: true,
  subgroups: null,
  sharing: null,
  workgroupBytes: 16384,
  matrices: null,
}

/** Sums of one invocation up to which they are few. */
const FEW_SUMS = 8

/** A binding for each buffer, in order. */
export const separateSlots = (k: Kernel): Slot[] =>
  k.buffers.map((b, binding) => ({ binding, readWrite: b.access !== 'read', offset: 0 }))

/**
 * Renders a kernel.
 * @param schedule  tiles are computed in registers; of the `vector` axis 4 neighbours, loaded and stored as one
 *   vector where the addresses allow it; tiled reduce axes are unrolled; a team shares a reduce axis; a stage
 *   is for contractions, where the machine has room for it
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
  const nothing: Shader = { text: '', workgroups: [0, 0, 0], bindings: [], zeroBinding: null }
  const staging = stagingOf(k, schedule, machine)
  if (staging !== null) {
    const { grid, quads, declarations, body } = hasMatrices(staging)
      ? renderMatrices(k, slots, staging, machine.hidesTrips)
      : renderStaged(k, slots, staging, machine.hidesTrips)
    return { ...assemble(k, slots, quads, grid.size, declarations, body), workgroups: grid.workgroups }
  }
  const tiles = tilesOf(k, schedule)
  const team = teamOf(k, schedule, tiles)
  const grid = gridOf(k, tiles, machine, team?.size ?? null)
  if (grid.workgroups[0] === 0) return nothing

  const unrolled = tiles.filter(t => k.axes[t.axis].kind === 'reduce')
  const results = everyPosition(tiles.slice(0, tiles.length - unrolled.length))
  const steps = everyPosition(unrolled)
  const few = results.length * k.accumulators.length <= FEW_SUMS
  const loops = loopsOf(k, tiles, { longestInnermost: machine.longestInnermost, few, team })
  const levelOf = new Map(loops.flatMap((l, i) => (l.inner ? [[l.axis, i + 1]] : [])))
  const quads = quadBindings(k, slots, tiles)
  const { varying } = grid
  const sharing = machine.sharing === null || varying === null ? null : { lanes: machine.sharing, varying }
  const code = makeEmitter(k, slots, tiles, quads, levelOf, loops.length, null, sharing)
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

  const joined = team === null ? { declarations: [], statements: [] } : join(k, code, team, machine)
  const body = [...grid.head, ...nest(k, code, loops, joined.statements, machine.hidesTrips)]
  const shader = assemble(k, slots, quads, grid.size, joined.declarations, body)
  return shader.bindings.length === 0 ? nothing : { ...shader, workgroups: grid.workgroups }
}

const everyPosition = (tiles: readonly Tile[]): At[] =>
  tiles.reduce<number[][]>(
    (all, t) => all.flatMap(at => Array.from({ length: t.size }, (_, i) => [...at, i])),
    [[]],
  )

/** Bindings, helper functions and the entry point around the statements of `main`. */
function assemble(
  k: Kernel,
  slots: readonly Slot[],
  quads: ReadonlySet<number>,
  size: number,
  more: readonly string[],
  body: readonly string[],
) {
  const subgroups = body.some(x => x.includes('subgroup'))
  const matrices = body.some(x => x.includes('subgroupMatrix'))
  const builtins = [
    '@builtin(workgroup_id) w: vec3u',
    '@builtin(local_invocation_index) l: u32',
    ...(matrices
      ? ['@builtin(subgroup_id) g: u32']
      : body.some(x => /\bsubgroup\b/.test(x))
        ? ['@builtin(subgroup_size) subgroup: u32']
        : []),
  ]
  const main = [
    `@compute @workgroup_size(${size}) fn main(${builtins.join(', ')}) {`,
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
  const half = [...declarations, ...more].some(x => x.includes('f16'))
  const enable = [
    ...(subgroups ? ['enable subgroups;'] : []),
    ...(half ? ['enable f16;'] : []),
    ...(matrices ? ['enable chromium_experimental_subgroup_matrix;'] : []),
  ]
  return {
    text: [...enable, ...declarations, ...more, ...helpers, main, ''].join('\n'),
    bindings: [...used.keys()],
    zeroBinding,
  }
}
