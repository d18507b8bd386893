/**
 * Contractions by subgroup matrices (tensor cores). In: a kernel, a stage with the sizes of matrices and how they are
 * shared out. Out: the parts of a shader, for render.ts. Off unless asked for: operands are rounded to f16.
 *
 * Note [Matrices]. A workgroup goes along the terms as in staged.ts; what differs is who multiplies.
 *   - The copies are put down as f16, an operand's block as array<f16>[depth][block]: of the left one every term's
 *     column, of the right one every term's row. So left matrices are loaded column by column, right ones row by row.
 *   - A subgroup multiplies matrices and keeps their sums in f32, in registers: see Deal in stage.ts.
 *   - At the end the block's regions go through workgroup memory one after another, and every invocation takes its
 *     4 x 4 results from there to the variables that the epilogue reads. So guards, prologues and epilogues are those
 *     of staged.ts, in f32.
 *   - Whatever uses matrices is done by whole subgroups: only counters and the subgroup's number decide on it.
 *
 * Note [Sums of matrices]. A product of two f16 is exact in f32, so a result's error is that of its operands' rounding,
 * 2^-11 each, and that of the sum. WebGPU promises nothing of the sum; tensor cores add k terms at a time and may cut off
 * where others round, so n terms in a row are off by n / k of 2^-23 at most. Runs of 4,096 terms make that 2^-14 for k = 8,
 * an eighth of what one operand brings. They are long because runs can only be added outside of matrices: for a longer
 * sum every run goes through workgroup memory to sums in registers.
 *
 * WGSL: Dawn's docs/dawn/features/subgroup_matrix.md. A left matrix is of m rows and k columns, and written <T, k, m>: in
 * all three types the columns come first. Offsets and strides count elements.
 */
import type { Kernel, MatrixShape } from '../kernel.ts'
import {
  BARRIER,
  bufferAt,
  copiesOf,
  type Frame,
  frameOf,
  indent,
  loopOf,
  MEMORY,
  type Parts,
  pairs,
  partsOf,
  range,
  storeAt,
  sumOf,
  TURN,
} from './frame.ts'
import type { Deal, Staging } from './stage.ts'
import { LANES, type Slot } from './tiles.ts'

/** Terms of a run: see Note [Sums of matrices]. A multiple of every depth. */
const RUN = 4096

/** A stage with matrices. */
export interface MatrixStaging extends Staging {
  readonly stage: Staging['stage'] & { readonly matrix: MatrixShape }
  readonly deal: Deal
}

/** Whether a stage is computed by matrices. */
export const hasMatrices = (s: Staging): s is MatrixStaging => s.stage.matrix !== undefined && s.deal !== null

/**
 * Renders a contraction by subgroup matrices: see Note [Matrices].
 * @param hidesTrips  see Note [Hidden trips] in loops.ts
 */
export function renderMatrices(
  k: Kernel,
  slots: readonly Slot[],
  staging: MatrixStaging,
  hidesTrips: boolean,
): Parts {
  const { stage, product, deal } = staging
  const { block, tile, depth, buffers, matrix } = stage
  const frame = frameOf(k, slots, staging, hidesTrips)
  const { rows, columns, at } = frame.blocks
  const copies = copiesOf(frame, (n, words, address) => {
    const first = `p${n}`
    return [
      `{ let ${first} = ${LANES} * (${bufferAt(frame, n, TURN.put, LANES)}${address});`,
      ...words.map((x, i) => `  ${MEMORY[n]}[${first} + ${i}] = f16(${x});`),
      '}',
    ]
  })
  const [row, column] = [rows, columns].map(s => frame.code.value(s.place, at({})))
  const regions = pairs(range(deal.regions[0]), range(deal.regions[1]))
  const long = product.terms.extent > RUN
  const take = (long: boolean) => regions.map(r => through(deal, matrix, r, long))
  const run = { steps: RUN / depth, lines: [...take(true).flat(), ...clear(deal)] }
  const loop = loopOf(frame, copies, products(frame, staging), long ? run : null)
  const ends = take(long).map((lines, i) => {
    const [r, c] = regions[i]
    const before = frame.code.levels[2].length
    for (const [y, x] of pairs(range(LANES), range(LANES))) storeAt(frame, LANES * r + y, LANES * c + x)
    return [...lines, ...frame.code.levels[2].slice(before)]
  })
  return partsOf(
    frame,
    [
      ...typesOf(matrix),
      ...block.map((b, n) => `var<workgroup> ${MEMORY[n]}: array<f16, ${buffers * depth * b}>;`),
      `var<workgroup> tm: array<f32, ${deal.region[0] * deal.region[1]}>;`,
    ],
    [
      // the subgroup's first row and column in a region, and those of the invocation's results
      `let mr = i32(g) / ${deal.subgroups[1]} * ${deal.matrices[0] * matrix.m};`,
      `let mc = i32(g) % ${deal.subgroups[1]} * ${deal.matrices[1] * matrix.n};`,
      `let mo = ${LANES} * (${row} * ${deal.region[1]} + ${column});`,
      ...(long
        ? pairs(range(tile[0]), range(tile[1] / LANES)).map(([r, c]) => `var ${sumOf(r, c)} = vec4f();`)
        : []),
      ...sums(deal).map(({ name }) => `var ${name} = Sum();`),
      ...loop,
      ...ends.flat(),
    ],
  )
}

/** The three types, by the names that the statements use. */
const typesOf = ({ m, n, k }: MatrixShape): string[] => [
  `alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;`,
  `alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;`,
  `alias Sum = subgroup_matrix_result<f32, ${n}, ${m}>;`,
]

/** A subgroup's sums: its region, and its row and column among the subgroup's matrices there. */
const sums = ({ regions, matrices }: Deal) =>
  pairs(range(regions[0]), range(regions[1])).flatMap(region =>
    pairs(range(matrices[0]), range(matrices[1])).map(([r, c]) => ({
      region,
      r,
      c,
      name: name(region, r, c),
    })),
  )
const name = ([y, x]: readonly [number, number], r: number, c: number) => `m${y}_${x}_${r}_${c}`

/** Statements for those subgroups alone that have matrices. */
const guarded = ({ more, subgroups: [r, c] }: Deal, lines: readonly string[]): readonly string[] =>
  more ? [`if (g < ${r * c}u) {`, ...indent(lines), '}'] : lines

/** The products of a step: a subgroup loads a row of left matrices and of right ones, and multiplies all pairs. */
function products(frame: Frame, { stage, deal }: MatrixStaging): readonly string[] {
  const { block, depth, matrix } = stage
  const { m, n, k } = matrix
  const load = (side: number, region: number, i: number) => {
    const [type, order, from, size] = [
      ['Left', 'col_major', 'mr', m],
      ['Right', 'row_major', 'mc', n],
    ][side]
    const first = region * deal.region[side] + i * Number(size)
    const offset = plus(`${bufferAt(frame, side, TURN.compute, 1)}k * ${block[side]} + ${from}`, first)
    return `  let ${'uv'[side]}${region}_${i} = subgroupMatrixLoad<${type}, ${order}>(&${MEMORY[side]}, u32(${offset}), ${block[side]}u);`
  }
  return guarded(deal, [
    `for (var k = 0; k < ${depth}${frame.hidden}; k += ${k}) {`,
    ...[0, 1].flatMap(side =>
      pairs(range(deal.regions[side]), range(deal.matrices[side])).map(([region, i]) =>
        load(side, region, i),
      ),
    ),
    ...sums(deal).map(
      ({ region: [y, x], r, c, name }) =>
        `  ${name} = subgroupMatrixMultiplyAccumulate(u${y}_${r}, v${x}_${c}, ${name});`,
    ),
    '}',
  ])
}

/** A region's sums on their way to the invocations: added to those that they have, or new ones. */
function through(
  deal: Deal,
  { m, n }: MatrixShape,
  [y, x]: readonly [number, number],
  added: boolean,
): readonly string[] {
  const width = deal.region[1]
  const put = pairs(range(deal.matrices[0]), range(deal.matrices[1])).map(([r, c]) => {
    const offset = plus(`mr * ${width} + mc`, r * m * width + c * n)
    return `subgroupMatrixStore<row_major>(&tm, u32(${offset}), ${name([y, x], r, c)}, ${width}u);`
  })
  const get = range(LANES).map(r => {
    const words = range(LANES).map(c => `tm[${plus('mo', r * width + c)}]`)
    return `${added ? '' : 'let '}${sumOf(LANES * y + r, x)} ${added ? '+' : ''}= vec4f(${words.join(', ')});`
  })
  return [...guarded(deal, put), BARRIER, ...get, BARRIER]
}

const plus = (index: string, n: number): string => (n === 0 ? index : `${index} + ${n}`)

/** The next run begins. */
const clear = (deal: Deal): readonly string[] => sums(deal).map(({ name }) => `${name} = Sum();`)
