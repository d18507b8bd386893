/**
 * Cotangent as a contender, in a process of its own. In: the backend's name, the adapter, the number of threads and
 * flags (tune, f16, subgroup-matrices) as arguments, workloads as messages. Out: times and results, see
 * peers/harness.mjs. Inputs and state stay on the device; a repetition ends when a single number, copied after it, is on
 * the host.
 */
import { array, compile, dispose, type Resident, read, spec, type Tensor, unwrap } from '../../src/index.ts'
import { type BackendName, openBackend } from '../../src/node.ts'
import { type InputSpec, type Job, serve, type Task, valuesOf } from '../peers/harness.mjs'
import type { Workload } from '../types.ts'
import { workloads } from '../workloads.ts'

const [name, adapter, threads, ...flags] = process.argv.slice(2)
const options = {
  ...(adapter ? { adapter } : {}),
  ...(threads ? { threads: Number(threads) } : {}),
  ...(flags.includes('f16') ? { storage: 'f16' as const } : {}),
  subgroupMatrices: flags.includes('subgroup-matrices'),
  tune: flags.includes('tune'),
}
// contenders.ts names the backend
const backend = await unwrap(openBackend(name as BackendName, options))

type Tensors = readonly Tensor[]
/** The workload as a function of what changes from step to step, and of what does not; and the types of both. */
const stepOf = ({ compute, inputs, state }: Workload) => ({
  fn: (changing: Tensors, fixed: Tensors) => compute(...changing, ...fixed),
  specs: [typesOf(inputs.slice(0, state)), typesOf(inputs.slice(state))] as const,
})
const typesOf = (inputs: readonly InputSpec[]) => inputs.map(i => spec(i.shape, i.dtype))

/** Arrays on the device. */
async function upload(inputs: readonly InputSpec[]): Promise<readonly Resident[]> {
  const copy = await unwrap(compile((xs: Tensors) => xs, [typesOf(inputs)], backend))
  return copy.resident([inputs.map(i => array(i.shape, i.dtype, valuesOf(i)))])
}

async function run(workload: Workload): Promise<Job> {
  const { inputs, state } = workload
  const { fn, specs } = stepOf(workload)
  const exe = await unwrap(compile(fn, specs, backend, { donate: state > 0 ? [0] : [] }))
  const [marker] = await upload([{ name: 'marker', shape: [], dtype: 'f32', seed: 0 }])
  const all = await upload(inputs)
  const fixed = all.slice(state)
  let changing = all.slice(0, state)
  let last: readonly Resident[] = []
  return {
    step: async () => {
      dispose(last.slice(0, last.length - state))
      last = await exe.resident([changing, fixed])
      changing = last.slice(last.length - state)
      await marker.read()
    },
    outputs: async () => (await read(last)).map(a => Float32Array.from(a.data)),
    drop: () => dispose([last, changing, fixed, marker]),
    facts: { ...exe.stats },
  }
}

/**
 * Tracing and compiling. The bench starts a process for each repetition: in an old one V8 has optimised the compiler, and
 * may keep the machine code of modules that it has seen, whatever our own caches do.
 */
async function compileOf(workload: Workload): Promise<Job> {
  const { fn, specs } = stepOf(workload)
  const facts: Record<string, number> = {}
  return {
    facts,
    once: true,
    outputs: async () => [],
    step: async () => {
      const start = performance.now()
      const { graph, stats } = await unwrap(compile(fn, specs, backend))
      const ms = performance.now() - start
      Object.assign(facts, { ...stats, operations: graph.eqns.length })
      return ms
    },
  }
}

await serve(`Cotangent ${name}: ${backend.description}`, async (task: Task) => {
  const workload = workloads.find(w => w.name === task.name)
  if (!workload) throw new Error(`there is no workload ${task.name}`)
  return workload.kind === 'compile' ? compileOf(workload) : run(workload)
})
