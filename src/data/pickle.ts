/**
 * Python's pickle format as data. In: bytes of protocol 2 to 5. Out: the value, with every object of a class as an
 * inert record: nothing is imported, called or executed. A pickle is a program for a stack machine, whose
 * instructions only push and join values here; those that name a class (GLOBAL) or call it (REDUCE, NEWOBJ) make a
 * record, unless the caller's `reduce` gives a name a meaning.
 *
 * Bounds: `limits.bytes` of input, `limits.steps` instructions. Each instruction makes at most one value, of no more
 * memory than about 300 bytes and its own text, so that a pickle takes less than 1 GB whatever it says (docs/weights.md).
 * @see https://github.com/python/cpython/blob/main/Lib/pickletools.py, the instructions and their meaning
 */
import { DataError } from '../dsl/errors.ts'
import { type Inert, isInert, type Pickled } from './pickled.ts'

/** What gives names a meaning. */
export interface Handlers<X> {
  /** The value of a call, or undefined: then it stays an inert record. */
  readonly reduce: (name: string, args: readonly Pickled<X>[]) => Pickled<X> | undefined
  /** The value of a persistent id. */
  readonly persistent: (id: Pickled<X>) => Pickled<X>
}

/** A value, and where its pickle ends. */
export interface Unpickled<X> {
  readonly value: Pickled<X>
  /** The position behind the last instruction. */
  readonly end: number
  /** The calls that stayed inert, in their order. */
  readonly inert: readonly Inert<X>[]
}

/** The bounds of a pickle: a network's state dict takes about 250 bytes and 40 instructions a tensor. */
export const limits = { bytes: 32 * 2 ** 20, steps: 2_000_000, integerBytes: 1024, name: 1000 } as const

/**
 * Reads a pickle.
 * @param bytes  may go on behind the pickle
 * @param path   begins the messages of errors
 * @param from   where the pickle begins
 * @throws DataError if it is damaged, beyond the limits, or uses what PyTorch's files do not (protocols 0 and 1,
 *   extension codes, buffers out of band)
 * @example unpickle(bytes, { reduce: () => undefined, persistent: id => id }, 'a.pkl').value
 */
export function unpickle<X>(bytes: Uint8Array, handlers: Handlers<X>, path: string, from = 0): Unpickled<X> {
  return new Machine(bytes, handlers, path, from).run()
}

interface Tuples<T> {
  1: [T]
  2: [T, T]
  3: [T, T, T]
}

/** The stack machine of one pickle. */
class Machine<X> {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #handlers: Handlers<X>
  readonly #path: string
  readonly #memo = new Map<number, Pickled<X>>()
  readonly #marks: number[] = []
  readonly #inert: Inert<X>[] = []
  readonly #stack: Pickled<X>[] = []
  #at: number

  constructor(bytes: Uint8Array, handlers: Handlers<X>, path: string, from: number) {
    this.#bytes = bytes.subarray(0, from + limits.bytes)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, this.#bytes.length)
    this.#handlers = handlers
    this.#path = path
    this.#at = from
  }

  run(): Unpickled<X> {
    for (let steps = 0; steps < limits.steps; steps++) {
      const code = this.#u8()
      if (code === 0x2e) return this.#stop()
      const value = this.#pushed(code)
      if (value === undefined) this.#act(code)
      else this.#stack.push(value)
    }
    throw this.#error(`it has more than ${limits.steps} instructions`)
  }

  /** STOP */
  #stop(): Unpickled<X> {
    const value = this.#pop()
    if (this.#stack.length > 0) throw this.#error(`it ends with ${this.#stack.length} values too many`)
    return { value, end: this.#at, inert: this.#inert }
  }

  #error(what: string): DataError {
    return new DataError(
      `${this.#path}: the pickle is damaged or no state dict: ${what} (at byte ${this.#at})`,
    )
  }

  // The names are those of the format; pickletools prints the same.
  /** The value that an instruction pushes; undefined if it pushes none. */
  #pushed(code: number): Pickled<X> | undefined {
    switch (code) {
      case 0x32: // DUP
        return this.#top()
      case 0x4e: // NONE
        return null
      case 0x88: // NEWTRUE
        return true
      case 0x89: // NEWFALSE
        return false
      case 0x4a: // BININT
        return this.#view.getInt32(this.#take(4), true)
      case 0x4b: // BININT1
        return this.#u8()
      case 0x4d: // BININT2
        return this.#view.getUint16(this.#take(2), true)
      case 0x8a: // LONG1
        return this.#long(this.#u8())
      case 0x8b: // LONG4
        return this.#long(this.#u32())
      case 0x47: // BINFLOAT, the one big-endian number
        return this.#view.getFloat64(this.#take(8), false)
      case 0x8c: // SHORT_BINUNICODE
        return this.#text(this.#u8())
      case 0x58: // BINUNICODE
        return this.#text(this.#u32())
      case 0x8d: // BINUNICODE8
        return this.#text(this.#uint64())
      case 0x55: // SHORT_BINSTRING, Python 2's str
        return this.#latin(this.#u8())
      case 0x54: // BINSTRING
        return this.#latin(this.#u32())
      case 0x43: // SHORT_BINBYTES
        return this.#slice(this.#u8())
      case 0x42: // BINBYTES
        return this.#slice(this.#u32())
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#slice(this.#uint64())
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
      case 0x8f: // EMPTY_SET
        return []
      case 0x7d: // EMPTY_DICT
        return new Map()
      case 0x6c: // LIST
      case 0x74: // TUPLE
      case 0x91: // FROZENSET
        return this.#toMark()
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#popMany(code === 0x85 ? 1 : code === 0x86 ? 2 : 3)
      case 0x64: // DICT
        return this.#setItems(new Map(), this.#toMark())
      case 0x68: // BINGET
        return this.#recall(this.#u8())
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#u32())
      case 0x63: // GLOBAL
        return this.#reference(this.#line(), this.#line())
      case 0x93: // STACK_GLOBAL
        return this.#reference(...this.#popMany(2))
      case 0x52: // REDUCE
      case 0x81: // NEWOBJ
        return this.#call(...this.#popMany(2))
      case 0x92: // NEWOBJ_EX
        return this.#call(...this.#popMany(3))
      case 0x51: // BINPERSID
        return this.#handlers.persistent(this.#pop())
      default:
        return undefined
    }
  }

  /** An instruction that pushes nothing. */
  #act(code: number): void {
    switch (code) {
      case 0x80: // PROTO
        this.#protocol(this.#u8())
        break
      case 0x95: // FRAME
        this.#uint64()
        break
      case 0x28: // MARK
        this.#marks.push(this.#stack.length)
        break
      case 0x30: // POP
        if (this.#marks.at(-1) === this.#stack.length) this.#marks.pop()
        else this.#pop()
        break
      case 0x31: // POP_MARK
        this.#toMark()
        break
      case 0x61: // APPEND
        this.#append(this.#popMany(1))
        break
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        this.#append(this.#toMark())
        break
      case 0x73: {
        // SETITEM
        const items = this.#popMany(2)
        this.#setItems(this.#top(), items)
        break
      }
      case 0x75: {
        // SETITEMS
        const items = this.#toMark()
        this.#setItems(this.#top(), items)
        break
      }
      case 0x71: // BINPUT
        this.#memo.set(this.#u8(), this.#top())
        break
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#u32(), this.#top())
        break
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top())
        break
      case 0x62: // BUILD
        this.#build(this.#pop(), this.#top())
        break
      default:
        throw this.#error(`the instruction 0x${code.toString(16)} is none that PyTorch writes`)
    }
  }

  #protocol(version: number): void {
    if (version < 2 || version > 5) throw this.#error(`protocol ${version} is not one of 2 to 5`)
  }

  #pop(): Pickled<X> {
    const value = this.#top()
    this.#stack.pop()
    return value
  }

  /** The topmost value above the last mark. */
  #top(): Pickled<X> {
    const value = this.#stack.at(-1)
    if (value === undefined || this.#stack.length <= (this.#marks.at(-1) ?? 0))
      throw this.#error('it takes a value that is not there')
    return value
  }

  #popMany<N extends 1 | 2 | 3>(n: N): Tuples<Pickled<X>>[N] {
    const values = Array.from({ length: n }, () => this.#pop()).reverse()
    return values as Tuples<Pickled<X>>[N] // n of them
  }

  #toMark(): Pickled<X>[] {
    const mark = this.#marks.pop()
    if (mark === undefined) throw this.#error('it takes values up to a mark that is not there')
    const values = this.#stack.slice(mark)
    this.#stack.length = mark
    return values
  }

  #recall(index: number): Pickled<X> {
    const value = this.#memo.get(index)
    if (value === undefined) throw this.#error(`it recalls value ${index}, which it did not keep`)
    return value
  }

  #append(values: readonly Pickled<X>[]): void {
    const target = this.#top()
    if (!Array.isArray(target) && !isInert(target)) throw this.#error('it appends to what is no list')
    const into: Pickled<X>[] = isInert(target) ? contentsOf(target) : target
    for (const value of values) into.push(value)
  }

  #setItems(target: Pickled<X>, items: readonly Pickled<X>[]): Pickled<X> {
    if (items.length % 2 !== 0) throw this.#error('a key without a value')
    if (isInert(target)) for (const item of items) contentsOf(target).push(item)
    else if (target instanceof Map)
      for (let i = 0; i < items.length; i += 2) target.set(items[i], items[i + 1])
    else throw this.#error('it sets an entry of what is no dictionary')
    return target
  }

  /** The attributes of a dictionary, such as `_metadata` of a state dict, are no entries of it: they are left out. */
  #build(state: Pickled<X>, object: Pickled<X>): void {
    if (isInert(object)) contentsOf(object).push(state)
  }

  #reference(module: Pickled<X>, name: Pickled<X>): Inert<X> {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.#error('a class without a name')
    // A long text can be named again by two instructions: the bound on memory holds because names are short.
    if (module.length > limits.name || name.length > limits.name)
      throw this.#error(`the name of a class has more than ${limits.name} characters`)
    return { kind: 'inert', name: `${module}.${name}`, args: undefined, contents: [] }
  }

  /** A call has a meaning only if `reduce` gives its name one. Keyword arguments follow the others in a record. */
  #call(callable: Pickled<X>, args: Pickled<X>, named?: Pickled<X>): Pickled<X> {
    if (!isInert<X>(callable)) throw this.#error('it calls what is no class or function')
    const list = Array.isArray(args) ? (args as readonly Pickled<X>[]) : [args]
    const isName = callable.args === undefined
    const value = isName && named === undefined ? this.#handlers.reduce(callable.name, list) : undefined
    if (value !== undefined) return value
    const record: Inert<X> = {
      kind: 'inert',
      name: isName ? callable.name : `${callable.name.slice(0, 200)}()`,
      args: named === undefined ? list : [...list, named],
      contents: [],
    }
    this.#inert.push(record)
    return record
  }

  /** The position of the next n bytes, which are then behind. */
  #take(n: number): number {
    const at = this.#at
    if (at + n > this.#bytes.length)
      throw this.#error(
        `it goes on beyond byte ${this.#bytes.length}; it is cut short, or longer than ${limits.bytes} bytes`,
      )
    this.#at = at + n
    return at
  }

  #u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  #u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  #uint64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true))
  }

  #slice(n: number): Uint8Array {
    const at = this.#take(n)
    return this.#bytes.subarray(at, at + n)
  }

  #text(n: number): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#slice(n))
    } catch (error) {
      if (error instanceof DataError) throw error
      throw this.#error('a text is not UTF-8')
    }
  }

  #latin(n: number): string {
    return Buffer.from(this.#slice(n)).toString('latin1')
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at)
    if (end < 0 || end - this.#at > limits.name) throw this.#error('the name of a class has no end')
    const text = this.#text(end - this.#at)
    this.#take(1)
    return text
  }

  /** A two's complement integer of n bytes, the lowest first. */
  #long(n: number): number | bigint {
    if (n > limits.integerBytes)
      throw this.#error(`an integer of ${n} bytes; at most ${limits.integerBytes} are read`)
    const bytes = this.#slice(n)
    if (n === 0) return 0
    const value = BigInt.asIntN(8 * n, BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`))
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  }
}

/** The list of a record's contents, which is written only while its pickle is read. */
const contentsOf = <X>(record: Inert<X>): Pickled<X>[] => record.contents as Pickled<X>[]
