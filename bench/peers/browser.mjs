/**
 * What rivals look for in a browser: `navigator`, with the number of threads and, where it is asked for, WebGPU
 * through the same Dawn and adapter that Cotangent uses. In: the environment's BENCH_DAWN (path of dawn.node) and
 * BENCH_ADAPTER (its name as WebGPU reports it).
 */
import { createRequire } from 'node:module'

/** The process dies when one of these is collected while anything made from it is used. */
let gpu
let nobody

export async function installBrowser({ webgpu, threads }) {
  if (webgpu) {
    if (!process.env.BENCH_DAWN) throw new Error('there is no Dawn here')
    const { create, globals } = createRequire(import.meta.url)(process.env.BENCH_DAWN)
    Object.assign(globalThis, globals)
    const adapter = process.env.BENCH_ADAPTER && (await fullName(create, process.env.BENCH_ADAPTER))
    gpu = create(adapter ? [`adapter=${adapter}`] : [])
  }
  Object.defineProperty(globalThis, 'navigator', {
    value: {
      gpu,
      userAgent: `Node.js ${process.version}`,
      hardwareConcurrency: threads || 1,
      language: 'en',
    },
    configurable: true,
  })
}

/** The driver's own name of an adapter: asked for one that nothing bears, Dawn names all in its error. */
async function fullName(create, part) {
  const dashed = name => name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
  nobody = create(['adapter=\u0001'])
  const said = await nobody.requestAdapter({}).then(
    () => '',
    e => e.message,
  )
  return [...said.matchAll(/name: '(.*)'/g)].map(m => m[1]).find(name => dashed(name).includes(part))
}
