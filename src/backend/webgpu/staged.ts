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
import type { Kernel, Stage } from '../kernel.ts'
import {
  bufferAt,
  copiesOf,
  frameOf,
  loopOf,
  MEMORY,
  type Parts,
  pairs,
  partsOf,
  range,
  storeAt,
  sumOf,
  TURN,
  XYZW,
} from './frame.ts'
import { RUNS } from './loops.ts'
import type { Staging } from './stage.ts'
import { LANES, type Slot } from './tiles.ts'

const { longest: LONGEST, block: RUN } = RUNS.many
/** Terms whose products are written out. */
const UNROLLED = 4

/**
 * Renders a contraction in stages: see Note [Stages].
 * @param hidesTrips  see Note [Hidden trips] in loops.ts
 */
export function renderStaged(
  k: Kernel,
  slots: readonly Slot[],
  staging: Staging,
  hidesTrips: boolean,
): Parts {
  const { stage, product } = staging
  const { block, tile, depth, buffers } = stage
  const frame = frameOf(k, slots, staging, hidesTrips)
  const { rows, columns, at } = frame.blocks
  const copies = copiesOf(frame, (n, words, address) => [
    `${MEMORY[n]}[${bufferAt(frame, n, TURN.put, LANES)}${address}] = vec4f(${words.join(', ')});`,
  ])
  const starts = [rows, columns].map(
    (s, n) => bufferAt(frame, n, TURN.compute, LANES) + frame.code.value(s.place, at({})),
  )
  for (const [r, c] of pairs(range(tile[0]), range(tile[1]))) storeAt(frame, r, c)

  const sums = pairs(range(tile[0]), range(tile[1] / LANES)).map(([r, c]) => sumOf(r, c))
  const long = product.terms.extent > LONGEST
  const compute = products(stage, [rows.lanes, columns.lanes], starts, frame.hidden)
  const run = { steps: RUN / depth, lines: sums.flatMap(s => [`${s}t += ${s};`, `${s} = vec4f();`]) }
  return partsOf(
    frame,
    block.map((b, n) => `var<workgroup> ${MEMORY[n]}: array<vec4f, ${(buffers * depth * b) / LANES}>;`),
    [
      ...sums.flatMap(s => [`var ${s} = vec4f();`, ...(long ? [`var ${s}t = vec4f();`] : [])]),
      ...loopOf(frame, copies, compute, long ? run : null),
      ...(long ? sums.map(s => `${s} += ${s}t;`) : []),
      ...frame.code.levels[2],
    ],
  )
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
