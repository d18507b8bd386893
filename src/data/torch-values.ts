/**
 * What PyTorch's pickles mean. In: a pickle. Out: its value, with tensors as checked views of storages that are still
 * in the file. This is the whole list of calls that have a meaning (`meanings`); any other stays an inert record.
 * @see torch/_utils.py (the functions that rebuild) and torch/serialization.py (the ids of storages)
 */
import { DataError } from '../dsl/errors.ts'
import { type Shape, size } from '../dsl/shape.ts'
import { limits, type Unpickled, unpickle } from './pickle.ts'
import { isInert, type Pickled } from './pickled.ts'
import { quote } from './source.ts'
import { type StoredDType, stored } from './stored.ts'

/** A storage in a file: a run of elements of which tensors are views. */
export interface StorageRef {
  readonly kind: 'storage'
  readonly key: string
  /** Undefined for untyped bytes, whose views name their dtype; all counts are then bytes. */
  readonly dtype: StoredDType | undefined
  /** The part of it that this reference names, in elements. */
  readonly start: number
  readonly count: number
  /** The elements of the whole storage. */
  readonly total: number
}

/** A strided view of a storage; `offset` (from the storage's first byte) and `strides` count elements. */
export interface TensorRef {
  readonly kind: 'tensor'
  readonly storage: StorageRef
  readonly dtype: StoredDType
  readonly offset: number
  readonly shape: Shape
  readonly strides: readonly number[]
}

/** A value of a `torch.save` file. */
export type TorchValue = Pickled<StorageRef | TensorRef>

/** A pickle of PyTorch's, with all storages that it names. */
export interface TorchPickle extends Unpickled<StorageRef | TensorRef> {
  readonly storages: readonly StorageRef[]
}

/**
 * Reads one pickle of a `torch.save` file.
 * @throws DataError if it is damaged, or a tensor reaches beyond its storage
 */
export function unpickleTorch(bytes: Uint8Array, path: string, from = 0): TorchPickle {
  const storages: StorageRef[] = []
  const table = meanings(path)
  const read = unpickle<StorageRef | TensorRef>(
    bytes,
    {
      reduce: (name, args) => table.get(name)?.(args),
      persistent: id => {
        const storage = storageOf(id, path)
        if (storage) storages.push(storage)
        return storage ?? id
      },
    },
    path,
    from,
  )
  return { ...read, storages }
}

/** A tensor. */
export const isTensor = (x: TorchValue | undefined): x is TensorRef => hasKind(x, 'tensor')
const isStorage = (x: TorchValue | undefined): x is StorageRef => hasKind(x, 'storage')
const hasKind = (x: TorchValue | undefined, kind: string): boolean =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === kind
/** A list or tuple. */
export const isList = (x: TorchValue | undefined): x is readonly TorchValue[] => Array.isArray(x)
const isSize = (x: unknown): x is number => typeof x === 'number' && Number.isSafeInteger(x) && x >= 0
/** As in PyTorch. A list may be named again at the cost of two bytes: work on it must not grow with its length. */
const maxAxes = 64
const isSizes = (x: TorchValue | undefined): x is readonly number[] =>
  isList(x) && x.length <= maxAxes && x.every(isSize)

/** The storage classes of the module `torch` (and `torch.cuda`), without their ending. */
const storageClasses: Readonly<Record<string, StoredDType>> = {
  Double: 'F64',
  Float: 'F32',
  Half: 'F16',
  BFloat16: 'BF16',
  Long: 'I64',
  Int: 'I32',
  Short: 'I16',
  Char: 'I8',
  Byte: 'U8',
  Bool: 'BOOL',
}
/** The dtypes of `torch` that untyped storages are viewed as. */
const torchDTypes: Readonly<Record<string, StoredDType>> = {
  'torch.float64': 'F64',
  'torch.float32': 'F32',
  'torch.float16': 'F16',
  'torch.bfloat16': 'BF16',
  'torch.int64': 'I64',
  'torch.int32': 'I32',
  'torch.int16': 'I16',
  'torch.int8': 'I8',
  'torch.uint64': 'U64',
  'torch.uint32': 'U32',
  'torch.uint16': 'U16',
  'torch.uint8': 'U8',
  'torch.bool': 'BOOL',
}
const lookUp = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined

/**
 * The storage of a persistent id ('storage', class, key, device, count[, (view's key, start, count)]); undefined for
 * ids of other things and for classes without a dtype of ours, whose tensors then stay inert.
 */
function storageOf(id: TorchValue, path: string): StorageRef | undefined {
  if (!isList(id) || id[0] !== 'storage') return undefined
  const [, type, key, , total, view] = id
  if (typeof key !== 'string' || !isInert(type) || !isSize(total))
    throw new DataError(`${path}: the name of a storage is damaged`)
  const untyped = type.name === 'torch.storage.UntypedStorage'
  const dtype = lookUp(storageClasses, type.name.replace(/^torch\.(?:cuda\.)?(\w+)Storage$/, '$1'))
  if (dtype === undefined && !untyped) return undefined
  const whole = { kind: 'storage', key, dtype, start: 0, count: total, total } as const
  if (!isList(view)) return whole
  const [, start, count] = view
  if (!isSize(start) || !isSize(count) || start + count > total)
    throw new DataError(`${path}: storage ${quote(key)}: a part of it reaches beyond its ${total} elements`)
  return { ...whole, start, count }
}

type Meaning = (args: readonly TorchValue[]) => TorchValue | undefined

/** The calls that have a meaning. One that is given what it does not expect stays inert as well. */
const meanings = (path: string): ReadonlyMap<string, Meaning> => {
  const typed: Meaning = ([storage, offset, shape, steps]) =>
    isStorage(storage) && storage.dtype ? view(storage, storage.dtype, offset, shape, steps, path) : undefined
  let copied = 0
  const orderedDict: Meaning = ([pairs]) => {
    copied += isList(pairs) ? pairs.length : 0
    if (copied > limits.steps)
      throw new DataError(`${path}: its dictionaries have more than ${limits.steps} entries`)
    return dictOf(pairs)
  }
  const table: ReadonlyMap<string, Meaning> = new Map<string, Meaning>([
    ['collections.OrderedDict', orderedDict],
    ['torch.Size', ([sizes]) => (isSizes(sizes) ? sizes : undefined)],
    ['torch._utils._rebuild_tensor', typed],
    ['torch._utils._rebuild_tensor_v2', typed],
    [
      'torch._utils._rebuild_tensor_v3',
      ([storage, offset, shape, steps, , , type]) => {
        const dtype = type !== undefined && isInert(type) ? lookUp(torchDTypes, type.name) : undefined
        return isStorage(storage) && dtype ? view(storage, dtype, offset, shape, steps, path) : undefined
      },
    ],
    ['torch._utils._rebuild_parameter', ([tensor]) => tensor],
    ['torch._utils._rebuild_parameter_with_state', ([tensor]) => tensor],
    // A tensor with attributes of its own: (function, class, its arguments, attributes).
    [
      'torch._tensor._rebuild_from_type_v2',
      ([callable, , args]) =>
        callable !== undefined && isInert(callable) && /^torch\._utils\._rebuild_/.test(callable.name)
          ? table.get(callable.name)?.(isList(args) ? args : [])
          : undefined,
    ],
  ])
  return table
}

/** An ordered dictionary, empty or (Python 2) of pairs. */
function dictOf(pairs: TorchValue | undefined): TorchValue | undefined {
  if (pairs === undefined) return new Map()
  if (!isList(pairs)) return undefined
  const entries = pairs.map(pair =>
    isList(pair) && pair.length === 2 ? ([pair[0], pair[1]] as const) : undefined,
  )
  return entries.includes(undefined) ? undefined : new Map(entries.filter(entry => entry !== undefined))
}

/** A view, which lies within its part of the storage. */
function view(
  storage: StorageRef,
  dtype: StoredDType,
  offset: TorchValue | undefined,
  shape: TorchValue | undefined,
  steps: TorchValue | undefined,
  path: string,
): TensorRef {
  const at = `${path}: a tensor in storage ${quote(storage.key)}`
  if (!isSize(offset) || !isSizes(shape) || !isSizes(steps) || steps.length !== shape.length)
    throw new DataError(`${at}: its offset, shape or strides are damaged`)
  const count = storage.dtype ? storage.count : Math.floor(storage.count / stored[dtype].bytes)
  const last = offset + lastOf(shape, steps)
  if (size(shape) > 0 && !(last < count))
    throw new DataError(
      `${at}: shape [${shape.join(', ')}] with strides [${steps.join(', ')}] from ${offset} reaches element ${last}, the storage has ${count}`,
    )
  return { kind: 'tensor', storage, dtype, offset: storage.start + offset, shape, strides: steps }
}

/** A part of a storage, in bytes. */
export interface Span {
  readonly begin: number
  readonly size: number
}

/** From a tensor's first element to its last. */
export function spanOf({ dtype, offset, shape, strides }: TensorRef): Span {
  const width = stored[dtype].bytes
  if (size(shape) === 0) return { begin: 0, size: 0 }
  return { begin: offset * width, size: (lastOf(shape, strides) + 1) * width }
}

/** The last element of a view, counted from its first. */
const lastOf = (shape: Shape, strides: readonly number[]): number =>
  shape.reduce((sum, n, i) => sum + (n - 1) * strides[i], 0)

/**
 * The elements of a tensor, row-major.
 * @param bytes  its span of the storage, as fresh memory, which may become the result
 */
export function gather({ buffer }: Uint8Array<ArrayBuffer>, tensor: TensorRef): ArrayBuffer {
  const n = size(tensor.shape)
  if (n === 0 || isContiguous(tensor)) return buffer
  switch (stored[tensor.dtype].bytes) {
    case 8:
      return copy(new BigUint64Array(buffer), new BigUint64Array(n), tensor).buffer
    case 4:
      return copy(new Uint32Array(buffer), new Uint32Array(n), tensor).buffer
    case 2:
      return copy(new Uint16Array(buffer), new Uint16Array(n), tensor).buffer
    case 1:
      return copy(new Uint8Array(buffer), new Uint8Array(n), tensor).buffer
  }
}

/** Whether the elements lie in row-major order without gaps; strides of axes of length 1 do not matter. */
function isContiguous({ shape, strides }: TensorRef): boolean {
  let expected = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false
    expected *= shape[i]
  }
  return true
}

function copy<T extends { readonly length: number; [i: number]: number | bigint }>(
  from: T,
  to: T,
  { shape, strides }: TensorRef,
): T {
  const index = shape.map(() => 0)
  const last = shape.length - 1
  let position = 0
  for (let i = 0; i < to.length; i++) {
    to[i] = from[position]
    // Counts up, the last axis first.
    for (let axis = last; axis >= 0; axis--) {
      position += strides[axis]
      if (++index[axis] < shape[axis]) break
      position -= strides[axis] * shape[axis]
      index[axis] = 0
    }
  }
  return to
}
