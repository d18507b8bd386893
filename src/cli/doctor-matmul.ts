/**
 * A known product on a backend. In: a backend and a size. Out: whether it is right, and how fast. The factors are small whole
 * numbers, so that every partial sum is exact in f32 in any order: the answer must be equal, not close.
 */
import type { Backend } from '../backend/backend.ts'
import { compile, dispose, unwrap } from '../backend/compile.ts'
import { array, type NDArray } from '../dsl/array.ts'
import { matmul } from '../dsl/ops/linalg.ts'
import { spec } from '../dsl/trace.ts'

/** What came of it. */
export interface MatmulResult {
  readonly n: number
  /** Null if every element is right; else the first that is not. */
  readonly wrong: string | null
  readonly gflops: number
  /** Of one product, the best of several, without copies. */
  readonly milliseconds: number
}

/** Whole numbers from -3 to 3, without a period that divides a tile. */
const factor = (n: number, by: number): NDArray<readonly [number, number], 'f32'> =>
  array(
    [n, n],
    'f32',
    Array.from({ length: n * n }, (_, i) => ((Math.floor(i / n) * by + (i % n) * 5) % 7) - 3),
  )

/** The product by three loops. */
export function productOf(a: NDArray, b: NDArray, n: number): Float64Array {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) {
      const x = Number(a.data[i * n + k])
      for (let j = 0; j < n; j++) out[i * n + j] += x * Number(b.data[k * n + j])
    }
  return out
}

/**
 * Multiplies two n x n matrices on a backend.
 * @param repeat  products that are timed
 * @throws what compiling and running throw
 * @example const { wrong, gflops } = await knownMatmul(backend, 256, 10)
 */
export async function knownMatmul(backend: Backend, n: number, repeat: number): Promise<MatmulResult> {
  const [a, b] = [factor(n, 3), factor(n, 2)]
  const run = await unwrap(compile(matmul, [spec([n, n]), spec([n, n])], backend))
  const { data } = await run(a, b)
  const right = productOf(a, b, n)
  const at = right.findIndex((x, i) => x !== Number(data[i]))
  const wrong =
    at < 0 ? null : `element [${Math.floor(at / n)}, ${at % n}] is ${data[at]}, and should be ${right[at]}`
  const copy = await unwrap(compile((x: Parameters<typeof matmul>[0]) => x, [spec([n, n])], backend))
  const [x, y] = [await copy.resident([a]), await copy.resident([b])]
  let best = Infinity
  for (let i = 0; i < 3; i++) {
    const before = performance.now()
    // one after another on the device; reading the last waits for all of them
    for (let k = 1; k < repeat; k++) dispose(await run.resident([x, y]))
    const last = await run.resident([x, y])
    await last.read()
    best = Math.min(best, (performance.now() - before) / repeat)
    dispose(last)
  }
  dispose([x, y])
  return { n, wrong, milliseconds: best, gflops: (2 * n ** 3) / best / 1e6 }
}
