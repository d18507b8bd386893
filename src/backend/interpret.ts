/**
 * The meaning of a kernel: obvious nested loops over typed arrays, one point at a time. Slow on purpose; the
 * oracle that every renderer is compared with.
 */
import { type DType, dtypes, isFloat, type TypedArray } from '../dsl/dtype.ts'
import { applyScalar } from '../dsl/scalar-eval.ts'
import { type Affine, type Condition, evaluateAffine, valuesOf } from './affine.ts'
import { type Accumulator, type Instr, instructions, type Kernel } from './kernel.ts'

/**
 * Runs a kernel on host arrays, one per buffer (bool as bytes); writes those with access 'write' and 'add'.
 * Sums and products of f32 are accumulated in f64 and rounded once, so that a renderer's rounding is measured
 * against the true value; everything else is exact.
 * @example interpretKernel(kernel, [x.data, y.data, out])
 */
export function interpretKernel(kernel: Kernel, buffers: readonly TypedArray[]): void {
  const all = instructions(kernel)
  const values = new Array<number>(all.length).fill(0)
  const at = kernel.axes.map(() => 0)
  const parallel = kernel.axes.flatMap((a, i) => (a.kind === 'parallel' ? [i] : []))
  const reduce = kernel.axes.flatMap((a, i) => (a.kind === 'reduce' ? [i] : []))
  const inside = (guard: readonly Condition[]) =>
    guard.every(c => {
      const x = evaluateAffine(c.index, at, values)
      return c.lo <= x && x < c.hi
    })
  const folds: Fold[] = []
  const outside = usedOutside(kernel)
  const run = (from: number, to: number) => {
    for (let i = from; i < to; i++) values[i] = dtypes[all[i].dtype].round(step(all[i]))
  }
  const step = (x: Instr): number => {
    switch (x.k) {
      case 'lit':
        return x.value
      case 'index':
        return evaluateAffine(x.index, at, values)
      case 'inside':
        return Number(inside(x.guard))
      case 'load':
        return inside(x.guard) ? element(buffers[x.buffer], x.index) : 0
      case 'scalar': {
        const operand = all[x.args[x.args.length - 1]].dtype
        const args = x.args.map(a => values[a])
        return applyScalar(x.fn, operand, args, x.dtype)
      }
      case 'acc':
        return result(folds[x.accumulator], kernel.accumulators[x.accumulator])
    }
  }
  const element = (data: TypedArray, index: Affine) => {
    const i = evaluateAffine(index, at, values)
    if (!(i >= 0 && i < data.length))
      throw new RangeError(`kernel ${kernel.name}: index ${i} of ${data.length} at [${at.join(', ')}]`)
    return data[i]
  }
  const store = (mode: 'set' | 'add') => {
    for (const s of kernel.stores) {
      if (s.mode !== mode || !inside(s.guard)) continue
      const data = buffers[s.buffer]
      const old = element(data, s.index)
      const place = evaluateAffine(s.index, at, values)
      data[place] = mode === 'add' ? dtypes[all[s.value].dtype].round(old + values[s.value]) : values[s.value]
    }
  }
  const walk = (axes: readonly number[], visit: () => void, depth = 0): void => {
    if (depth === axes.length) visit()
    else
      for (let i = 0; i < kernel.axes[axes[depth]].extent; i++) {
        at[axes[depth]] = i
        walk(axes, visit, depth + 1)
      }
  }
  walk(parallel, () => {
    for (const [i, a] of kernel.accumulators.entries()) folds[i] = { best: start(a), at: 0, seen: 0 }
    walk(reduce, () => {
      run(0, kernel.body.length)
      for (const [i, a] of kernel.accumulators.entries()) accumulate(folds[i], a, values[a.value])
      store('add')
    })
    // the body never ran where a reduce axis is empty: what the epilogue uses of it does not depend on such axes
    if (reduce.some(r => kernel.axes[r].extent === 0)) for (const i of outside) run(i, i + 1)
    run(kernel.body.length, all.length)
    store('set')
  })
}

/** The body's instructions that the epilogue and the stores of mode 'set' need. */
function usedOutside(kernel: Kernel): number[] {
  const all = instructions(kernel)
  const used = new Set<number>()
  const need = (id: number): void => {
    if (used.has(id)) return
    const x = all[id]
    used.add(id)
    if (x.k === 'scalar') x.args.forEach(need)
    if (x.k === 'load' || x.k === 'index') valuesOf(x.index).forEach(need)
    if (x.k === 'load' || x.k === 'inside') for (const c of x.guard) valuesOf(c.index).forEach(need)
  }
  for (const s of kernel.stores) {
    if (s.mode === 'add') continue
    for (const a of [s.index, ...s.guard.map(c => c.index)]) valuesOf(a).forEach(need)
    need(s.value)
  }
  return [...used].filter(id => id < kernel.body.length).sort((a, b) => a - b)
}

interface Fold {
  best: number
  /** Position of the best, and the number of values seen. */
  at: number
  seen: number
}

/** The value from which a reduction starts: what an empty one gives. */
export function identity(how: Accumulator['how'], dtype: DType): number {
  if (how === 'sum') return 0
  if (how === 'prod') return 1
  const lowest = how === 'max' || how === 'argmax'
  if (isFloat(dtype)) return lowest ? -Infinity : Infinity
  if (dtype === 'bool') return lowest ? 0 : 1
  if (dtype === 'u32') return lowest ? 0 : 2 ** 32 - 1
  return lowest ? -(2 ** 31) : 2 ** 31 - 1
}
const start = (a: Accumulator) => identity(a.how, a.dtype)

function accumulate(f: Fold, a: Accumulator, raw: number): void {
  const x = dtypes[a.dtype].round(raw)
  switch (a.how) {
    case 'sum':
      f.best = a.dtype === 'f32' ? f.best + x : dtypes[a.dtype].round(f.best + x)
      break
    case 'prod':
      f.best = isFloat(a.dtype) ? f.best * x : dtypes[a.dtype].round(Math.imul(f.best, x))
      break
    case 'max':
      f.best = Math.max(f.best, x)
      break
    case 'min':
      f.best = Math.min(f.best, x)
      break
    default: {
      const better = a.how === 'argmax' ? x > f.best : x < f.best
      if (better || (Number.isNaN(x) && !Number.isNaN(f.best))) {
        f.best = x
        f.at = f.seen
      }
    }
  }
  f.seen++
}
const result = (f: Fold, a: Accumulator) =>
  a.how === 'argmax' || a.how === 'argmin' ? f.at : dtypes[a.dtype].round(f.best)
