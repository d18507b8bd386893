/**
 * What rivals look for in a browser: `navigator`, with the number of threads and, where it is asked for, WebGPU
 * through the same Dawn and adapter that Cotangent uses. In: the environment's BENCH_DAWN (path of dawn.node) and
 * BENCH_ADAPTER (its name, may be empty).
 */
import { createRequire } from 'node:module'

/** The process dies when this is collected while anything made from it is used. */
let gpu

export function installBrowser({ webgpu, threads }) {
  if (webgpu) {
    if (!process.env.BENCH_DAWN) throw new Error('there is no Dawn here')
    const { create, globals } = createRequire(import.meta.url)(process.env.BENCH_DAWN)
    Object.assign(globalThis, globals)
    const adapter = process.env.BENCH_ADAPTER
    gpu = create(adapter ? [`adapter=${adapter}`] : [])
  }
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu, userAgent: `Node.js ${process.version}`, hardwareConcurrency: threads || 1, language: 'en' },
    configurable: true,
  })
}
