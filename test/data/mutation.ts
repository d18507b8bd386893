/** Damage for files: what fuzz tests do to valid bytes. In: an arbitrary of edits. Out: the damaged bytes. */
import fc from 'fast-check'

/** One change at a place, which is taken modulo the length. */
export type Edit =
  | { readonly at: number; readonly byte: number }
  | { readonly at: number; readonly flip: number }
  | { readonly at: number; readonly cut: true }
  | { readonly at: number; readonly insert: Uint8Array }
  | { readonly at: number; readonly remove: number }
  | { readonly at: number; readonly field: bigint; readonly bytes: 2 | 4 | 8 }

const at = fc.nat()
/** One to four edits: bytes, bits, cuts, insertions, deletions, and extreme values in what may be length fields. */
export const edits: fc.Arbitrary<Edit[]> = fc.array(
  fc.oneof<fc.Arbitrary<Edit>[]>(
    fc.record({ at, byte: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ at, flip: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ at, cut: fc.constant<true>(true) }),
    fc.record({ at, insert: fc.uint8Array({ minLength: 1, maxLength: 9 }) }),
    fc.record({ at, remove: fc.integer({ min: 1, max: 9 }) }),
    fc.record({
      at,
      field: fc.constantFrom(
        0n,
        1n,
        255n,
        0x7fffffffn,
        0xffffffffn,
        2n ** 53n,
        2n ** 63n - 1n,
        2n ** 64n - 1n,
      ),
      bytes: fc.constantFrom<2 | 4 | 8>(2, 4, 8),
    }),
  ),
  { minLength: 1, maxLength: 4 },
)

/** The bytes after the edits; the input is left as it is. */
export function damage(bytes: Uint8Array, changes: readonly Edit[]): Uint8Array {
  let out = Uint8Array.from(bytes)
  for (const edit of changes) {
    const place = edit.at % (out.length + 1)
    if ('cut' in edit) out = out.slice(0, place)
    else if ('insert' in edit)
      out = Uint8Array.from([...out.slice(0, place), ...edit.insert, ...out.slice(place)])
    else if ('remove' in edit)
      out = Uint8Array.from([...out.slice(0, place), ...out.slice(place + edit.remove)])
    else if ('byte' in edit) out[place] = edit.byte
    else if ('flip' in edit) out[place] ^= 1 << edit.flip
    else for (let i = 0; i < edit.bytes; i++) out[place + i] = Number((edit.field >> BigInt(8 * i)) & 255n)
  }
  return out
}
