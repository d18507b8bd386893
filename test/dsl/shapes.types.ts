/**
 * The inferred types of the public operations, checked by the compiler alone: `npm run check` fails where an
 * `Equal` is false or an `@ts-expect-error` is not one. The sentences are tested in types.test.ts.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { conv1d, conv2d, convTranspose2d } from '../../src/dsl/ops/conv.ts'
import { add, cast, equal, less, mul, pow, sub, where } from '../../src/dsl/ops/elementwise.ts'
import { gather, iota, oneHot, sort, take, topk, zeros } from '../../src/dsl/ops/index.ts'
import { attention, einsum, matmul, outer } from '../../src/dsl/ops/linalg.ts'
import { adaptiveAvgPool2d, avgPool2d, globalAvgPool, maxPool2d, unfold } from '../../src/dsl/ops/pool.ts'
import { all, argmax, max, mean, sum, variance } from '../../src/dsl/ops/reduce.ts'
import {
  broadcastTo,
  concat,
  flatten,
  pad,
  permute,
  pixelShuffle,
  repeat,
  reshape,
  slice,
  split,
  squeeze,
  stack,
  tile,
  transpose,
  unsqueeze,
} from '../../src/dsl/ops/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
import type { Add, CeilDiv, DivMod, Less, Mul, Product, Sub } from '../../src/dsl/types/arithmetic.ts'
import type { Broadcast } from '../../src/dsl/types/broadcast.ts'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { readonly got: A }
type Holds<T extends true> = T
/** The shape of what a value is. */
const is = <S extends readonly number[]>() => {
  return <T extends Tensor>(
    _: T & (Equal<T['shape'], S> extends true ? unknown : { readonly got: T['shape'] }),
  ) => undefined
}

export type Arithmetic = [
  Holds<Equal<Add<999, 1>, 1000>>,
  Holds<Equal<Add<5, 95>, 100>>,
  Holds<Equal<Add<1, 9999>, 10000>>,
  Holds<Equal<Add<123456, 654321>, 777777>>,
  Holds<Equal<Add<number, 1>, number>>,
  Holds<Equal<Sub<1000, 1>, 999>>,
  Holds<Equal<Sub<5, 5>, 0>>,
  Holds<Equal<Sub<5, 16>, never>>,
  Holds<Equal<Mul<128, 128>, 16384>>,
  Holds<Equal<Mul<99, 99>, 9801>>,
  Holds<Equal<Mul<86400, 365>, 31536000>>,
  Holds<Equal<Mul<number, 0>, 0>>,
  Holds<Equal<DivMod<1000, 7>, [142, 6]>>,
  Holds<Equal<DivMod<16777216, 4096>, [4096, 0]>>,
  Holds<Equal<CeilDiv<7, 2>, 4>>,
  Holds<Equal<Less<2, 12>, true>>,
  Holds<Equal<Less<2, 2>, false>>,
  Holds<Equal<Product<[8, 3, 224, 224]>, 1204224>>,
  Holds<Equal<Broadcast<readonly [8, 1, 4], readonly [3, 1]>, readonly [8, 3, 4]>>,
  Holds<Equal<Broadcast<readonly [number, 4], readonly [number, 1]>, readonly [number, 4]>>,
]

declare const x: Tensor<readonly [8, 3, 64, 64], 'f32'>
declare const c: Tensor<readonly [3, 1, 1], 'f32'>
declare const m: Tensor<readonly [8, 10], 'f32'>
declare const w: Tensor<readonly [16, 3, 3, 3], 'f32'>
declare const batch: Tensor<readonly [number, 3, 64, 64], 'f32'>
declare const plain: Tensor
declare const image: Tensor<readonly [2, 8, 7, 9], 'f32'>

// elementwise
is<readonly [8, 3, 64, 64]>()(add(x, c))
is<readonly [8, 3, 64, 64]>()(add(1, x))
is<readonly [8, 3, 64, 64]>()(pipe(x, add(c), sub(1), mul(c), pow(2)))
is<readonly [8, 3, 64, 64]>()(add(batch, x))
is<readonly [number, 3, 64, 64]>()(add(batch, c))
is<readonly number[]>()(add(plain, x))
export type Bool = Holds<Equal<typeof compared, Tensor<readonly [8, 3, 64, 64], 'bool'>>>
const compared = equal(x, c)
export type Chosen = Holds<Equal<typeof chosen, Tensor<readonly [8, 3, 64, 64], 'f64'>>>
const chosen = pipe(x, less(0), where(1, c), cast('f64'))
// @ts-expect-error the last axes are 64 and 10
add(x, m)
// @ts-expect-error f32 and i32
add(m, cast(m, 'i32'))

// shape
is<readonly [8, 12288]>()(reshape(x, [8, -1]))
is<readonly [2, 4, 10]>()(pipe(m, reshape([2, 4, -1])))
is<readonly [8, 64, 64, 3]>()(permute(x, [0, 2, 3, 1]))
is<readonly [10, 8]>()(pipe(m, transpose))
is<readonly [8, 12288]>()(flatten(x, { from: 1 }))
is<readonly [number, 12288]>()(pipe(batch, flatten({ from: 1 })))
is<readonly [80]>()(flatten(m))
is<readonly [8, 1, 10]>()(unsqueeze(m, 1))
is<readonly [8, 10, 1]>()(pipe(m, unsqueeze(-1)))
is<readonly [8, 10]>()(pipe(m, unsqueeze(0), squeeze()))
is<readonly [8, 3, 64, 64]>()(broadcastTo(c, [8, 3, 64, 64]))
is<readonly [8, 6, 64, 64]>()(concat([x, x], { axis: 1 }))
is<readonly [number, 3, 64, 64]>()(concat([batch, x]))
is<readonly [3, 8, 10]>()(stack([m, m, m]))
is<readonly [8, 10, 2]>()(stack([m, m], { axis: -1 }))
is<readonly [4, 2]>()(slice(m, { starts: [0, -2], stops: [4] }))
is<readonly [8, 5]>()(slice(m, { steps: [1, 2] }))
is<readonly [8, 13]>()(
  pad(m, {
    widths: [
      [0, 0],
      [1, 2],
    ],
  }),
)
is<readonly [8, 30]>()(tile(m, [1, 3]))
is<readonly [8, 20]>()(repeat(m, { times: 2, axis: 1 }))
is<readonly [2, 2, 14, 18]>()(pixelShuffle(image, 2))
const [left, right] = split(m, { axis: 1, sizes: [3, 7] })
is<readonly [8, 3]>()(left)
is<readonly [8, 7]>()(right)
is<readonly [8, 5]>()(split(m, { axis: 1, parts: 2 })[1])
// @ts-expect-error 80 elements are not 90
reshape(m, [9, 10])
// @ts-expect-error axis 1 is 3 and 8
concat([x, image])
// @ts-expect-error there is no axis 4
permute(x, [0, 1, 2, 4])

// reductions
is<readonly []>()(sum(x))
is<readonly [8, 3]>()(sum(x, { axes: [2, 3] }))
is<readonly [8, 3, 1, 1]>()(pipe(x, mean({ axes: [-1, -2], keepdims: true })))
is<readonly [1, 3, 1, 1]>()(variance(x, { axes: [0, 2, 3], keepdims: true, correction: 1 }))
is<readonly [8, 64, 64]>()(argmax(x, { axis: 1 }))
is<readonly [3, 64, 64]>()(max(x, { axes: 0 }))
is<readonly []>()(all(compared))
is<readonly [number, 3]>()(mean(batch, { axes: [2, 3] }))
// @ts-expect-error there is no axis 2
sum(m, { axes: 2 })
// @ts-expect-error the option is `axes`
sum(m, { axis: 1 })

// products
declare const q: Tensor<readonly [2, 4, 5, 16], 'f32'>
declare const k: Tensor<readonly [2, 4, 7, 16], 'f32'>
is<readonly [10, 10]>()(matmul(transpose(m), m))
is<readonly [2, 4, 5, 7]>()(pipe(q, matmul(transpose(k))))
is<readonly [8]>()(matmul(m, zeros([10])))
is<readonly []>()(matmul(zeros([4]), zeros([4])))
is<readonly [2, 4, 5, 7]>()(einsum('bhqd, bhkd -> bhqk', q, k))
is<readonly [10]>()(einsum('ij->j', m))
is<readonly [4, 3]>()(outer(zeros([4]), zeros([3])))
is<readonly [2, 4, 5, 16]>()(attention(q, k, k, { causal: true }))
// @ts-expect-error 10 columns, 8 rows
matmul(m, m)
// @ts-expect-error d is 16 and 3
einsum('bhqd,bhkd->bhqk', q, zeros([2, 4, 7, 3]))

// windows
is<readonly [8, 16, 62, 62]>()(conv2d(x, w))
is<readonly [8, 16, 32, 32]>()(pipe(x, conv2d(w, { stride: 2, padding: 1 })))
is<readonly [8, 16, 64, 64]>()(conv2d(x, w, { padding: 'same' }))
is<readonly [8, 16, 60, 64]>()(conv2d(x, w, { dilation: [2, 1], padding: [0, 1] }))
is<readonly [8, 16, 63, 64]>()(
  conv2d(x, w, {
    padding: [
      [0, 1],
      [1, 1],
    ],
  }),
)
is<readonly [number, 16, 62, 62]>()(conv2d(batch, w))
is<readonly [2, 8, 7, 9]>()(conv2d(image, zeros([8, 1, 3, 3]), { groups: 8, padding: 1 }))
is<readonly [2, 5, 8]>()(conv1d(zeros([2, 3, 10]), zeros([5, 3, 3])))
is<readonly [2, 4, 14, 18]>()(
  convTranspose2d(image, zeros([8, 4, 3, 3]), { stride: 2, padding: 1, outputPadding: 1 }),
)
is<readonly [8, 3, 32, 32]>()(maxPool2d(x, 2))
is<readonly [8, 3, 32, 32]>()(pipe(x, maxPool2d({ kernel: 3, stride: 2, padding: 1 })))
is<readonly [8, 3, 62, 62]>()(avgPool2d(x, { kernel: 3, stride: 1, countIncludePad: false }))
is<readonly [8, 3, 1, 1]>()(adaptiveAvgPool2d(x, 1))
is<readonly [8, 3]>()(pipe(x, globalAvgPool))
is<readonly [2, 72, 35]>()(unfold(image, { kernel: 3 }))
// @ts-expect-error 8 channels, 3 expected
conv2d(image, w)
// @ts-expect-error the kernel is larger than the input
conv2d(zeros([1, 3, 2, 2]), w)

// positions
is<readonly [8, 4]>()(take(m, zeros([4], 'i32'), { axis: 1 }))
is<readonly [8, 1]>()(gather(m, zeros([8, 1], 'i32'), { axis: 1 }))
is<readonly [8, 21]>()(oneHot(zeros([8], 'i32'), 21))
is<readonly [8, 10]>()(sort(m).indices)
is<readonly [8, 3]>()(topk(m, { k: 3 }).values)
is<readonly [5]>()(iota(5))

// options that do not exist
// @ts-expect-error the option is `stride`
conv2d(x, w, { strides: 2, padding: 1 })
// @ts-expect-error the option is `axes`
pipe(x, sum({ axis: 1, keepdims: true }))
// @ts-expect-error the option is `kernel`
maxPool2d(x, { kernel: 2, strides: 2 })
