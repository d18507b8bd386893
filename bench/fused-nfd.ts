/**
 * NFD composed of standardise and compare against its fused form (src/nfd/fused.ts): value and gradient of one
 * term, in turns in one process, so that what disturbs the machine disturbs both. Prints the fastest of the rounds
 * and their ratio. Run: node --import tsx bench/fused-nfd.ts [backend] [batch,channels,height,width]
 */
import { availableParallelism, cpus } from 'node:os'
import { valueAndGrad } from '../src/autodiff/grad.ts'
import { compile, unwrap } from '../src/backend/compile.ts'
import { array } from '../src/dsl/array.ts'
import { mean, mul, stopGradient, sub } from '../src/dsl/build.ts'
import { standardise } from '../src/dsl/ops/norm.ts'
import type { Tensor } from '../src/dsl/tensor.ts'
import { key, uniformAt } from '../src/dsl/threefry.ts'
import { standardisedError } from '../src/nfd/fused.ts'
import { floats } from '../src/nn/feature.ts'
import { backendNames, openBackend } from '../src/node.ts'

const rounds = 40
const eps = 1e-5
const forms = {
  composed: (s: Tensor, t: Tensor) => {
    const N = (x: Tensor): Tensor => standardise(floats('bench', x), { axes: [2, 3], eps })
    const d = sub(N(s), N(t))
    return mean(mul(d, d))
  },
  fused: (s: Tensor, t: Tensor) => standardisedError(s, t, [2, 3], eps),
}

const [name = 'cpu', size = '4,256,64,64'] = process.argv.slice(2)
const chosen = backendNames.find(b => b === name)
if (chosen === undefined) throw new Error(`the backends are ${backendNames.join(', ')}; got ${name}`)
const backend = await unwrap(openBackend(chosen))
const shape = size.split(',').map(Number)
const features = (seed: number) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => uniformAt(key(seed), i))
  return array(shape, 'f32', data)
}
const [s, t] = [features(1), features(2)]
const compiled = await Promise.all(
  Object.entries(forms).map(async ([form, f]) => {
    const both = (x: Tensor, y: Tensor) => valueAndGrad((a: Tensor) => f(a, stopGradient(y)))(x)
    return {
      form,
      run: await unwrap(compile(both, [s, t], backend)),
      best: Number.POSITIVE_INFINITY,
      loss: 0,
    }
  }),
)
for (let round = 0; round < rounds; round++)
  for (const entry of compiled) {
    const begun = performance.now()
    const [loss] = await entry.run(s, t)
    if (round > 1) entry.best = Math.min(entry.best, performance.now() - begun)
    entry.loss = Number(loss.data[0])
  }
console.log(
  `${backend.description}; ${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} threads`,
)
for (const { form, best, loss } of compiled)
  console.log(`${form.padEnd(9)} f32[${shape}]  ${best.toFixed(2)} ms  loss ${loss}`)
console.log(`composed / fused = ${(compiled[0].best / compiled[1].best).toFixed(2)}`)
backend.close()
