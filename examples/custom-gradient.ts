/**
 * A derivative rule of one's own: x log x with the derivative that it should have at 0, and a check of the rule against
 * differences. A wrong rule is a CheckError with the worst element.
 */
import * as ct from 'cotangent'
import { checkGrads } from 'cotangent/testing'

/** x log x, 0 at 0; its derivative 1 + log x is kept above -20. */
const xlogx = ct.custom('xlogx', x => [ct.where(ct.greater(x, 0), ct.mul(x, ct.log(x)), 0)], {
  vjp: ([x], _, [dy]) => [ct.mul(dy, ct.add(ct.clamp(ct.log(x), { min: -21 }), 1))],
  jvp: ([x], _, [dx]) => [ct.mul(dx, ct.add(ct.clamp(ct.log(x), { min: -21 }), 1))],
})
const entropy = (p: ct.Tensor) => ct.neg(ct.sum(xlogx(p)[0]))

export function main(): { atZero: number; report: ReturnType<typeof checkGrads> } {
  const report = checkGrads(entropy, [ct.array([4], 'f64', [0.1, 0.2, 0.3, 0.4])])
  const gradient = ct.evaluate(ct.grad(entropy)(ct.tensor([0, 0.5])))
  return { atZero: gradient.data[0], report }
}

if (process.argv[1]?.endsWith('custom-gradient.ts')) console.log(main())
