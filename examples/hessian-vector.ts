/**
 * A Hessian times a vector without the Hessian: the derivative, along v, of the gradient (forward over reverse). Prints
 * H v of Rosenbrock's function beside the product with the Hessian written out.
 */
import * as ct from 'cotangent'
import { openBackend } from 'cotangent/node'

type Vector = ct.Tensor<readonly [2], 'f32'>

/** (1 - x)^2 + 100 (y - x^2)^2 */
const rosenbrock = (p: Vector) => {
  const x = ct.sum(ct.slice(p, { starts: [0], stops: [1] }))
  const y = ct.sum(ct.slice(p, { starts: [1], stops: [2] }))
  return ct.add(ct.square(ct.sub(1, x)), ct.mul(ct.square(ct.sub(y, ct.square(x))), 100))
}
const hessianVector = (p: Vector, v: Vector) => ct.jvp(ct.grad(rosenbrock), p, v)[1]

export async function main(): Promise<{ product: number[]; expected: number[] }> {
  const backend = await ct.unwrap(openBackend('auto'))
  const [x, y, a, b] = [0.5, -0.25, 1, 2]
  const product = await ct.jit(hessianVector, backend)(
    ct.array([2], 'f32', [x, y]),
    ct.array([2], 'f32', [a, b]),
  )
  backend.close()
  const mixed = -400 * x
  const expected = [(2 - 400 * y + 1200 * x * x) * a + mixed * b, mixed * a + 200 * b]
  return { product: [...product.data], expected }
}

if (process.argv[1]?.endsWith('hessian-vector.ts')) console.log(await main())
