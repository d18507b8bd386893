/**
 * Writes small `torch.save` files and pickles by hand, right or wrong in any part: what PyTorch's own writer would
 * refuse to write. In: values and storages. Out: bytes. Only what the tests need of the formats.
 */
import { crc32 } from './png-writer.ts'

/** A class or function by name, or a call of one: what a pickle may ask for. */
export interface Call {
  readonly call: string
  readonly args?: readonly Value[]
}
/** A persistent id. */
export interface Id {
  readonly id: readonly Value[]
}
export type Value = null | boolean | number | string | readonly Value[] | Map<string, Value> | Call | Id

const bytesOf = (...parts: (number | string | Uint8Array)[]): Buffer =>
  Buffer.concat(parts.map(p => (typeof p === 'number' ? Buffer.from([p]) : Buffer.from(p))))
const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4)
  b.writeUInt32LE(n >>> 0)
  return b
}
const u16 = (n: number): Buffer => u32(n).subarray(0, 2)
const i64 = (n: number): Buffer => {
  const b = Buffer.alloc(8)
  b.writeBigInt64LE(BigInt(n))
  return b
}

/** A pickle of protocol 2. Arrays become tuples, maps dictionaries. */
export const pickle = (value: Value): Buffer => bytesOf(0x80, 2, body(value), '.')

function body(value: Value): Buffer {
  if (value === null) return bytesOf('N')
  if (typeof value === 'boolean') return bytesOf(value ? 0x88 : 0x89)
  if (typeof value === 'number')
    return Number.isInteger(value) ? bytesOf(0x8a, 8, i64(value)) : bytesOf('G', float(value))
  if (typeof value === 'string') return bytesOf('X', u32(Buffer.byteLength(value)), value)
  if (value instanceof Map)
    return bytesOf('}', '(', ...[...value].flatMap(([k, v]) => [body(k), body(v)]), 'u')
  if ('call' in value) {
    const dot = value.call.lastIndexOf('.')
    const global = bytesOf('c', `${value.call.slice(0, dot)}\n${value.call.slice(dot + 1)}\n`)
    return value.args ? bytesOf(global, body(value.args), 'R') : global
  }
  if ('id' in value) return bytesOf(body(value.id), 'Q')
  return bytesOf('(', ...value.map(body), 't')
}

function float(x: number): Buffer {
  const b = Buffer.alloc(8)
  b.writeDoubleBE(x)
  return b
}

/** The storage `key` of `count` elements. */
export const storage = (key: string, count: number, type = 'torch.FloatStorage', view: Value = null): Id => ({
  id: ['storage', { call: type }, key, 'cpu', count, view],
})
/** A tensor as `torch.save` writes it. */
export const tensor = (
  of: Value,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
): Call => ({
  call: 'torch._utils._rebuild_tensor_v2',
  args: [of, offset, shape, strides, false, { call: 'collections.OrderedDict', args: [] }],
})

/** A file of the stream: storages in order, each with its count and bytes. */
export const stream = (
  object: Value,
  storages: readonly { readonly key: string; readonly count: number; readonly bytes: Uint8Array }[] = [],
  { version = 1001, littleEndian = true } = {},
): Buffer =>
  bytesOf(
    Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex'),
    pickle(version),
    pickle(new Map<string, Value>([['little_endian', littleEndian]])),
    pickle(object),
    pickle(storages.map(s => s.key)),
    ...storages.flatMap(s => [i64(s.count), s.bytes]),
  )

/** What one entry of an archive may have wrong. */
export interface Entry {
  readonly name: string
  readonly data: Uint8Array
  readonly method?: number
  readonly flags?: number
  readonly crc?: number
  /** Claimed instead of the true one. */
  readonly size?: number
  readonly offset?: number
  readonly localName?: string
}

/** A zip archive; `wide` puts sizes and places into zip64 records. */
export function zip(entries: readonly Entry[], { wide = false } = {}): Buffer {
  const parts: Buffer[] = []
  const central: Buffer[] = []
  let at = 0
  for (const e of entries) {
    const { name, data, method = 0, flags = 0, crc = crc32(data), size = data.length, offset = at } = e
    const localName = e.localName ?? name
    const local = bytesOf(
      'PK',
      3,
      4,
      u16(20),
      u16(flags),
      u16(method),
      u32(0),
      u32(crc),
      u32(size),
      u32(size),
    )
    parts.push(bytesOf(local, u16(Buffer.byteLength(localName)), u16(0), localName, data))
    at += parts[parts.length - 1].length
    const extra = wide ? bytesOf(u16(1), u16(24), i64(size), i64(size), i64(offset)) : bytesOf()
    const [n, o] = wide ? [0xffffffff, 0xffffffff] : [size, offset]
    central.push(
      bytesOf('PK', 1, 2, u16(20), u16(20), u16(flags), u16(method), u32(0), u32(crc), u32(n), u32(n)),
      bytesOf(
        u16(Buffer.byteLength(name)),
        u16(extra.length),
        u16(0),
        u16(0),
        u16(0),
        u32(0),
        u32(o),
        name,
        extra,
      ),
    )
  }
  const directory = Buffer.concat(central)
  const count = entries.length
  const record = bytesOf('PK', 6, 6, i64(44), u16(45), u16(45), u32(0), u32(0), i64(count), i64(count))
  const locator = bytesOf('PK', 6, 7, u32(0), i64(at + directory.length), u32(1))
  return bytesOf(
    ...parts,
    directory,
    ...(wide ? [record, i64(directory.length), i64(at), locator] : []),
    ...['PK', 5, 6, u16(0), u16(0), u16(wide ? 0xffff : count), u16(wide ? 0xffff : count)],
    ...[u32(wide ? 0xffffffff : directory.length), u32(wide ? 0xffffffff : at), u16(0)],
  )
}

/** A file of the archive format. */
export const archive = (object: Value, storages: Readonly<Record<string, Uint8Array>> = {}): Buffer =>
  zip([
    { name: 'archive/data.pkl', data: pickle(object) },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
    { name: 'archive/version', data: Buffer.from('3\n') },
  ])

/** The bytes of 32-bit floats. */
export const floats = (...values: number[]): Uint8Array => new Uint8Array(new Float32Array(values).buffer)
