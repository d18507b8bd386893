/**
 * Who takes part: Cotangent's backends and its rivals, each as a command line. In: what the user asked for, the
 * rivals' folder. Out: contenders; a rival that cannot take part is a sentence that says why.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A program that the bench runs in a process of its own. */
export interface Contender {
  /** Unique, short: a column's name. */
  readonly name: string
  /** What the user names it by: a backend of Cotangent, or a rival. */
  readonly family: string
  readonly own: boolean
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** The command that prints its first result and ends: for the time from its start. */
  readonly start?: readonly string[]
  /** A difference that is allowed whatever the workload's tolerance. */
  readonly tolerance?: number
}

/** How Cotangent's WebGPU backend runs: schedules by measurement, and contenders more that store or multiply in f16. */
export interface WebGPUFlags {
  readonly tune?: boolean
  readonly f16?: boolean
  readonly subgroupMatrices?: boolean
}

/** Rounding to 11 bits, through a network. */
const F16_TOLERANCE = 2e-2

/** The rivals, by the names that --peers takes. */
export const rivals = ['tfjs', 'jaxjs', 'ort', 'torch'] as const
export type Rival = (typeof rivals)[number]

/** Cotangent's backends that the bench knows. */
export const backends = ['cpu', 'webgpu', 'reference'] as const
export type OwnBackend = (typeof backends)[number]

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
/** Node with the loader that this process was started with. */
const loaded = [process.execPath, ...process.execArgv]
const cores = availableParallelism()

/**
 * Cotangent's contenders; the CPU backend once with all cores and once with one.
 * @param starts the built start-up program (see startup.ts)
 */
export const ownContenders = (
  names: readonly OwnBackend[],
  adapter: string | undefined,
  starts: readonly string[],
  { tune, f16, subgroupMatrices }: WebGPUFlags = {},
): readonly Contender[] =>
  names.flatMap((backend): Contender[] => {
    const command = [...loaded, here('contenders/cotangent.ts'), backend]
    const start = [...starts, backend, adapter ?? '']
    const own = { family: backend, own: true }
    if (backend === 'webgpu') {
      const on = [...command, adapter ?? '', '', ...(tune ? ['tune'] : [])]
      const rounded = (name: string, flag: string): Contender => ({
        ...own,
        name: `ct webgpu ${name}`,
        command: [...on, flag],
        tolerance: F16_TOLERANCE,
      })
      return [
        { ...own, name: 'ct webgpu', command: on, start },
        ...(f16 ? [rounded('f16', 'f16')] : []),
        ...(subgroupMatrices ? [rounded('matrices', 'subgroup-matrices')] : []),
      ]
    }
    if (backend === 'reference') return [{ ...own, name: 'ct reference', command }]
    const all = { ...own, name: `ct cpu ${cores}T`, command: [...command, '', String(cores)], start }
    return cores === 1 ? [all] : [all, { ...own, name: 'ct cpu 1T', command: [...command, '', '1'] }]
  })

/** Dawn as a rival needs it: the environment of `peers/browser.mjs`. */
export interface DawnEnvironment {
  readonly env: Readonly<Record<string, string>>
}

/**
 * The rivals in JavaScript.
 * @param folder where their packages and scripts are
 * @param dawn absent: none of them runs on WebGPU
 */
export const scriptRivals = (
  names: readonly Rival[],
  folder: string,
  dawn: DawnEnvironment | undefined,
): readonly Contender[] => {
  const script = (file: string, ...args: readonly string[]) => [process.execPath, join(folder, file), ...args]
  const rival = (family: Rival, name: string, file: string, ...args: readonly string[]): Contender => ({
    name,
    family,
    own: false,
    command: script(file, ...args),
    env: args[0] === 'webgpu' ? (dawn?.env ?? {}) : {},
    ...(args[0] === 'webgpu' ? {} : { start: script('start.mjs', family, ...args) }),
  })
  const all = [
    rival('tfjs', 'tfjs wasm 1T', 'tfjs.mjs', 'wasm'),
    rival('ort', `ort-web ${cores}T`, 'ort.mjs', 'wasm', String(cores)),
    rival('jaxjs', `jax-js wasm ${cores}T`, 'jaxjs.mjs', 'wasm', String(cores)),
    ...(dawn
      ? [
          rival('tfjs', 'tfjs webgpu', 'tfjs.mjs', 'webgpu'),
          rival('jaxjs', 'jax-js webgpu', 'jaxjs.mjs', 'webgpu', String(cores)),
        ]
      : []),
  ]
  return all.filter(c => names.some(n => n === c.family))
}

/** The interpreter that has PyTorch: the user's, then the system's. */
function pythonWithTorch(): string | undefined {
  const candidates = [process.env.BENCH_PYTHON, 'python3', '/usr/bin/python3']
  return candidates.find(
    python =>
      python !== undefined && spawnSync(python, ['-c', 'import torch'], { timeout: 120_000 }).status === 0,
  )
}

/** PyTorch on the CPU in both layouts, and on a GPU where it sees one; or why it cannot take part. */
export function torchContenders(): readonly Contender[] | string {
  const python = pythonWithTorch()
  if (python === undefined) return 'no python3 that can import torch (BENCH_PYTHON names another interpreter)'
  const command = [python, here('peers/torch_bench.py')]
  const torch = (name: string, ...args: readonly string[]): Contender => ({
    name,
    family: 'torch',
    own: false,
    command: [...command, ...args],
    env: torchEnvironment(),
  })
  const cuda =
    spawnSync(python, ['-c', 'import torch, sys; sys.exit(not torch.cuda.is_available())']).status === 0
  return [
    { ...torch(`torch ${cores}T`, 'cpu', String(cores)), start: [...command, 'start'] },
    torch('torch nhwc', 'cpu', 'channels-last', String(cores)),
    ...(cuda ? [torch('torch cuda', 'cuda')] : []),
  ]
}

/**
 * PyTorch at its best: glibc keeps freed memory (else every large result is paged in anew), and OpenBLAS uses the
 * AVX-512 that it does not recognise on some virtual machines.
 */
function torchEnvironment(): Readonly<Record<string, string>> {
  const flags = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : ''
  return {
    MALLOC_MMAP_MAX_: '0',
    MALLOC_TRIM_THRESHOLD_: String(2 ** 32),
    ...(/\bavx512f\b/.test(flags) ? { OPENBLAS_CORETYPE: 'SkylakeX' } : {}),
  }
}
