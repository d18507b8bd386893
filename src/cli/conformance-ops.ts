/**
 * The operations of the conformance format, as Cotangent's: from tensors and attributes to results. An
 * attribute that an operation does not read is an error of the case, not ignored.
 */
import * as b from '../dsl/build.ts'
import { UsageError } from '../dsl/errors.ts'
import * as activation from '../dsl/ops/activation.ts'
import * as conv from '../dsl/ops/conv.ts'
import * as el from '../dsl/ops/elementwise.ts'
import * as index from '../dsl/ops/index.ts'
import * as linalg from '../dsl/ops/linalg.ts'
import * as loss from '../dsl/ops/loss.ts'
import * as norm from '../dsl/ops/norm.ts'
import * as pool from '../dsl/ops/pool.ts'
import * as r from '../dsl/ops/reduce.ts'
import * as resize from '../dsl/ops/resize.ts'
import * as sh from '../dsl/ops/shape.ts'
import { logSoftmax, softmax } from '../dsl/ops/softmax.ts'
import type { Tensor } from '../dsl/tensor.ts'

/** Attributes, read once each; `unread` names the others. */
export class Attributes {
  private readonly values: Readonly<Record<string, unknown>>
  private readonly read = new Set(['note', 'outputs'])
  constructor(values: Readonly<Record<string, unknown>>) {
    this.values = values
  }
  private get<T>(name: string, is: (v: unknown) => v is T, what: string, otherwise?: T): T {
    this.read.add(name)
    const v = this.values[name] ?? otherwise
    if (!is(v)) throw new UsageError(`attribute ${name} must be ${what}, got ${JSON.stringify(v)}`)
    return v
  }
  number = (name: string, otherwise?: number): number =>
    this.get(name, v => typeof v === 'number', 'a number', otherwise)
  flag = (name: string, otherwise = false): boolean =>
    this.get(name, v => typeof v === 'boolean', 'a boolean', otherwise)
  text = (name: string, otherwise?: string): string =>
    this.get(name, v => typeof v === 'string', 'a string', otherwise)
  numbers = (name: string, otherwise?: readonly number[]): readonly number[] =>
    this.get(name, isNumbers, 'a list of numbers', otherwise)
  pair = (name: string, otherwise?: readonly [number, number]): readonly [number, number] =>
    this.get(
      name,
      (v): v is readonly [number, number] => isNumbers(v) && v.length === 2,
      'two numbers',
      otherwise,
    )
  pairs = (name: string): readonly (readonly [number, number])[] =>
    this.get(
      name,
      (v): v is readonly (readonly [number, number])[] =>
        Array.isArray(v) && v.every(p => isNumbers(p) && p.length === 2),
      'a list of pairs',
    )
  one<T extends string>(name: string, of: readonly T[], otherwise?: T): T {
    return this.get(name, (v): v is T => of.some(o => o === v), `one of ${of.join(', ')}`, otherwise)
  }
  unread = (): string[] => Object.keys(this.values).filter(k => !this.read.has(k))
}
const isNumbers = (v: unknown): v is readonly number[] =>
  Array.isArray(v) && v.every(n => typeof n === 'number')

type F = Tensor<readonly number[], 'f32'>
/** A case's operation: the inputs are tensors of whatever dtype the case says. */
export type CaseOp = (xs: readonly Tensor[], a: Attributes) => readonly Tensor[]

const unary =
  (f: (x: F) => Tensor): CaseOp =>
  ([x]) => [f(x as F)]
const binary =
  (f: (x: Tensor, y: Tensor) => Tensor): CaseOp =>
  ([x, y]) => [f(x, y)]
const over = (a: Attributes) => ({ axes: a.numbers('axes'), keepdims: a.flag('keepdims') })
const reduction =
  (f: (x: F, o: { axes: readonly number[]; keepdims: boolean; correction: number }) => Tensor): CaseOp =>
  ([x], a) => [f(x as F, { ...over(a), correction: a.number('correction', 0) })]
const scaled =
  (f: (x: F) => Tensor): CaseOp =>
  ([x], a) => [f(b.mul(x, a.number('input_scale', 1)) as F)]
const padModes = ['constant', 'edge', 'reflect'] as const
const reductions = ['mean', 'sum', 'none'] as const
const labels = (t: Tensor): Tensor<readonly number[], 'i32'> => t as Tensor<readonly number[], 'i32'>
const convolve =
  (one: boolean): CaseOp =>
  ([x, w, bias], a) => {
    const o = one
      ? { stride: a.number('stride', 1), padding: a.number('padding', 0), dilation: a.number('dilation', 1) }
      : {
          stride: a.pair('stride', [1, 1]),
          padding: a.pair('padding', [0, 0]),
          dilation: a.pair('dilation', [1, 1]),
        }
    const options = { ...o, groups: a.number('groups', 1), ...(bias ? { bias } : {}) } as conv.ConvBiasOptions
    return [(one ? conv.conv1d : conv.conv2d)(x, w, options) as Tensor]
  }
type I = Tensor<readonly [number, number, number, number], 'f32'>
const pooling = (a: Attributes) => {
  const kernel = a.pair('kernel')
  return { kernel, stride: a.pair('stride', kernel), padding: a.pair('padding', [0, 0]) }
}

/** Every operation of the format that Cotangent has. */
// biome-ignore format: a table
export const caseOps: { readonly [op: string]: CaseOp } = {
  abs: unary(el.abs), ceil: unary(el.ceil), cos: unary(el.cos), erf: unary(el.erf), exp: unary(el.exp), expm1: unary(el.expm1),
  floor: unary(el.floor), log: unary(el.log), log1p: unary(el.log1p), neg: unary(el.neg), reciprocal: unary(el.reciprocal),
  round: unary(el.round), rsqrt: unary(el.rsqrt), sign: unary(el.sign), sin: unary(el.sin), sqrt: unary(el.sqrt), square: unary(el.square),
  tanh: unary(el.tanh), trunc: unary(el.trunc),
  elu: ([x], a) => [activation.elu(x as F, { alpha: a.number('alpha', 1) })],
  gelu: unary(activation.gelu), gelu_tanh: unary(activation.geluTanh), hardswish: scaled(activation.hardswish),
  leaky_relu: ([x], a) => [activation.leakyRelu(x as F, { negativeSlope: a.number('negative_slope', 0.01) })],
  log_sigmoid: unary(activation.logSigmoid), relu: unary(activation.relu), relu6: scaled(activation.relu6),
  sigmoid: unary(activation.sigmoid), silu: unary(activation.silu), softplus: unary(activation.softplus), mish: unary(activation.mish),
  add: binary((x, y) => b.add(x, y)), sub: binary((x, y) => b.sub(x, y)), mul: binary((x, y) => b.mul(x, y)), div: binary((x, y) => b.div(x, y)),
  pow: binary((x, y) => b.map('pow', x, y)), maximum: binary((x, y) => b.map('max', x, y)), minimum: binary((x, y) => b.map('min', x, y)),
  less: binary((x, y) => b.less(x, y)),
  where: ([c, x, y]) => [b.select(c, x, y)],
  clamp: ([x], a) => [el.clamp(x as F, { min: a.number('min', Number.NEGATIVE_INFINITY), max: a.number('max', Number.POSITIVE_INFINITY) })],
  sum: reduction((x, o) => r.sum(x, o)), mean: reduction((x, o) => r.mean(x, o)), max: reduction((x, o) => r.max(x, o)),
  min: reduction((x, o) => r.min(x, o)), prod: reduction((x, o) => r.prod(x, o)), logsumexp: reduction((x, o) => r.logsumexp(x, o)),
  var: reduction((x, o) => r.variance(x, o)), std: reduction((x, o) => r.std(x, o)),
  norm: ([x], a) => [r.norm(x as F, { ...over(a), ord: a.number('ord', 2) as 1 | 2 })],
  argmax: ([x], a) => [r.argmax(x as F, { axis: a.number('axis') })],
  argmin: ([x], a) => [r.argmin(x as F, { axis: a.number('axis') })],
  cumsum: ([x], a) => [r.cumsum(x as F, a.number('axis'))],
  softmax: ([x], a) => [softmax(x as F, { axis: a.number('axis') })],
  log_softmax: ([x], a) => [logSoftmax(x as F, { axis: a.number('axis') })],
  matmul: binary((x, y) => linalg.matmul(x as F, y as F) as Tensor),
  einsum: (xs, a) => [linalg.einsum(a.text('equation'), ...xs)],
  attention: ([q, k, v], a) => [linalg.attention(q as F, k as F, v as F, { causal: a.flag('causal') }) as Tensor],
  reshape: ([x], a) => [b.reshape(x, a.numbers('shape'))],
  transpose: ([x], a) => [b.permute(x, a.numbers('axes'))],
  slice: ([x], a) => [sh.slice(x as F, { starts: a.numbers('starts'), stops: a.numbers('stops'), steps: a.numbers('steps') })],
  flip: ([x], a) => [sh.flip(x as F, a.numbers('axes'))],
  concat: (xs, a) => [b.concat(xs, a.number('axis'))],
  stack: (xs, a) => [sh.stack(xs, { axis: a.number('axis') })],
  roll: ([x], a) => {
    const axes = a.numbers('axes')
    return [a.numbers('shift').reduce((y: Tensor, shift, i) => sh.roll(y as F, { shift, axis: axes[i] }), x)]
  },
  tile: ([x], a) => [sh.tile(x as F, a.numbers('repeats'))],
  pad: ([x], a) => [sh.pad(x as F, { widths: a.pairs('widths'), mode: a.one('mode', padModes, 'constant'), value: a.number('value', 0) })],
  triu: ([x], a) => [sh.triu(x as F, a.number('k', 0))],
  tril: ([x], a) => [sh.tril(x as F, a.number('k', 0))],
  pixel_shuffle: ([x], a) => [sh.pixelShuffle(x as F, a.number('factor')) as Tensor],
  take: ([x, i], a) => [index.take(x as F, labels(i), { axis: a.number('axis') }) as Tensor],
  gather: ([x, i], a) => [index.gather(x as F, labels(i), { axis: a.number('axis') }) as Tensor],
  scatter_add: ([x, i, u], a) => [index.scatterAdd(x as F, labels(i), u as F, { axis: a.number('axis') }) as Tensor],
  one_hot: ([i], a) => [index.oneHot(labels(i), a.number('depth'), 'i32') as Tensor],
  sort: ([x], a) => [index.sort(x as F, { axis: a.number('axis', -1), descending: a.flag('descending') }).values],
  topk: ([x], a) => [index.topk(x as F, { k: a.number('k'), axis: a.number('axis', -1) }).values as Tensor],
  conv1d: convolve(true),
  conv2d: convolve(false),
  conv_transpose2d: ([x, w, bias], a) => [
    conv.convTranspose2d(x as F, w as F, {
      stride: a.pair('stride', [1, 1]), padding: a.pair('padding', [0, 0]), outputPadding: a.pair('output_padding', [0, 0]),
      dilation: a.pair('dilation', [1, 1]), groups: a.number('groups', 1), ...(bias ? { bias } : {}),
    }) as Tensor,
  ],
  max_pool2d: ([x], a) => [pool.maxPool2d(x as F, { ...pooling(a), dilation: a.pair('dilation', [1, 1]) }) as Tensor],
  avg_pool2d: ([x], a) => [pool.avgPool2d(x as F, { ...pooling(a), countIncludePad: a.flag('count_include_pad', true) }) as Tensor],
  adaptive_avg_pool2d: ([x], a) => [pool.adaptiveAvgPool2d(x as F, a.pair('output_size')) as Tensor],
  unfold: ([x], a) => [pool.unfold(x as F, { ...pooling(a), dilation: a.pair('dilation', [1, 1]) }) as Tensor],
  resize_bilinear: ([x], a) => [resize.resizeBilinear(x as I, { size: a.pair('size'), alignCorners: a.flag('align_corners') }) as Tensor],
  resize_bicubic: ([x], a) => [resize.resizeBicubic(x as I, { size: a.pair('size'), alignCorners: a.flag('align_corners') }) as Tensor],
  resize_nearest: ([x], a) => [resize.resizeNearest(x as I, { size: a.pair('size') }) as Tensor],
  batch_norm: ([x, weight, bias, mean, variance], a) => {
    const values = { weight, bias, mean, variance } as norm.BatchNormValues<readonly number[], 'f32'>
    const out = norm.batchNorm(x as F, values, { training: a.flag('training'), eps: a.number('eps', 1e-5), momentum: a.number('momentum', 0.1) })
    return a.flag('training') ? [out.y, out.mean, out.variance] : [out.y]
  },
  layer_norm: ([x, weight, bias], a) => [norm.layerNorm(x as F, { weight, bias, axes: a.numbers('axes', [-1]), eps: a.number('eps', 1e-5) })],
  group_norm: ([x, weight, bias], a) => [norm.groupNorm(x as F, { weight, bias, groups: a.number('groups'), eps: a.number('eps', 1e-5) })],
  instance_norm: ([x, weight, bias], a) => [norm.instanceNorm(x as F, { weight, bias, eps: a.number('eps', 1e-5) })],
  cross_entropy: ([x, y, weights], a) => {
    if (a.flag('weighted') !== (weights !== undefined)) throw new UsageError('cross_entropy: weighted says otherwise than the inputs')
    const options = { ignoreIndex: a.number('ignore_index', 255), reduction: a.one('reduction', reductions, 'mean'), labelSmoothing: a.number('label_smoothing', 0), ...(weights ? { weights: weights as F } : {}) }
    return [loss.crossEntropy(x as F, labels(y), options) as Tensor]
  },
  mse_loss: ([x, y], a) => [loss.mseLoss(x as F, y as F, { reduction: a.one('reduction', reductions, 'mean') }) as Tensor],
  smooth_l1_loss: ([x, y], a) => [loss.smoothL1Loss(x as F, y as F, { reduction: a.one('reduction', reductions, 'mean'), beta: a.number('beta', 1) }) as Tensor],
  bce_with_logits: ([x, y], a) => [loss.bceWithLogits(x as F, y as F, { reduction: a.one('reduction', reductions, 'mean') }) as Tensor],
  kl_distillation: ([s, t], a) => [loss.klDistillation(s as F, t as F, { temperature: a.number('temperature', 1), axis: a.number('axis', 1) })],
  cosine_similarity: ([x, y], a) => [loss.cosineSimilarity(x as F, y as F, { axis: a.number('axis', 1) })],
  nfd: ([s, t], a) => {
    const standard = norm.standardise({ axes: a.numbers('axes', [2, 3]), eps: a.number('eps', 1e-5) })
    const d = b.sub(standard(s as F), standard(b.stopGradient(t) as F))
    return [b.mean(b.mul(d, d))]
  },
}
