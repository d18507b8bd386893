/**
 * The parallel axes of a kernel -> workgroups, and the statements by which an invocation finds its point.
 */
import { CompileError } from '../../dsl/errors.ts'
import type { Kernel } from '../kernel.ts'
import type { Machine } from './machine.ts'
import { fastestAxis, type Tile } from './tiles.ts'

export interface Grid {
  readonly workgroups: readonly [number, number, number]
  /** Invocations of a workgroup. */
  readonly size: number
  /** Statements that find `i{axis}` of every parallel axis, or leave where there is no such point. */
  readonly head: readonly string[]
  /** The axes along which lanes that share loads differ; null where none do: see Note [Shared loads] in sharing.ts. */
  readonly varying: number | null
}

/**
 * The points of the parallel axes (tiled ones by their groups), in workgroups; the last axis is the fastest, or that of
 * neighbours in memory.
 * @param team  invocations that share a point: a workgroup; null: each has its own
 */
export function gridOf(
  k: Kernel,
  tiles: readonly Tile[],
  { subgroup, neighbours, sharing }: Pick<Machine, 'subgroup' | 'neighbours' | 'sharing'>,
  team: number | null,
): Grid {
  const axes = inOrder(k, tiles, neighbours)
  const points = product(axes)
  if (points >= 2 ** 31)
    throw new CompileError(`webgpu: kernel ${k.name} has ${points} parallel points; the limit is 2^31`)
  if (team !== null) {
    const { workgroups, flat } = spread(points)
    const head = [
      `let n = ${flat};`,
      ...(points === workgroups[0] * workgroups[1] ? [] : [`if (n >= ${points}u) { return; }`]),
    ]
    return { workgroups, size: team, head: [...head, ...decompose('n', axes)], varying: null }
  }
  // A square of a tiled axis and the fastest one: neighbours in memory are neighbours in the workgroup.
  const wide = axes.filter(a => a.count >= SQUARE)
  const column = wide.at(-1)
  const row = wide.find(a => a !== column && tiles.some(t => t.axis === a.axis))
  if (column === undefined || row === undefined || subgroup < (SQUARE * SQUARE) / 2) {
    const rows = inRows(points, subgroup, sharing)
    const { size, workgroups, flat, full } = rows
    return {
      workgroups,
      size,
      head: [
        `let n = ${flat} * ${size}u + l;`,
        ...(full ? [] : [`if (n >= ${points}u) { return; }`]),
        ...decompose('n', axes),
      ],
      varying: sharing === null ? null : varyingAxes(axes, rows, sharing),
    }
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
    varying: null,
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

/** The parallel axes and their groups, the fastest last. */
function inOrder(k: Kernel, tiles: readonly Tile[], neighbours: boolean) {
  const fastest = neighbours ? fastestAxis(k, tiles) : -1
  const natural = k.axes.flatMap(({ kind, extent }, axis) =>
    kind === 'reduce'
      ? []
      : [{ axis, name: `i${axis}`, count: tiles.find(t => t.axis === axis)?.groups ?? extent }],
  )
  return [...natural.filter(a => a.axis !== fastest), ...natural.filter(a => a.axis === fastest)]
}

/** Workgroups that take points as they come. Those whose lanes share loads are to be full: see Note [Shared loads]. */
function inRows(points: number, subgroup: number, sharing: number | null) {
  const most = points < MANY ? Math.min(subgroup, WORKGROUP) : WORKGROUP
  const even = (size: number) => points % size === 0 && size % (sharing ?? 1) === 0
  const size = sharing === null ? most : ([most, most / 2, most / 4, sharing].find(even) ?? most)
  const { workgroups, flat } = spread(Math.ceil(points / size))
  return { size, workgroups, flat, full: points === workgroups[0] * workgroups[1] * size }
}

/** `varying` of the grid, where it is of rows in natural order and subgroups have `lanes`. */
export function varyingIn(k: Kernel, tiles: readonly Tile[], lanes: number): number | null {
  const axes = inOrder(k, tiles, false)
  return varyingAxes(axes, inRows(product(axes), lanes, lanes), lanes)
}

const varyingAxes = (axes: readonly Counted[], { size, full }: ReturnType<typeof inRows>, lanes: number) =>
  full && size % lanes === 0 ? lastAxes(axes, lanes) : null

/** An axis, and its points or groups. */
interface Counted {
  readonly axis: number
  readonly count: number
}
/** The last axes, as few as have a multiple of so many points together; null where these run into the next ones. */
function lastAxes(axes: readonly Counted[], points: number): number | null {
  let [mask, n] = [0, 1]
  for (const { axis, count } of axes.toReversed()) {
    if (n % points === 0) break
    if (count > 1) mask |= 1 << axis
    n *= count
  }
  return n % points === 0 ? mask : null
}

const product = (axes: readonly { readonly count: number }[]): number => axes.reduce((n, a) => n * a.count, 1)

/** A number of workgroups as a dispatch, and the flat number of each (a few beyond may come of rounding). */
function spread(groups: number) {
  const y = Math.ceil(groups / MAX_GROUPS)
  const x = y === 0 ? 0 : Math.ceil(groups / y)
  const workgroups: Grid['workgroups'] = [x, y, y === 0 ? 0 : 1]
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

/** Invocations of a workgroup: a multiple of every subgroup size, within every adapter's limit. */
const WORKGROUP = 64
/** Workgroups of a dispatch in one dimension: WebGPU's default limit, and what drivers have. */
const MAX_GROUPS = 65535
/** Fewer invocations than this go in workgroups of one subgroup, so that every core gets some. */
const MANY = 16384
/** Invocations of a workgroup along each of two axes of a contraction: a square reuses most in the caches. */
const SQUARE = 8
