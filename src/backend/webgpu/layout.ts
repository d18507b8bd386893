/**
 * Which ranges of which buffers a dispatch binds, within the device's limits. In: a step of the plan. Out: a slot
 * per buffer of its kernel (what the renderer needs), and the bindings themselves (what the executor needs).
 */
import type { DType } from '../../dsl/dtype.ts'
import { CompileError } from '../../dsl/errors.ts'
import { showType, size } from '../../dsl/shape.ts'
import type { TensorType } from '../../dsl/tensor.ts'
import { type BufferRef, type Dispatch, deviceBytes, type Plan } from '../plan.ts'
import type { Limits } from './dawn.ts'
import type { Slot } from './tiles.ts'

/** The dtypes that WGSL has. */
export const webgpuDTypes: readonly DType[] = ['f32', 'i32', 'u32', 'bool']

/** What a dispatch is called in errors and debuggers. */
export const label = (step: Dispatch) => `${step.scope ? `${step.scope} / ` : ''}${step.kernel.name}`
/** Bytes of a tensor on the device. */
export const bytesOf = (t: TensorType): number => deviceBytes(t.dtype, size(t.shape))

/** @throws CompileError  if an argument, a result, a constant or the arena is more than the device can hold or bind */
export function checkLimits(plan: Plan, limits: Limits): void {
  const most = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize)
  const fail = (what: string, bytes: number, limit: number) => {
    throw new CompileError(
      `webgpu: ${what} takes ${mebibytes(bytes)}; this adapter allows ${mebibytes(limit)}. Make the batch or the image smaller`,
    )
  }
  const named = [
    ...plan.inputs.map((type, i) => ({ what: `argument ${i}`, type })),
    ...plan.outputs.map((type, i) => ({ what: `result ${i}`, type })),
    ...plan.constants.map(({ type }, i) => ({ what: `constant ${i}`, type })),
  ]
  for (const { what, type } of named) {
    if (!webgpuDTypes.includes(type.dtype))
      throw new CompileError(`webgpu: ${what} is ${showType(type)}; f64 runs on the CPU only`)
    if (bytesOf(type) > most) fail(`${what}, ${showType(type)},`, bytesOf(type), most)
  }
  for (const step of plan.steps)
    for (const ref of step.bindings)
      if (ref.k === 'arena' && ref.bytes > most) fail(`an intermediate of ${label(step)}`, ref.bytes, most)
  if (plan.arenaBytes > limits.maxBufferSize)
    fail('the arena of intermediates', plan.arenaBytes, limits.maxBufferSize)
}

const mebibytes = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`

/** What one binding holds: a range of the arena (bytes), or the whole of another buffer. */
export interface Span {
  readonly ref: BufferRef
  readonly offset: number
  readonly bytes: number
}

/**
 * The bindings of a dispatch. Ranges of the arena that meet share one; if there are more bindings than the device
 * takes, all ranges of the arena share one.
 */
export function layoutOf(
  step: Dispatch,
  limits: Limits,
): { readonly slots: readonly Slot[]; readonly spans: readonly Span[] } {
  const { buffers } = step.kernel
  const half = (i: number): boolean => buffers[i].storage === 'f16'
  const touching = spansOf(step.bindings, false, half)
  const limit = limits.maxStorageBuffersPerShaderStage
  const spans = touching.length <= limit ? touching : spansOf(step.bindings, true, half)
  const widest = Math.max(0, ...spans.map(s => s.bytes))
  if (spans.length > limit || widest > limits.maxStorageBufferBindingSize)
    throw new CompileError(
      `webgpu: ${label(step)} uses ${touching.length} buffers; this adapter binds ${limit} of at most ${mebibytes(limits.maxStorageBufferBindingSize)}`,
    )
  const slots = step.bindings.map((ref, i): Slot => {
    const binding = spans.findIndex(s => holds(s, ref))
    const offset = ref.k === 'arena' ? (ref.offset - spans[binding].offset) / (half(i) ? 2 : 4) : 0
    // an argument that a result takes over is bound once, for reading and for writing
    const readWrite =
      ref.k === 'arena' ||
      ref.k === 'output' ||
      buffers.some((b, j) => b.access !== 'read' && holds(spans[binding], step.bindings[j]))
    return { binding, readWrite, offset }
  })
  return { slots, spans }
}

/** Ranges of f16 lie in a part of the arena of their own (half.ts), and are merged with their like only. */
function spansOf(refs: readonly BufferRef[], together: boolean, half: (i: number) => boolean): Span[] {
  const spans: Span[] = []
  for (const ref of refs)
    if (ref.k !== 'arena' && !spans.some(s => holds(s, ref))) spans.push({ ref, offset: 0, bytes: 0 })
  const ranges = refs
    .flatMap((ref, i) => (ref.k === 'arena' ? [{ ref, f16: half(i) }] : []))
    .sort((a, b) => a.ref.offset - b.ref.offset)
  const merged: Span[] = []
  let before: boolean | null = null
  for (const { ref, f16 } of ranges) {
    const last = merged.at(-1)
    const end = ref.offset + ref.bytes
    const alike = f16 === before
    before = f16
    if (last !== undefined && alike && (together || ref.offset < last.offset + last.bytes))
      merged[merged.length - 1] = { ...last, bytes: Math.max(last.bytes, end - last.offset) }
    else merged.push({ ref, offset: ref.offset, bytes: ref.bytes })
  }
  return [...spans, ...merged]
}

const holds = (s: Span, ref: BufferRef): boolean =>
  s.ref.k === 'arena' || ref.k === 'arena'
    ? s.ref.k === ref.k && 'offset' in ref && ref.offset >= s.offset && ref.offset < s.offset + s.bytes
    : s.ref.k === ref.k && s.ref.index === ref.index
