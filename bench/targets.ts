/**
 * How fast Cotangent means to be, as ratios in one run. In: results. Out: each target with what was measured. A ratio
 * is the rival's time over Cotangent's: 2 is twice as fast, 0.25 within four times.
 */
import type { Outcome, Result } from './types.ts'

/** A target: the rivals' best time over Cotangent's is to be at least so much. */
export interface Target {
  readonly workload: string
  readonly own: 'cpu' | 'webgpu'
  /** A part of the rivals' names; the fastest that matches counts. */
  readonly rival: RegExp
  readonly title: string
  readonly least: number
}

const target = (
  workload: string,
  own: Target['own'],
  title: string,
  rival: RegExp,
  least: number,
): Target => ({ workload, own, title, rival, least })
const torch = /^torch (\d+T|nhwc)$/
const jax = /^jax-js/

/** With all cores. */
export const targets: readonly Target[] = [
  ...['matmul512', 'matmul1024'].flatMap(w => [
    target(w, 'cpu', 'tfjs wasm', /^tfjs wasm/, 2.5),
    target(w, 'cpu', 'onnxruntime-web', /^ort-web/, 1.5),
  ]),
  target('conv', 'cpu', 'tfjs wasm', /^tfjs wasm/, 2),
  target('conv', 'cpu', 'onnxruntime-web', /^ort-web/, 1.2),
  target('conv-backward', 'cpu', 'PyTorch', torch, 1 / 5),
  target('chain', 'cpu', 'PyTorch', torch, 1),
  target('softmax', 'cpu', 'PyTorch', torch, 1 / 3),
  target('cnn-step', 'cpu', 'PyTorch', torch, 1 / 4),
  target('cnn-step', 'cpu', "jax-js's better backend", jax, 10),
  target('matmul1024', 'webgpu', 'tfjs webgpu', /^tfjs webgpu/, 4),
  target('cnn-step', 'webgpu', 'tfjs webgpu', /^tfjs webgpu/, 8),
  target('cnn-step', 'webgpu', 'jax-js webgpu', /^jax-js webgpu/, 2),
  target('matmul4096', 'webgpu', 'PyTorch on the GPU', /^torch cuda/, 0.6),
  target('pspnet512', 'webgpu', 'PyTorch on the GPU', /^torch cuda/, 1 / 2),
]

/** A limit in ms, whatever rivals do. */
export interface Limit {
  readonly workload: string
  readonly own: Target['own']
  readonly title: string
  readonly mostMs: number
}

/** Of Cotangent alone. */
export const limits: readonly Limit[] = [
  { workload: 'compile-resnet18', own: 'cpu', title: 'trace and compile', mostMs: 3000 },
  { workload: 'start', own: 'cpu', title: 'process start to first result', mostMs: 150 },
]

/** The peak of a training step's tensors may be so many times PyTorch's. */
export const mostMemory = 1.3

/** A target beside its measurement; undefined where one of the two was not measured. */
export interface Standing {
  readonly target: Target
  readonly ratio?: number
}

/**
 * Cotangent's time on a backend, in ms: the first contender of the backend, which has all cores. Not the fastest, for
 * the best of several noisy medians is better than any of them.
 */
export const ownTime = (
  results: readonly Result[],
  workload: string,
  own: Target['own'],
): number | undefined =>
  results.find(r => r.workload === workload)?.outcomes.find(o => o.contender.startsWith(`ct ${own}`))?.median

/** The peak of a training step's tensors on the CPU backend over PyTorch's. */
export function memoryRatio(results: readonly Result[]): number | undefined {
  const peak = (name: RegExp) =>
    results
      .find(r => r.workload === 'pspnet')
      ?.outcomes.flatMap(o => (name.test(o.contender) && o.facts?.peakBytes ? [o.facts.peakBytes] : []))[0]
  const [own, rival] = [peak(/^ct cpu/), peak(torch)]
  return own === undefined || rival === undefined ? undefined : own / rival
}

const best = (outcomes: readonly Outcome[]): number | undefined => {
  const medians = outcomes.flatMap(o => (o.median === undefined ? [] : [o.median]))
  return medians.length === 0 ? undefined : Math.min(...medians)
}

/** @example standings(results).filter(s => s.ratio !== undefined && s.ratio < s.target.least) */
export const standings = (results: readonly Result[]): readonly Standing[] =>
  targets.flatMap(t => {
    const outcomes = results.find(r => r.workload === t.workload)?.outcomes
    if (!outcomes) return []
    const own = ownTime(results, t.workload, t.own)
    const rival = best(outcomes.filter(o => t.rival.test(o.contender)))
    return [{ target: t, ...(own !== undefined && rival !== undefined ? { ratio: rival / own } : {}) }]
  })
