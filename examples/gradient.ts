/** A function and its gradient, run on the best backend there is. Prints f(x) and df/dx. */
import * as ct from 'cotangent'
import { openBackend } from 'cotangent/node'

type Vector = ct.Tensor<readonly [3], 'f32'>

/** log(1 + sum of x^2) */
const f = (x: Vector) => ct.log1p(ct.sum(ct.square(x)))

export async function main(): Promise<{ value: number; gradient: number[] }> {
  const backend = await ct.unwrap(openBackend('auto'))
  const run = ct.jit(ct.valueAndGrad(f), backend)
  const [value, gradient] = await run(ct.array([3], 'f32', [1, 2, 3]))
  backend.close()
  return { value: value.data[0], gradient: [...gradient.data] }
}

if (process.argv[1]?.endsWith('gradient.ts')) console.log(await main())
