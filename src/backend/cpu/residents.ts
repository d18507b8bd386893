/**
 * The arrays that live in the memory of the CPU backend. In: the heap, host data, results of runs. Out: arrays that
 * free their memory when nobody reaches them, and arguments that are held while a run needs them.
 */
import type { NDArray } from '../../dsl/array.ts'
import { type DType, makeData, type TypedArray } from '../../dsl/dtype.ts'
import { DeviceError, ShapeError } from '../../dsl/errors.ts'
import { showType, size } from '../../dsl/shape.ts'
import type { TensorType } from '../../dsl/tensor.ts'
import type { Argument, Resident } from '../backend.ts'
import { deviceBytes, type Plan } from '../plan.ts'
import type { Heap } from './heap.ts'

/** Bytes of a tensor in the memory. */
export const typeBytes = (t: TensorType): number => deviceBytes(t.dtype, size(t.shape))

/** Copies host data into fresh device memory. */
export function upload(heap: Heap, type: TensorType, data: TypedArray): number {
  const at = heap.allocate(typeBytes(type))
  view(heap, type.dtype, at, data.length).set(data)
  return at
}
/** The device's words of an array; bool as i32. Valid until the memory grows. */
function view(heap: Heap, dtype: DType, at: number, n: number): TypedArray {
  const { buffer } = heap.memory
  if (dtype === 'f32') return new Float32Array(buffer, at, n)
  if (dtype === 'f64') return new Float64Array(buffer, at, n)
  return dtype === 'u32' ? new Uint32Array(buffer, at, n) : new Int32Array(buffer, at, n)
}

/** The arguments of one run: held until it is over. */
export interface Taken {
  addresses(heap: Heap): readonly number[]
  release(): void
}

/** The arrays that live in the memory. One is freed when it was dropped and no run holds it. */
export class Residents {
  readonly heap: Heap
  /** Owners of an address: its array, and runs in the queue. */
  readonly owners = new Map<number, number>()
  readonly places = new WeakMap<Resident, { at: number | null; readonly type: TensorType }>()
  readonly dropped = new FinalizationRegistry<number>(at => this.release(at))

  constructor(heap: Heap) {
    this.heap = heap
  }

  release(at: number): void {
    const left = (this.owners.get(at) ?? 0) - 1
    if (left > 0) this.owners.set(at, left)
    else {
      this.owners.delete(at)
      this.heap.free(at)
    }
  }

  /** An array over memory that a run has filled, in a donated argument's place or in its own. */
  make(type: TensorType, at: number): Resident {
    const place: { at: number | null; readonly type: TensorType } = { at, type }
    this.owners.set(at, (this.owners.get(at) ?? 0) + 1)
    const resident: Resident = {
      type,
      read: async () => {
        if (place.at === null) throw gone(type)
        const words = view(this.heap, type.dtype, place.at, size(type.shape))
        const data = makeData(type.dtype, words.length)
        data.set(words)
        return { shape: type.shape, dtype: type.dtype, data }
      },
      dispose: () => this.drop(resident),
    }
    this.places.set(resident, place)
    this.dropped.register(resident, at, place)
    return resident
  }

  drop(resident: Resident): void {
    const place = this.places.get(resident)
    if (place === undefined || place.at === null) return
    const { at } = place
    place.at = null
    this.dropped.unregister(place)
    this.release(at)
  }

  /** Checks the arguments and holds the resident ones; donated ones are gone from now on. */
  take({ inputs: types, takenOver }: Plan, args: readonly Argument[], donate: readonly boolean[]): Taken {
    if (args.length !== types.length)
      throw new ShapeError('run', `the program takes ${types.length} arguments, got ${args.length}`)
    const held: (number | NDArray)[] = args.map((a, i) => {
      const type = 'read' in a ? a.type : a
      if (showType(type) !== showType(types[i]))
        throw new ShapeError('run', `argument ${i} must be ${showType(types[i])}, got ${showType(type)}`)
      if (!('read' in a)) return a
      const place = this.places.get(a)
      if (place === undefined)
        throw new DeviceError(`cpu: argument ${i} lives on another device; read() it there first`)
      if (place.at === null) throw gone(place.type)
      return place.at
    })
    for (const i of takenOver?.values() ?? []) {
      const again = held.findIndex((a, j) => j !== i && typeof a === 'number' && a === held[i])
      if (!donate[i] || again >= 0)
        throw new DeviceError(
          again < 0
            ? `cpu: the program writes a result in argument ${i}; run it with this argument donated`
            : `cpu: argument ${i} is donated and is argument ${again} too; pass a copy of it`,
        )
    }
    for (const at of held) if (typeof at === 'number') this.owners.set(at, (this.owners.get(at) ?? 0) + 1)
    for (const [i, a] of args.entries()) if (donate[i] && 'read' in a) this.drop(a)
    const mine: number[] = held.filter(at => typeof at === 'number')
    return {
      addresses: heap =>
        held.map((a, i) => {
          if (typeof a === 'number') return a
          const at = upload(heap, types[i], a.data)
          this.owners.set(at, 1)
          mine.push(at)
          return at
        }),
      release: () => {
        for (const at of mine) this.release(at)
      },
    }
  }
}

const gone = (type: TensorType) =>
  new DeviceError(
    `cpu: the array ${showType(type)} was donated to a call or disposed of; keep the call's result instead`,
  )
