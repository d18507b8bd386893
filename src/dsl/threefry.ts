/**
 * Threefry-2x32, 20 rounds: the counter-based generator behind every key. Counter in, bits out, no state.
 * This is the meaning on the host; `backend/lower.ts` spells the same rounds as scalar operations.
 * @see Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11
 */

/** The rotation of each of eight rounds, repeated (the paper's table 2, Threefry-2x32). */
export const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const
/** The key schedule's parity constant (Skein's C240, lower word). */
export const parity = 0x1bd11bda
export const rounds = 20

/** A key of the generator: two 32-bit words. */
export type Key = readonly [number, number]

/**
 * Encrypts a 64-bit counter under a 64-bit key.
 * @returns two u32 words
 * @example threefry2x32([0, 0], 0, 0) // [0x6b200159, 0x99ba4efe], the authors' known-answer test
 */
export function threefry2x32(key: Key, counter0: number, counter1: number): [number, number] {
  const ks = [key[0] >>> 0, key[1] >>> 0, (key[0] ^ key[1] ^ parity) >>> 0]
  let x0 = (counter0 + ks[0]) >>> 0
  let x1 = (counter1 + ks[1]) >>> 0
  for (let i = 0; i < rounds; i++) {
    const r = rotations[i % 8]
    x0 = (x0 + x1) >>> 0
    x1 = ((x1 << r) | (x1 >>> (32 - r))) >>> 0
    x1 = (x1 ^ x0) >>> 0
    if (i % 4 === 3) {
      const s = (i + 1) / 4
      x0 = (x0 + ks[s % 3]) >>> 0
      x1 = (x1 + ks[(s + 1) % 3] + s) >>> 0
    }
  }
  return [x0, x1]
}

/** The key of a seed. `key(42)` */
export const key = (seed: number): Key => [Math.floor(seed / 2 ** 32) >>> 0, seed >>> 0]

/**
 * A new key from a key and a number (or a name's hash): `foldIn(key, step)`. Independent streams for
 * independent data.
 */
export const foldIn = (k: Key, data: number): Key => threefry2x32(k, data >>> 0, 0x5eed)

/** `n` independent keys. */
export const split = (k: Key, n = 2): Key[] =>
  Array.from({ length: n }, (_, i) => threefry2x32(k, i, 0x51717))

/** The i-th uniform in [0, 1) of a key, with 24 bits, the same number as the tensor `uniform` gives at index i. */
export const uniformAt = (k: Key, i: number): number => (threefry2x32(k, i >>> 0, 0)[0] >>> 8) * 2 ** -24

/** A permutation of 0..n-1 (Fisher-Yates driven by the key). */
export function permutationOf(k: Key, n: number): number[] {
  const p = Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(uniformAt(k, i) * (i + 1))
    const t = p[i]
    p[i] = p[j]
    p[j] = t
  }
  return p
}
