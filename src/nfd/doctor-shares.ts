/**
 * How much each term counts in a loss that is only known as a whole. In: products of gradients, as `probe` measures them.
 * Out: weights. Pure.
 */
import type { NDArray } from '../dsl/array.ts'

/** The middle, the end, the beginning, and steps between them. */
export function probedSteps(steps: number): readonly number[] {
  const between = Array.from({ length: 33 }, (_, i) => Math.round((i * (steps - 1)) / 32))
  const early = Array.from({ length: 20 }, (_, i) => 2 ** i).filter(s => s < steps)
  return [...new Set([Math.floor(steps / 2), steps - 1, 0, ...between, ...early])]
}

/** A share of the total's gradient below this part of the largest is rounding. */
const rounding = 1e-5

/**
 * w with total = sum of w_i term_i, from products of gradients; a term whose part is only rounding has the weight 0.
 * Terms are scaled to norm 1 first, and a ridge divides what parallel ones share.
 */
export function leastSquares(gram: NDArray, product: NDArray): readonly number[] {
  const n = product.data.length
  const norms = Array.from({ length: n }, (_, i) => Math.sqrt(Number(gram.data[i * n + i])))
  const scale = norms.map(x => (x > 0 ? 1 / x : 0))
  const rows = norms.map((_, i) => [
    ...norms.map((__, j) => Number(gram.data[i * n + j]) * scale[i] * scale[j] + (i === j ? 1e-9 : 0)),
    Number(product.data[i]) * scale[i],
  ])
  for (let i = 0; i < n; i++) {
    const pivot = rows.reduce(
      (best, r, k) => (k >= i && Math.abs(r[i]) > Math.abs(rows[best][i]) ? k : best),
      i,
    )
    ;[rows[i], rows[pivot]] = [rows[pivot], rows[i]]
    const head = rows[i].map(x => x / rows[i][i])
    rows[i] = head
    rows.forEach((r, k) => {
      if (k !== i) rows[k] = r.map((x, j) => x - r[i] * head[j])
    })
  }
  const parts = rows.map(r => r[n])
  const most = Math.max(...parts.map(Math.abs))
  return parts.map((part, i) => (Math.abs(part) <= rounding * most ? 0 : part * scale[i]))
}
