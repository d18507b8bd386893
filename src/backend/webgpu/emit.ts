/**
 * Instructions of a kernel -> WGSL statements, each where its operands first exist. In: a kernel, its tiles and
 * loops. Out: lists of lines per level, which `render.ts` puts around each other.
 *
 * Note [Levels]. Level 0 lies before the loops, level n inside the nth loop, the last one (the epilogue) after
 * them; the epilogue sees level 0 and itself. An index is summed up level by level, so that an inner loop adds
 * little to an offset. Positions of a tile differ by a constant in the index, so they share the rest. Equal texts
 * at visible levels are one variable, so positions of a tile also share what does not depend on them.
 */
import { CompileError } from '../../dsl/errors.ts'
import { type Affine, type Atom, addConst, bounds, type Condition } from '../affine.ts'
import { type Instr, instructions, type Kernel, type Store } from '../kernel.ts'
import { castText, combine, identity, literal, scalarText, storageType } from './wgsl.ts'

/** Where a kernel's buffer is bound. Buffers may share a binding: `offset` tells them apart. */
export interface Slot {
  readonly binding: number
  /** Bound as `read_write` even where it is only read: a buffer must not be bound both ways in one dispatch. */
  readonly readWrite: boolean
  /** Where the buffer starts in the binding, in elements. */
  readonly offset: number
}

/**
 * A tiled axis: one invocation computes the positions `i, i + groups, i + 2 groups, ...` of it. (Neighbouring
 * invocations then touch neighbouring elements.)
 */
export interface Tile {
  readonly axis: number
  readonly size: number
  readonly groups: number
}

/** A position in the tile, one number per tile. */
export type At = readonly number[]

/** Statements per level, and the accumulators that they need. */
export interface Emitter {
  readonly levels: readonly (readonly string[])[]
  /** Ends the innermost level. */
  readonly updates: readonly string[]
  /** The accumulators' variables, and what each starts from. */
  readonly accumulators: ReadonlyMap<string, { readonly index: number; readonly from: string }>
  accumulate(index: number, at: At, partial: string): void
  store(s: Store, at: At): void
}

interface Text {
  readonly text: string
  readonly level: number
}

/** The element type of a binding: that of its buffers, or words where they differ. */
export const bindingType = (k: Kernel, slots: readonly Slot[], binding: number): 'f32' | 'i32' | 'u32' => {
  const types = new Set(
    k.buffers.filter((_, i) => slots[i].binding === binding).map(b => storageType(b.dtype)),
  )
  const [first] = types
  return types.size === 1 ? first : 'u32'
}

/**
 * Makes the emitter.
 * @param levelOf  the level at which a reduce axis exists (1: the outermost loop)
 * @param depth    the number of loops
 */
export function makeEmitter(
  k: Kernel,
  slots: readonly Slot[],
  tiles: readonly Tile[],
  levelOf: ReadonlyMap<number, number>,
  depth: number,
): Emitter {
  const epilogue = depth + 1
  const all = instructions(k)
  const levels: string[][] = Array.from({ length: depth + 2 }, () => [])
  const names = levels.map(() => new Map<string, string>())
  const updates: string[] = []
  const accumulators = new Map<string, { index: number; from: string }>()
  const done = new Map<string, Text>()
  let count = 0

  /** Names an expression at a level, or finds the name that it has. */
  const bind = (text: string, level: number): Text => {
    if (/^\w+$/.test(text)) return { text, level }
    const visible = level === epilogue ? [0, epilogue] : levels.keys()
    for (const l of visible) {
      if (l > level) break
      const name = names[l].get(text)
      if (name !== undefined) return { text: name, level: l }
    }
    const name = `x${count++}`
    names[level].set(text, name)
    levels[level].push(`let ${name} = ${text};`)
    return { text: name, level }
  }

  /** The index expression as text. `floor` is the level below which nothing is named: the epilogue's, or 0. */
  const index = (a: Affine, at: At, floor: number): Text => {
    const parts: Text[] = []
    let offset = a.offset
    for (const { atom, coef } of a.terms) {
      const t = atomText(atom, at, floor)
      offset += coef * t.shift
      if (t.text !== '')
        parts.push({ text: coef === 1 ? t.text : `${t.text} * ${int32(coef)}`, level: t.level })
    }
    let sum: Text = { text: '', level: floor }
    for (const level of [...new Set(parts.map(p => Math.max(p.level, floor)))].sort((x, y) => x - y)) {
      const here = parts.filter(p => Math.max(p.level, floor) === level).map(p => p.text)
      if (sum.text !== '') here.unshift(sum.text)
      sum =
        here.length > 1 || here[0].includes(' ') ? bind(here.join(' + '), level) : { text: here[0], level }
    }
    if (sum.text === '') return { text: int32(offset), level: floor }
    return offset === 0 ? sum : { text: `${sum.text} + ${int32(offset)}`, level: sum.level }
  }

  /** An atom as a name, and a constant to add to it. */
  const atomText = (t: Atom, at: At, floor: number): Text & { readonly shift: number } => {
    if (t.k === 'value') return { ...value(t.value, at), shift: 0 }
    if (t.k === 'axis') {
      if (k.axes[t.axis].kind === 'reduce') {
        const level = levelOf.get(t.axis)
        return { text: level === undefined ? '' : `i${t.axis}`, level: level ?? 0, shift: 0 }
      }
      const n = tiles.findIndex(tile => tile.axis === t.axis)
      if (n < 0) return { text: k.axes[t.axis].extent === 1 ? '' : `i${t.axis}`, level: 0, shift: 0 }
      const shift = at[n] * tiles[n].groups
      const text = tiles[n].groups === 1 ? '' : `i${t.axis}`
      const last = k.axes[t.axis].extent - 1
      if (!overhangs(tiles[n], at[n])) return { text, level: 0, shift }
      return text === ''
        ? { text, level: 0, shift: last }
        : { ...bind(`min(${text} + ${shift}, ${last})`, floor), shift: 0 }
    }
    const of = index(t.of, at, floor)
    const lo = bounds(t.of)?.[0] ?? -1
    const by = int32(t.by)
    const text =
      lo >= 0
        ? `${/^\w+$/.test(of.text) ? of.text : `(${of.text})`} ${t.k === 'div' ? '/' : '%'} ${by}`
        : `ct_${t.k}(${of.text}, ${by})`
    return { ...bind(text, Math.max(of.level, floor)), shift: 0 }
  }

  /** Whether a position of a tile lies beyond the extent for some invocation. */
  const overhangs = (t: Tile, p: number): boolean => (p + 1) * t.groups > k.axes[t.axis].extent

  /** A name that is true where all conditions hold; null where they always do. */
  const guard = (conditions: readonly Condition[], at: At, floor: number, more: readonly Text[] = []) => {
    const parts = [...more, ...conditions.map(c => conditionText(c, at, floor))].filter(
      t => t.text !== 'true',
    )
    let sum: Text | null = null
    for (const level of [...new Set(parts.map(p => Math.max(p.level, floor)))].sort((x, y) => x - y)) {
      const here = parts.filter(p => Math.max(p.level, floor) === level).map(p => p.text)
      const unique: string[] = [...(sum === null ? [] : [sum.text]), ...new Set(here)]
      sum = bind(unique.join(' && '), level)
    }
    return sum
  }

  /** lo <= index < hi, in unsigned arithmetic one comparison. */
  const conditionText = (c: Condition, at: At, floor: number): Text => {
    const b = bounds(c.index)
    const always = (yes: boolean): Text => ({ text: String(yes), level: floor })
    if (c.hi <= c.lo || (b && (b[1] < c.lo || b[0] >= c.hi))) return always(false)
    const { text, level } = index(c.index, at, floor)
    if (b && b[0] >= c.lo) return b[1] < c.hi ? always(true) : { text: `(${text} < ${int32(c.hi)})`, level }
    if (b && b[1] < c.hi) return { text: `(${text} >= ${int32(c.lo)})`, level }
    const low = c.lo === 0 ? text : `${text} - ${paren(int32(c.lo))}`
    return { text: `(bitcast<u32>(${low}) < ${c.hi - c.lo}u)`, level }
  }

  /** The positions of the tiles on which an instruction depends; the others are 0. */
  const relevant = (id: number, at: At): At => at.map((p, n) => (dependsOn[id].has(tiles[n].axis) ? p : 0))
  const dependsOn: Set<number>[] = []
  for (const x of all) dependsOn.push(axesOf(k, x, dependsOn))

  /** The name of an instruction's value. */
  const value = (id: number, at: At): Text => {
    const p = relevant(id, at)
    const key = `${id}:${p}`
    const known = done.get(key)
    if (known) return known
    const made = compute(id, p)
    done.set(key, made)
    return made
  }

  const compute = (id: number, at: At): Text => {
    const x = all[id]
    const floor = id < k.body.length ? 0 : epilogue
    const named = (t: Text) => {
      if (floor === epilogue && t.level > 0 && t.level < epilogue)
        throw new Error(
          `webgpu: the epilogue of kernel ${k.name} uses what exists only inside the reduce loop`,
        )
      return bind(t.text, Math.max(t.level, floor))
    }
    switch (x.k) {
      case 'lit':
        return named({ text: literal(x.value, x.dtype), level: 0 })
      case 'index': {
        const t = index(x.index, at, floor)
        // A bare number would be of no particular type.
        return named(/^-?\d+$/.test(t.text) ? { text: `i32(${t.text})`, level: 0 } : t)
      }
      case 'inside':
        return guard(x.guard, at, floor) ?? named({ text: 'true', level: 0 })
      case 'load':
        return named(load(x, at, floor))
      case 'acc':
        return {
          text: accumulator(x.accumulator, at) + (isArg(k, x.accumulator) ? '_at' : ''),
          level: epilogue,
        }
      case 'scalar': {
        const args = x.args.map(a => value(a, at))
        const text = scalarText(
          x,
          args.map(a => a.text),
          x.args.map(a => all[a].dtype),
        )
        return named({ text, level: Math.max(...args.map(a => a.level)) })
      }
    }
  }

  /** buffer[index] as the buffer's words, which `wrap` turns into values. */
  const element = (buffer: number, i: string): string => `b${slots[buffer].binding}[${i}]`
  const position = (buffer: number, i: Affine, at: At, floor: number): Text => {
    const range = bounds(i)
    if (range && (range[0] < -(2 ** 31) || range[1] >= 2 ** 31))
      throw new CompileError(
        `webgpu: kernel ${k.name} has an index up to ${range[1]}, which does not fit in 32 bits`,
      )
    return index(addConst(i, slots[buffer].offset), at, floor)
  }

  const load = (x: Extract<Instr, { k: 'load' }>, at: At, floor: number): Text => {
    const i = position(x.buffer, x.index, at, floor)
    const ok = guard(x.guard, at, floor)
    if (ok?.text === 'false') return { text: literal(0, x.dtype), level: 0 }
    const word = element(x.buffer, ok === null ? i.text : `select(0, ${i.text}, ${ok.text})`)
    const type = storageType(x.dtype)
    const raw = bindingType(k, slots, slots[x.buffer].binding) === type ? word : `bitcast<${type}>(${word})`
    const level = Math.max(i.level, ok?.level ?? 0)
    if (x.dtype === 'bool') return { text: `${raw} != 0u${ok === null ? '' : ` && ${ok.text}`}`, level }
    return { text: ok === null ? raw : `select(${literal(0, x.dtype)}, ${raw}, ${ok.text})`, level }
  }

  const accumulator = (n: number, at: At): string => {
    const a = k.accumulators[n]
    const p = relevant(a.value, at)
    const name = ['a', n, ...p.map(i => `_${i}`)].join('')
    if (!accumulators.has(name))
      accumulators.set(name, { index: n, from: identity(a.how, all[a.value].dtype) })
    return name
  }

  return {
    levels,
    updates,
    accumulators,
    accumulate(n, at, partial) {
      const { how, value: id } = k.accumulators[n]
      const name = accumulator(n, at)
      if (relevant(id, at).some((p, i) => p !== at[i])) return
      const flat = isArg(k, n) ? index(flatReduceIndex(k), at, 0).text : ''
      updates.push(combine(how, all[id].dtype, name + partial, value(id, at).text, flat))
    },
    store(s, at) {
      const floor = s.mode === 'add' ? 0 : epilogue
      const v = value(s.value, at)
      if (floor === epilogue && v.level > 0 && v.level < epilogue)
        throw new Error(
          `webgpu: kernel ${k.name} stores v${s.value}, which exists only inside the reduce loop`,
        )
      const inside = tiles.flatMap((t, n): Text[] => {
        if (!overhangs(t, at[n])) return []
        const limit = k.axes[t.axis].extent - at[n] * t.groups
        return [{ text: t.groups === 1 ? String(limit > 0) : `(i${t.axis} < ${limit})`, level: 0 }]
      })
      const i = position(s.buffer, s.index, at, floor).text
      const ok = guard(s.guard, at, floor, inside)
      if (ok?.text === 'false') return
      const { dtype } = k.buffers[s.buffer]
      const type = storageType(dtype)
      const raw = bindingType(k, slots, slots[s.buffer].binding) !== type
      const word = castText(v.text, dtype, dtype === 'bool' ? 'u32' : dtype)
      const into = element(s.buffer, i)
      const old = raw ? `bitcast<${type}>(${into})` : into
      const sum = s.mode === 'add' ? `${old} + ${word}` : word
      const statement = `${into} = ${raw ? `bitcast<u32>(${sum})` : sum};`
      const lines = s.mode === 'add' ? updates : levels[epilogue]
      lines.push(ok === null ? statement : `if (${ok.text}) { ${statement} }`)
    },
  }
}

const isArg = (k: Kernel, accumulator: number): boolean => k.accumulators[accumulator].how.startsWith('arg')

/** The row-major position in the reduce axes. */
function flatReduceIndex(k: Kernel): Affine {
  const terms: Affine['terms'][number][] = []
  let stride = 1
  for (const [i, a] of [...k.axes.entries()].reverse())
    if (a.kind === 'reduce') {
      terms.push({ atom: { k: 'axis', axis: i, extent: a.extent }, coef: stride })
      stride *= a.extent
    }
  return { terms, offset: 0 }
}

/** The axes on which an instruction depends, given those of the earlier ones. */
function axesOf(k: Kernel, x: Instr, earlier: readonly ReadonlySet<number>[]): Set<number> {
  const inIndex = (a: Affine): number[] =>
    a.terms.flatMap(({ atom }) =>
      atom.k === 'axis' ? [atom.axis] : atom.k === 'value' ? [...earlier[atom.value]] : inIndex(atom.of),
    )
  const inGuard = (g: readonly Condition[]) => g.flatMap(c => inIndex(c.index))
  switch (x.k) {
    case 'lit':
      return new Set()
    case 'index':
      return new Set(inIndex(x.index))
    case 'inside':
      return new Set(inGuard(x.guard))
    case 'load':
      return new Set([...inIndex(x.index), ...inGuard(x.guard)])
    case 'scalar':
      return new Set(x.args.flatMap(a => [...earlier[a]]))
    case 'acc':
      return new Set(earlier[k.accumulators[x.accumulator].value])
  }
}

const paren = (text: string) => (text.startsWith('-') ? `(${text})` : text)

/** A number in an index expression. */
function int32(n: number): string {
  if (!Number.isInteger(n) || Math.abs(n) >= 2 ** 31)
    throw new CompileError(`webgpu: ${n} in an index does not fit in 32 bits`)
  return n < 0 ? `(${n})` : String(n)
}
