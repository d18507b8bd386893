/**
 * Instructions of a kernel -> WGSL statements, each where its operands first exist. In: a kernel, its tiles and
 * loops. Out: lists of lines per level, which `render.ts` puts around each other.
 *
 * Note [Levels]. Level 0 lies before the loops, level n inside the nth loop, the last one (the epilogue) after
 * them; the epilogue sees level 0 and itself. An index is summed up level by level, so that an inner loop adds
 * little to an offset. Positions of a tile differ by a constant in the index, so they share the rest. Equal texts
 * at visible levels are one variable, so positions of a tile also share what does not depend on them.
 *
 * Note [Vectors]. Everything is computed element by element (drivers vectorise over invocations); only memory is
 * touched four elements at a time, where a binding allows it (`quadBindings`).
 */
import { CompileError } from '../../dsl/errors.ts'
import { type Affine, type Atom, addConst, axis, bounds, type Condition, coefficient } from '../affine.ts'
import { dependencies } from '../depend.ts'
import { instructions, type Kernel, type Load, type Store } from '../kernel.ts'
import { flatten } from '../values.ts'
import { type Sharing, sharedLoad } from './sharing.ts'
import { type At, bindingType, LANES, type Slot, type Tile } from './tiles.ts'
import {
  castText,
  combine,
  elementType,
  identity,
  int32,
  literal,
  pairwise,
  scalarText,
  storageType,
} from './wgsl.ts'

/** Statements per level, and the accumulators that they need. */
export interface Emitter {
  readonly levels: readonly (readonly string[])[]
  /** The accumulators' variables, and what each starts from. */
  readonly accumulators: ReadonlyMap<string, { readonly index: number; readonly from: string }>
  /** The name or text of an instruction's value at a position; its statements precede those that follow. */
  value(id: number, at: At): string
  /** Combines the values at some steps of the reduce axes: f32 sums pair by pair, then with the accumulator. */
  accumulate(index: number, steps: readonly At[], partial: string): void
  store(s: Store, at: At): void
}

interface Text {
  readonly text: string
  readonly level: number
}

/**
 * Makes the emitter.
 * @param quads    the bindings that hold vectors of four
 * @param levelOf  the level at which a reduce axis exists (1: the outermost loop)
 * @param depth    the number of loops
 * @param result   what holds an accumulator's result at a position, where `accumulate` is not what makes it
 * @param sharing  whether lanes share loads, and which axes they differ along: see Note [Shared loads] in sharing.ts
 */
export function makeEmitter(
  k: Kernel,
  slots: readonly Slot[],
  tiles: readonly Tile[],
  quads: ReadonlySet<number>,
  levelOf: ReadonlyMap<number, number>,
  depth: number,
  result: ((accumulator: number, at: At) => string) | null = null,
  sharing: Sharing | null = null,
): Emitter {
  const epilogue = depth + 1
  const all = instructions(k)
  const masks = dependencies(k)
  const levels: string[][] = Array.from({ length: depth + 2 }, () => [])
  const names = levels.map(() => new Map<string, string>())
  const accumulators = new Map<string, { index: number; from: string }>()
  const done = new Map<string, Text>()
  let count = 0

  /** Names an expression at a level, or finds the name that it has. */
  const bind = (text: string, level: number): Text => {
    // a name; a bare number would make constant expressions, in which WGSL forbids 1 / 0 and overflow
    if (/^[a-z]\w*$/.test(text)) return { text, level }
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

  /**
   * The index expression as text. `floor` is the level below which nothing is named: the epilogue's, or 0.
   * `unit` 4: the index of a vector, for an index that `quadBindings` accepts. `more`: what else is added.
   */
  const index = (a: Affine, at: At, floor: number, unit = 1, more: readonly Text[] = []): Text => {
    const parts: Text[] = [...more]
    let offset = a.offset / unit
    for (const { atom, coef } of a.terms) {
      const along = unit > 1 && coef === 1 ? unit : 1
      const t = atomText(atom, at, floor, along)
      const c = (coef * along) / unit
      offset += c * t.shift
      const factor = c * t.factor
      if (t.text !== '')
        parts.push({ text: factor === 1 ? t.text : `${t.text} * ${int32(factor)}`, level: t.level })
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

  /** An atom divided by `unit`: a name, a factor, and a constant to add. */
  const atomText = (
    t: Atom,
    at: At,
    floor: number,
    unit: number,
  ): Text & { readonly factor: number; readonly shift: number } => {
    const plain = { factor: 1, shift: 0 }
    if (t.k === 'value') return { ...value(t.value, at), ...plain }
    if (t.k === 'axis') return axisText(t.axis, at, floor, unit)
    const of = index(t.of, at, floor)
    const lo = bounds(t.of)?.[0] ?? -1
    const by = int32(t.by)
    const known = constantOf(of.text)
    if (known !== null) {
      const quotient = Math.floor(known / t.by)
      return { text: '', level: floor, factor: 1, shift: t.k === 'div' ? quotient : known - t.by * quotient }
    }
    const text =
      lo >= 0
        ? `${/^\w+$/.test(of.text) ? of.text : `(${of.text})`} ${t.k === 'div' ? '/' : '%'} ${by}`
        : `ct_${t.k}(${of.text}, ${by})`
    return { ...bind(text, Math.max(of.level, floor)), ...plain }
  }

  /** An axis, of a tile the position, divided by `unit`. Positions beyond the extent are the last one. */
  const axisText = (axis: number, at: At, floor: number, unit: number) => {
    const { extent, kind } = k.axes[axis]
    const n = tiles.findIndex(tile => tile.axis === axis)
    const level = kind === 'reduce' ? (levelOf.get(axis) ?? 0) : 0
    if (n < 0) {
      const gone = extent === 1 || (kind === 'reduce' && !levelOf.has(axis))
      return { text: gone ? '' : `i${axis}`, level, factor: 1, shift: 0 }
    }
    const tile = tiles[n]
    const step = tile.together ? tile.size : 1
    // a position of a quad is its first one and a constant, so that the four share an address
    const within = tile.quads ? at[n] % LANES : 0
    const base = (at[n] - within) * (tile.together ? 1 : tile.groups)
    const last = extent - (tile.quads ? LANES : 1)
    const alone = tile.groups === 1
    if (!overhangs(tile, at[n]))
      return {
        text: alone ? '' : `i${axis}`,
        level,
        factor: step / unit,
        shift: (base + within) / unit,
      }
    if (alone) return { text: '', level, factor: 1, shift: (last + within) / unit }
    const scaled = step === 1 ? `i${axis}` : `i${axis} * ${step / unit}`
    const name = bind(`min(${scaled} + ${base / unit}, ${last / unit})`, floor)
    return { ...name, factor: 1, shift: within / unit }
  }

  /** Whether a position of a tile lies beyond the extent for some invocation. */
  const overhangs = (t: Tile, p: number): boolean =>
    (t.together ? (t.groups - 1) * t.size + p + 1 : (p + 1) * t.groups) > k.axes[t.axis].extent

  /** A name that is true where all conditions hold; null where they always do. */
  const guard = (conditions: readonly Condition[], at: At, floor: number, more: readonly Text[] = []) => {
    const parts = [...more, ...conditions.map(c => conditionText(c, at, floor))].filter(
      t => t.text !== 'true',
    )
    if (parts.some(t => t.text === 'false')) return { text: 'false', level: floor }
    let sum: Text | null = null
    for (const level of [...new Set(parts.map(p => Math.max(p.level, floor)))].sort((x, y) => x - y)) {
      const here = parts.filter(p => Math.max(p.level, floor) === level).map(p => p.text)
      const unique: string[] = [...(sum === null ? [] : [sum.text]), ...new Set(here)]
      sum = bind(unique.join(' & '), level)
    }
    return sum
  }

  /** lo <= index < hi, in unsigned arithmetic one comparison. */
  const conditionText = (c: Condition, at: At, floor: number): Text => {
    const b = bounds(c.index)
    const always = (yes: boolean): Text => ({ text: String(yes), level: floor })
    if (c.hi <= c.lo || (b && (b[1] < c.lo || b[0] >= c.hi))) return always(false)
    const { text, level } = index(c.index, at, floor)
    const known = constantOf(text)
    if (known !== null) return always(known >= c.lo && known < c.hi)
    if (b && b[0] >= c.lo) return b[1] < c.hi ? always(true) : { text: `(${text} < ${int32(c.hi)})`, level }
    if (b && b[1] < c.hi) return { text: `(${text} >= ${int32(c.lo)})`, level }
    const low = c.lo === 0 ? text : `${text} - ${paren(int32(c.lo))}`
    return { text: `(bitcast<u32>(${low}) < ${c.hi - c.lo}u)`, level }
  }

  /** The positions of the tiles on which an instruction depends; the others are 0. */
  const relevant = (id: number, at: At): At => at.map((p, n) => (masks[id] & (1 << tiles[n].axis) ? p : 0))
  const isParallel = (t: Tile) => k.axes[t.axis].kind === 'parallel'

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
        return named(shared(id, x, at) ?? load(x, at, floor))
      case 'acc':
        return {
          text:
            result?.(x.accumulator, at) ??
            accumulator(x.accumulator, at) + (isArg(k, x.accumulator) ? '_at' : ''),
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

  const element = (buffer: number, i: string): string => `b${slots[buffer].binding}[${i}]`
  /** The index of an element in its binding, or of the vector that holds it. */
  const position = (buffer: number, i: Affine, at: At, floor: number, more: readonly Text[] = []): Text => {
    const range = bounds(i)
    if (range && (range[0] < -(2 ** 31) || range[1] >= 2 ** 31))
      throw new CompileError(
        `webgpu: kernel ${k.name} has an index up to ${range[1]}, which does not fit in 32 bits`,
      )
    const { binding, offset } = slots[buffer]
    return quads.has(binding)
      ? index(addConst(i, offset), lane(i, at).first, floor, LANES)
      : index(addConst(i, offset), at, floor, 1, more)
  }

  /** The tile along which an index of vectors goes: the position's place in its vector, and the first position. */
  const lane = (i: Affine, at: At): { readonly tile: number; readonly place: number; readonly first: At } => {
    const tile = tiles.findIndex(t => t.quads && coefficient(i, t.axis) === 1)
    const place = at[tile] % LANES
    return { tile, place, first: at.with(tile, at[tile] - place) }
  }

  const load = (x: Load, at: At, floor: number, more: readonly Text[] = []): Text => {
    const i = position(x.buffer, x.index, at, floor, more)
    const ok = guard(x.guard, at, floor)
    if (ok?.text === 'false') return { text: literal(0, x.dtype), level: 0 }
    const { binding } = slots[x.buffer]
    const level = Math.max(i.level, ok?.level ?? 0)
    const whole = element(x.buffer, ok === null ? i.text : `select(0, ${i.text}, ${ok.text})`)
    const word = quads.has(binding)
      ? `${bind(whole, Math.max(level, floor)).text}.${'xyzw'[lane(x.index, at).place]}`
      : whole
    const type = storageType(x.dtype)
    const held = bindingType(k, slots, binding)
    const raw = held === type ? word : held === 'f16' ? `f32(${word})` : `bitcast<${type}>(${word})`
    if (x.dtype === 'bool')
      return { text: ok === null ? `${raw} != 0u` : `(${raw} != 0u) & ${ok.text}`, level }
    return { text: ok === null ? raw : `select(${literal(0, x.dtype)}, ${raw}, ${ok.text})`, level }
  }

  /** A load by the lane that has the element; null where every lane loads for itself. */
  const shared = (id: number, x: Load, at: At): Text | null => {
    if (sharing === null || quads.has(slots[x.buffer].binding)) return null
    const how = sharedLoad(k, masks, tiles, sharing, id, x)
    if (how === null) return null
    const { lanes } = sharing
    const place = at[how.tile] % lanes
    const first = at[how.tile] - place
    const count = Math.min(lanes, tiles[how.tile].size - first)
    if (count === 1) return null
    const lane = bind(count === lanes ? `i32(l % ${lanes}u)` : `min(i32(l % ${lanes}u), ${count - 1})`, 0)
    const further = how.stride === 1 ? lane : bind(`${lane.text} * ${int32(how.stride)}`, 0)
    const { text, level } = load(x, at.with(how.tile, first), 0, [further])
    return { text: `subgroupBroadcast(${bind(text, level).text}, ${place}u)`, level }
  }

  const accumulator = (n: number, at: At): string => {
    const a = k.accumulators[n]
    const p = relevant(a.value, at).filter((_, t) => isParallel(tiles[t]))
    const name = ['a', n, ...p.map(i => `_${i}`)].join('')
    if (!accumulators.has(name))
      accumulators.set(name, { index: n, from: identity(a.how, all[a.value].dtype) })
    return name
  }

  return {
    levels,
    accumulators,
    value: (id, at) => value(id, at).text,
    accumulate(n, steps, partial) {
      const { how, value: id } = k.accumulators[n]
      const [at] = steps
      const name = accumulator(n, at)
      if (relevant(id, at).some((p, i) => p !== at[i] && isParallel(tiles[i]))) return
      const flat = isArg(k, n) ? index(flatReduceIndex(k), at, 0).text : ''
      levels[depth].push(
        combine(how, all[id].dtype, name + partial, pairwise(steps.map(s => value(id, s).text)), flat),
      )
    },
    store(s, at) {
      const floor = s.mode === 'add' ? 0 : epilogue
      const v = value(s.value, at)
      if (floor === epilogue && v.level > 0 && v.level < epilogue)
        throw new Error(
          `webgpu: kernel ${k.name} stores v${s.value}, which exists only inside the reduce loop`,
        )
      const inside = tiles.flatMap((t, n): Text[] => {
        if (!isParallel(t) || !overhangs(t, at[n])) return []
        const limit = t.together
          ? Math.ceil((k.axes[t.axis].extent - at[n]) / t.size)
          : k.axes[t.axis].extent - at[n] * t.groups
        return [{ text: t.groups === 1 ? String(limit > 0) : `(i${t.axis} < ${limit})`, level: 0 }]
      })
      const ok = guard(s.guard, at, floor, inside)
      if (ok?.text === 'false') return
      const { dtype } = k.buffers[s.buffer]
      const type = elementType(k.buffers[s.buffer])
      const word = (at: At) => {
        const text = castText(value(s.value, at).text, dtype, dtype === 'bool' ? 'u32' : dtype)
        return type === 'f16' ? `f16(${text})` : text
      }
      const put = (lines: string[], statement: string) =>
        lines.push(ok === null ? statement : `if (${ok.text}) { ${statement} }`)
      if (quads.has(slots[s.buffer].binding)) {
        const { tile, place } = lane(s.index, at)
        if (place !== 0) return
        const words = [0, 1, 2, 3].map(p => word(at.with(tile, at[tile] + p)))
        const i = position(s.buffer, s.index, at, floor).text
        put(levels[epilogue], `${element(s.buffer, i)} = vec4<${type}>(${words.join(', ')});`)
        return
      }
      const i = position(s.buffer, s.index, at, floor).text
      const raw = bindingType(k, slots, slots[s.buffer].binding) !== type
      const into = element(s.buffer, i)
      const old = raw ? `bitcast<${type}>(${into})` : into
      const sum = s.mode === 'add' ? `${old} + ${word(at)}` : word(at)
      put(levels[s.mode === 'add' ? depth : epilogue], `${into} = ${raw ? `bitcast<u32>(${sum})` : sum};`)
    },
  }
}

const isArg = (k: Kernel, accumulator: number): boolean => k.accumulators[accumulator].how.startsWith('arg')

/** The row-major position in the reduce axes. */
function flatReduceIndex({ axes }: Kernel): Affine {
  const reduced = [...axes.entries()].filter(([, a]) => a.kind === 'reduce')
  return flatten(
    reduced.map(([i, a]) => axis(i, a.extent)),
    reduced.map(([, a]) => a.extent),
  )
}

/** The number that an index expression is, where it is one. */
const constantOf = (text: string): number | null => {
  const [, digits] = text.match(/^\(?(-?\d+)\)?$/) ?? []
  return digits === undefined ? null : Number(digits)
}

const paren = (text: string) => (text.startsWith('-') ? `(${text})` : text)
