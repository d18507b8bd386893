/**
 * Contractions through workgroup memory. In: a kernel, the matrix product that it is (contraction.ts), a stage. Out: the
 * parts of a shader, for render.ts. For real GPUs; tune.ts decides where.
 *
 * Note [Stages]. A workgroup computes a block of rows x columns. It goes along the terms `depth` at a time: its
 * invocations copy both operands' blocks of these terms to workgroup memory, zeros where there is no such term, and
 * meet at a barrier; then each computes its tile, as outer products of the vectors that it reads from there.
 *   - An operand's block is vec4[depth][block / 4]: a quad is four rows (columns) of one term. An invocation reads every
 *     nth quad, so that neighbours read neighbouring quads, from different banks.
 *   - What is copied at a time depends on what lies together in the buffer: `Fill` in blocks.ts.
 *   - With two buffers a step is loaded to registers before the one before it is computed, and put to memory after: one
 *     barrier a step, and the loads have the time of a computation. The loop has one turn more.
 *   - Sums of more than LONGEST terms are sums of runs of RUN, as in every contraction (loops.ts).
 * The ideas are common property: blocks in shared memory and tiles in registers, Volkov and Demmel 2008 (Benchmarking
 * GPUs to tune dense linear algebra); double buffers and vectors of four, CUTLASS's "Efficient GEMM in CUDA"; windows as
 * index maps, Chetlur et al. 2014 (cuDNN, arXiv:1410.0759).
 */
import type { Kernel, Schedule, Stage } from '../kernel.ts'
import { type Blocks, inBlocks, type Side } from './blocks.ts'
import { type Contraction, contractionOf } from './contraction.ts'
import { type Emitter, makeEmitter } from './emit.ts'
import { type Grid, gridOf } from './grid.ts'
import { RUNS } from './loops.ts'
import { LANES, quadBindings, type Slot } from './tiles.ts'

/** Invocations of a workgroup that every adapter allows. */
const MOST_INVOCATIONS = 256
const { longest: LONGEST, block: RUN } = RUNS.many
/** Beyond, the runs would be too many for one sum. */
const MOST_TERMS = LONGEST * RUN
/** Terms whose products are written out. */
const UNROLLED = 4

/** Workgroup memory of a stage, in bytes. */
export const bytesOfStage = ({ block: [m, n], depth, buffers }: Stage): number =>
  4 * (m + n) * depth * buffers
/** Invocations of a workgroup. */
export const invocationsOf = ({ block, tile }: Stage): number => (block[0] / tile[0]) * (block[1] / tile[1])

/** Whether a value is a stage, whose numbers divide each other as they must. */
export function isStage(x: unknown): x is Stage {
  if (typeof x !== 'object' || x === null) return false
  const { block, tile, depth, buffers }: Partial<Record<keyof Stage, unknown>> = x
  if (!Array.isArray(block) || !Array.isArray(tile) || block.length !== 2) return false
  const fits = (n: number, unit: number) => n > 0 && Number.isInteger(n / unit)
  return (
    [0, 1].every(i => fits(Number(tile[i]), LANES) && fits(Number(block[i]), Number(tile[i]))) &&
    fits(Number(depth), LANES) &&
    fits(RUN, Number(depth)) &&
    (buffers === 1 || buffers === 2)
  )
}

/** The product that can be computed in stages; null where a kernel is none. */
export function productOf(k: Kernel): Contraction | null {
  const product = contractionOf(k)
  return product !== null && product.terms.extent <= MOST_TERMS ? product : null
}

/** A stage and what it is for. */
export interface Staging {
  readonly stage: Stage
  readonly product: Contraction
}

/**
 * The stage of a schedule; null where it wants none, or none that the device has room for, and where the kernel is no
 * product.
 * @param room  bytes of workgroup memory
 */
export function stagingOf(k: Kernel, { stage }: Schedule, room: number): Staging | null {
  if (stage === undefined || !isStage(stage)) return null
  if (bytesOfStage(stage) > room || invocationsOf(stage) > MOST_INVOCATIONS) return null
  const product = productOf(k)
  return product && { stage, product }
}

/** What a shader is made of. */
export interface Parts {
  readonly grid: Grid
  readonly quads: ReadonlySet<number>
  readonly declarations: readonly string[]
  readonly body: readonly string[]
}

/**
 * Renders a contraction in stages: see Note [Stages].
 * @param hidesTrips  see Note [Hidden trips] in loops.ts
 */
export function renderStaged(
  k: Kernel,
  slots: readonly Slot[],
  { stage, product }: Staging,
  hidesTrips: boolean,
): Parts {
  const hidden = hidesTrips ? ' + i32(ct_zero)' : ''
  const { block, tile, depth, buffers } = stage
  const size = invocationsOf(stage)
  const blocks = inBlocks(k, slots, stage, product)
  const { kernel, tiles, rows, columns, axes, at } = blocks
  const quads = quadBindings(kernel, slots, tiles)
  const places = tiles.map(t => t.axis)
  const result = (p: readonly number[]): string => {
    const on = (axis: number) => p[places.indexOf(axis)]
    const row = LANES * on(rows.axes.quad) + on(rows.axes.within)
    return `${sumOf(row, on(columns.axes.quad))}.${XYZW[on(columns.axes.within)]}`
  }
  const levels = new Map([
    [axes.invocation, 0],
    [axes.step, 1],
  ])
  const code = makeEmitter(kernel, slots, tiles, quads, levels, 1, (_, p) => result(p))
  const offset = (n: number, turn: string) =>
    buffers === 1 ? '' : `${turn} * ${(depth * block[n]) / LANES} + `
  const copies = [rows, columns].flatMap((s, n) =>
    copy(code, blocks, s, `${MEMORY[n]}[${offset(n, '(s & 1)')}`, size),
  )
  const starts = [rows, columns].map((s, n) => offset(n, '((s - 1) & 1)') + code.value(s.place, at({})))
  for (const [r, c] of pairs(range(tile[0]), range(tile[1])))
    for (const s of kernel.stores)
      code.store(
        s,
        at({
          [rows.axes.quad]: Math.floor(r / LANES),
          [rows.axes.within]: r % LANES,
          [columns.axes.quad]: Math.floor(c / LANES),
          [columns.axes.within]: c % LANES,
        }),
      )

  const sums = pairs(range(tile[0]), range(tile[1] / LANES)).map(([r, c]) => sumOf(r, c))
  const long = product.terms.extent > LONGEST
  const step = `i${axes.step}`
  const compute = [
    ...products(stage, [rows.lanes, columns.lanes], starts, hidden),
    ...(long
      ? [
          `if (${buffers === 1 ? `(${step} + 1)` : 's'} % ${RUN / depth} == 0) {`,
          ...indent(sums.flatMap(s => [`${s}t += ${s};`, `${s} = vec4f();`])),
          '}',
        ]
      : []),
  ]
  const steps = Math.ceil(product.terms.extent / depth)
  const loop =
    buffers === 1
      ? [
          `for (var ${step} = 0; ${step} < ${steps}${hidden}; ${step}++) {`,
          ...indent([...code.levels[1], BARRIER, ...copies, BARRIER, ...compute]),
        ]
      : [
          `for (var s = 0; s <= ${steps}${hidden}; s++) {`,
          `  let ${step} = min(s, ${steps - 1});`,
          ...indent([...code.levels[1], 'if (s > 0) {', ...indent(compute), '}', ...copies, BARRIER]),
        ]
  const grid = gridOf(kernel, tiles, { subgroup: 1, neighbours: false }, size)
  return {
    grid,
    quads,
    declarations: block.map(
      (b, n) => `var<workgroup> ${MEMORY[n]}: array<vec4f, ${(buffers * depth * b) / LANES}>;`,
    ),
    body: [
      ...grid.head,
      `let i${axes.invocation} = i32(l);`,
      ...code.levels[0],
      ...sums.flatMap(s => [`var ${s} = vec4f();`, ...(long ? [`var ${s}t = vec4f();`] : [])]),
      ...loop,
      '}',
      ...(long ? sums.map(s => `${s} += ${s}t;`) : []),
      ...code.levels[2],
    ],
  }
}

/** Statements that put an invocation's copies of a step to workgroup memory. */
function copy(code: Emitter, { at, axes }: Blocks, s: Side, memory: string, size: number): string[] {
  return range(s.copies).flatMap(p => {
    const puts = range(s.fill === 'transposed' ? LANES : 1).map(t => {
      const place = { [s.axes.copy]: p, [axes.term]: t }
      const words = range(LANES).map(j => code.value(s.value, at({ ...place, [s.axes.within]: j })))
      return `${memory}${code.value(s.address, at(place))}] = vec4f(${words.join(', ')});`
    })
    return (p + 1) * size <= s.units ? puts : [`if (l < ${s.units - p * size}u) {`, ...indent(puts), '}']
  })
}

/** The products of a step: each invocation reads its quads of both operands, term by term. */
function products(
  { block, tile, depth }: Stage,
  lanes: readonly number[],
  starts: readonly string[],
  hidden: string,
): string[] {
  const read = (n: number, term: number, quad: number) =>
    `${MEMORY[n]}[${'rc'[n]} + ${(term * block[n]) / LANES + quad * lanes[n]}]`
  const counts = tile.map(t => range(t / LANES))
  return [
    `for (var k = 0; k < ${depth}${hidden}; k += ${UNROLLED}) {`,
    ...block.map((b, n) => `  let ${'rc'[n]} = k * ${b / LANES} + ${starts[n]};`),
    ...range(UNROLLED).flatMap(k => [
      ...counts.flatMap((quads, n) => quads.map(q => `  let ${'rc'[n]}${k}_${q} = ${read(n, k, q)};`)),
      ...pairs(range(tile[0]), counts[1]).map(([r, c]) => {
        const row = `r${k}_${Math.floor(r / LANES)}.${XYZW[r % LANES]}`
        return `  ${sumOf(r, c)} = fma(vec4f(${row}), c${k}_${c}, ${sumOf(r, c)});`
      }),
    ]),
    '}',
  ]
}

const BARRIER = 'workgroupBarrier();'
const XYZW = 'xyzw'
/** The variables of the rows' block and of the columns'. */
const MEMORY = ['tr', 'tc'] as const
/** The sums of a row of the tile and a quad of its columns. */
const sumOf = (row: number, quad: number): string => `s${row}_${quad}`
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
const pairs = (rows: readonly number[], columns: readonly number[]) =>
  rows.flatMap(r => columns.map(c => [r, c] as const))
const indent = (lines: readonly string[]): string[] => lines.map(x => `  ${x}`)
