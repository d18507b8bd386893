/**
 * What the ways of computing a stage share: the way of operands to workgroup memory, the loop over the steps, and the
 * epilogue on sums in registers. In: a kernel and its stage. Out: parts of a shader, between which staged.ts and
 * matrices.ts put their products.
 */
import type { Kernel } from '../kernel.ts'
import { type Blocks, inBlocks } from './blocks.ts'
import { type Emitter, makeEmitter } from './emit.ts'
import { type Grid, gridOf } from './grid.ts'
import { invocationsOf, type Staging } from './stage.ts'
import { LANES, quadBindings, type Slot } from './tiles.ts'

/** What a shader is made of. */
export interface Parts {
  readonly grid: Grid
  readonly quads: ReadonlySet<number>
  readonly declarations: readonly string[]
  readonly body: readonly string[]
}

/** A stage on its way to text. */
export interface Frame {
  readonly staging: Staging
  readonly blocks: Blocks
  readonly quads: ReadonlySet<number>
  readonly code: Emitter
  /** Invocations of a workgroup. */
  readonly size: number
  /** What hides the number of steps of a loop: see Note [Hidden trips] in loops.ts. */
  readonly hidden: string
}

/** The kernel in blocks; its sums are what `sumOf` names. */
export function frameOf(k: Kernel, slots: readonly Slot[], staging: Staging, hidesTrips: boolean): Frame {
  const { stage, product } = staging
  const blocks = inBlocks(k, slots, stage, product)
  const { kernel, tiles, rows, columns, axes } = blocks
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
  return {
    staging,
    blocks,
    quads,
    code: makeEmitter(kernel, slots, tiles, quads, levels, 1, (_, p) => result(p)),
    size: invocationsOf(stage),
    hidden: hidesTrips ? ' + i32(ct_zero)' : '',
  }
}

/**
 * Statements that put an invocation's copies of a step to workgroup memory.
 * @param put  what puts a quad of rows (0) or columns (1) at an address, counted in quads
 */
export function copiesOf(
  { blocks, code, size }: Frame,
  put: (n: number, words: readonly string[], address: string) => readonly string[],
): string[] {
  const { rows, columns, axes, at } = blocks
  return [rows, columns].flatMap((s, n) =>
    range(s.copies).flatMap(p => {
      const puts = range(s.fill === 'transposed' ? LANES : 1).flatMap(t => {
        const place = { [s.axes.copy]: p, [axes.term]: t }
        const words = range(LANES).map(j => code.value(s.value, at({ ...place, [s.axes.within]: j })))
        return put(n, words, code.value(s.address, at(place)))
      })
      return (p + 1) * size <= s.units ? puts : [`if (l < ${s.units - p * size}u) {`, ...indent(puts), '}']
    }),
  )
}

/** Emits the stores of the results at a row and a column of the tile. */
export function storeAt({ blocks, code }: Frame, row: number, column: number): void {
  const { kernel, rows, columns, at } = blocks
  for (const s of kernel.stores)
    code.store(
      s,
      at({
        [rows.axes.quad]: Math.floor(row / LANES),
        [rows.axes.within]: row % LANES,
        [columns.axes.quad]: Math.floor(column / LANES),
        [columns.axes.within]: column % LANES,
      }),
    )
}

/**
 * The loop over the steps; with two buffers it has a turn more, and a step is computed in the turn after its copies.
 * @param every  what is done after every so many steps
 */
export function loopOf(
  { staging: { stage, product }, blocks, code, hidden }: Frame,
  copies: readonly string[],
  compute: readonly string[],
  every: { readonly steps: number; readonly lines: readonly string[] } | null,
): string[] {
  const { depth, buffers } = stage
  const step = `i${blocks.axes.step}`
  const steps = Math.ceil(product.terms.extent / depth)
  const computed = [
    ...compute,
    ...(every === null
      ? []
      : [
          `if (${buffers === 1 ? `(${step} + 1)` : 's'} % ${every.steps} == 0) {`,
          ...indent(every.lines),
          '}',
        ]),
  ]
  const turn =
    buffers === 1
      ? [
          `for (var ${step} = 0; ${step} < ${steps}${hidden}; ${step}++) {`,
          ...indent([...code.levels[1], BARRIER, ...copies, BARRIER, ...computed]),
        ]
      : [
          `for (var s = 0; s <= ${steps}${hidden}; s++) {`,
          `  let ${step} = min(s, ${steps - 1});`,
          ...indent([...code.levels[1], 'if (s > 0) {', ...indent(computed), '}', ...copies, BARRIER]),
        ]
  return [...turn, '}']
}

/** Where a block's buffer begins in its memory, in elements of which `unit` are one; `turn` counts the steps. */
export const bufferAt = ({ staging: { stage } }: Frame, n: number, turn: string, unit: number): string =>
  stage.buffers === 1 ? '' : `${turn} * ${(stage.depth * stage.block[n]) / unit} + `
/** The turn whose copies are put down, and the one whose copies are computed. */
export const TURN = { put: '(s & 1)', compute: '((s - 1) & 1)' } as const

/** The parts of the shader around what is declared and done between the first statements and the end. */
export function partsOf(
  { blocks: { kernel, tiles, axes }, quads, code, size }: Frame,
  declarations: readonly string[],
  lines: readonly string[],
): Parts {
  const grid = gridOf(kernel, tiles, { subgroup: 1, neighbours: false, sharing: null }, size)
  return {
    grid,
    quads,
    declarations,
    body: [...grid.head, `let i${axes.invocation} = i32(l);`, ...code.levels[0], ...lines],
  }
}

/** Until all invocations of a workgroup are there. */
export const BARRIER = 'workgroupBarrier();'
/** The elements of a vector. */
export const XYZW = 'xyzw'
/** The variables of the rows' block and of the columns'. */
export const MEMORY = ['tr', 'tc'] as const
/** The sums of a row of the tile and a quad of its columns: a vector. */
export const sumOf = (row: number, quad: number): string => `s${row}_${quad}`
/** 0, 1, ... n - 1. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
/** Every row with every column. */
export const pairs = (rows: readonly number[], columns: readonly number[]) =>
  rows.flatMap(r => columns.map(c => [r, c] as const))
/** Lines of a block of statements. */
export const indent = (lines: readonly string[]): string[] => lines.map(x => `  ${x}`)
