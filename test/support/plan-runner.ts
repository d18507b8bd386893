/** Runs a plan with the kernel interpreter: tests lowering, fusion and memory apart from any renderer. */

import { interpretKernel } from '../../src/backend/interpret.ts'
import { planGraph } from '../../src/backend/pipeline.ts'
import { array, type NDArray } from '../../src/dsl/array.ts'
import { makeData, type TypedArray } from '../../src/dsl/dtype.ts'
import type { Graph } from '../../src/dsl/graph.ts'
import { size } from '../../src/dsl/shape.ts'

/** The results of a graph by its plan. The arena is poisoned: every value must be written before it is read. */
export function runPlan(graph: Graph, args: readonly NDArray[]): NDArray[] {
  const plan = planGraph(graph, () => ({ vector: null, tiles: [] }))
  const outputs = plan.outputs.map(t => makeData(t.dtype, size(t.shape)))
  const arena = new Map<number, { readonly bytes: number; readonly data: TypedArray }>()
  for (const { kernel, bindings } of plan.steps) {
    const buffers = bindings.map((ref, i) => {
      const { dtype, size: n, access } = kernel.buffers[i]
      if (ref.k === 'input') return args[ref.index].data
      if (ref.k === 'const') return plan.constants[ref.index].data
      if (ref.k === 'output') return outputs[ref.index]
      if (access === 'write') {
        for (const [start, v] of arena)
          if (start < ref.offset + ref.bytes && ref.offset < start + v.bytes) arena.delete(start)
        const poison = makeData(dtype, n).fill(Number.NaN) as TypedArray
        arena.set(ref.offset, { bytes: ref.bytes, data: poison })
      }
      const found = arena.get(ref.offset)?.data
      if (found?.length !== n) throw new Error(`the arena at ${ref.offset} holds no value of ${n} elements`)
      return found
    })
    interpretKernel(kernel, buffers)
  }
  return plan.outputs.map((t, i) => array(t.shape, t.dtype, outputs[i]))
}
