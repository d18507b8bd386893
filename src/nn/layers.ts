/**
 * The layers of convolutional networks as modules. In: sizes. Out: `Module`s on [batch, channels, height, width],
 * generic in f32 and f64; initial values are f32. Names of parameters are torchvision's: weight, bias.
 */
import { pipe } from 'fp-ts/lib/function.js'
import type { NDArray } from '../dsl/array.ts'
import { UsageError } from '../dsl/errors.ts'
import { relu } from '../dsl/ops/activation.ts'
import { conv2d } from '../dsl/ops/conv.ts'
import { add, mul } from '../dsl/ops/elementwise.ts'
import { ones } from '../dsl/ops/index.ts'
import { matmul } from '../dsl/ops/linalg.ts'
import { batchNorm as batchNormOp, layerNorm as layerNormOp } from '../dsl/ops/norm.ts'
import { dropout as dropoutOp } from '../dsl/ops/random.ts'
import { resizeBilinear } from '../dsl/ops/resize.ts'
import { transpose } from '../dsl/ops/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import { compose, type Layer, type None } from './compose.ts'
import { type Floats, featureMap, floats } from './feature.ts'
import { filled, type Initialiser, kaimingNormal } from './init.ts'
import { keyOf } from './mode.ts'
import type { Module } from './module.ts'

/** A convolution's options; the defaults are PyTorch's but for `init`. */
export interface ConvLayerOptions {
  /** The kernel's height and width. */
  readonly kernel: number
  /** 1 */
  readonly stride?: number
  /** Zeros on each side: 0. */
  readonly padding?: number
  /** 1 */
  readonly dilation?: number
  /** 1 */
  readonly groups?: number
  /** Whether a bias is added: true. */
  readonly bias?: boolean
  /** The kernel's initial values: Kaiming's normal ones by fan-in. The bias starts at 0. */
  readonly init?: Initialiser
}
/** `weight` [out, in / groups, kernel, kernel], `bias` [out]. */
export type ConvParams = { readonly weight: NDArray; readonly bias?: NDArray }

/**
 * A 2-D convolution.
 * @returns  [batch, in, h, w] to [batch, out, h', w'],  h' = floor((h + 2p - d(k-1) - 1) / s) + 1
 * @throws UsageError if `groups` does not divide the channels
 * @example conv(64, 128, { kernel: 3, stride: 2, padding: 1, bias: false })
 */
export function conv(
  inChannels: number,
  outChannels: number,
  { kernel, stride, padding, dilation, groups = 1, bias = true, init = kaimingNormal }: ConvLayerOptions,
): Layer<ConvParams> {
  if (inChannels % groups !== 0 || outChannels % groups !== 0)
    throw new UsageError(`conv: ${groups} groups do not divide ${inChannels} and ${outChannels} channels`)
  const shape = [outChannels, inChannels / groups, kernel, kernel]
  return {
    init: key => ({
      params: { weight: init(key, shape), ...(bias ? { bias: filled([outChannels], 0) } : {}) },
      state: {},
    }),
    apply: (params, state, x) => ({
      out: conv2d(featureMap('conv', x), featureMap('conv', params.weight), {
        stride,
        padding,
        dilation,
        groups,
        bias: params.bias,
      }),
      state,
    }),
  }
}

/** `weight` (1) and `bias` (0), [channels]. */
export type BatchNormParams = { readonly weight: NDArray; readonly bias: NDArray }
/** Running `mean` (0) and `variance` (1), [channels]. */
export type BatchNormState = { readonly mean: NDArray; readonly variance: NDArray }

/** `eps` is added to the variance: 1e-5; `momentum` is the part of the new statistics: 0.1. */
export interface BatchNormOptions {
  readonly eps?: number
  readonly momentum?: number
}

/**
 * Batch normalisation of each channel, with a running mean and variance (see the operation `batchNorm`).
 * @returns  [batch, channels, h, w], the type of the input
 * @throws ShapeError in training, while tracing, if a channel has fewer than two values
 * @example batchNorm(64)
 */
export const batchNorm = (
  channels: number,
  { eps = 1e-5, momentum = 0.1 }: BatchNormOptions = {},
): Layer<BatchNormParams, BatchNormState> => ({
  init: () => ({
    params: { weight: filled([channels], 1), bias: filled([channels], 0) },
    state: { mean: filled([channels], 0), variance: filled([channels], 1) },
  }),
  apply: (params, state, x, { training }) => {
    const values = {
      weight: floats('batchNorm', params.weight),
      bias: floats('batchNorm', params.bias),
      mean: floats('batchNorm', state.mean),
      variance: floats('batchNorm', state.variance),
    }
    const { y, mean, variance } = batchNormOp(featureMap('batchNorm', x), values, { training, eps, momentum })
    return { out: y, state: { mean, variance } }
  },
})

/** `weight` [out, in], `bias` [out]. */
export type LinearParams = { readonly weight: NDArray; readonly bias?: NDArray }

/**
 * A linear map of the last axis: x weight^T + bias.
 * @param options.bias whether a bias is added: true; `init`: Kaiming's normal values by fan-in
 * @returns  [..., in] to [..., out]
 * @example linear(512, 10)
 */
export const linear = (
  inFeatures: number,
  outFeatures: number,
  { bias = true, init = kaimingNormal }: { readonly bias?: boolean; readonly init?: Initialiser } = {},
): Module<Tensor, Floats, LinearParams, None> => ({
  init: key => ({
    params: {
      weight: init(key, [outFeatures, inFeatures]),
      ...(bias ? { bias: filled([outFeatures], 0) } : {}),
    },
    state: {},
  }),
  apply: (params, state, x) => {
    const y = matmul(floats('linear', x), transpose(floats('linear', params.weight)))
    return { out: floats('linear', params.bias ? add(y, params.bias) : y), state }
  },
})

/**
 * Dropout in training, with masks from `mode.key`; else the identity.
 * @param rate the probability of a zero, in [0, 1]
 * @throws UsageError while tracing, if training has no key
 * @example dropout(0.1)
 */
export const dropout = (rate: number): Module<Tensor, Floats, None, None> => ({
  init: () => ({ params: {}, state: {} }),
  apply: (_, state, x, mode) => {
    const y = floats('dropout', x)
    if (!mode.training || rate === 0) return { out: y, state }
    if (!mode.key)
      throw new UsageError('dropout: training needs a key; pass { training: true, key } as the mode')
    return { out: dropoutOp(keyOf(mode.key), y, { rate }), state }
  },
})

/**
 * Stochastic depth: in training all of a sample is 0 with probability `rate`, else divided by 1 - rate; else the identity.
 * For the branch of a residual block.
 * @throws UsageError while tracing, if training has no key
 * @see Huang et al. 2016, arXiv:1603.09382
 * @example dropPath(0.1)
 */
export const dropPath = (rate: number): Module<Tensor, Floats, None, None> => {
  const mask = dropout(rate)
  return {
    init: mask.init,
    apply: (params, state, x, mode) => {
      const y = floats('dropPath', x)
      if (!mode.training || rate === 0) return { out: y, state }
      const one = ones([y.shape[0], ...y.shape.slice(1).map(() => 1)], y.dtype)
      return { out: floats('dropPath', mul(y, mask.apply(params, state, one, mode).out)), state }
    },
  }
}

/** `weight` (1) and `bias` (0), [features]. */
export type LayerNormParams = { readonly weight: NDArray; readonly bias: NDArray }

/**
 * Layer normalisation of the last axis.
 * @param options.eps added to the variance: 1e-5
 * @returns  [..., features], the type of the input
 * @example layerNorm(256)
 */
export const layerNorm = (
  features: number,
  { eps = 1e-5 }: { readonly eps?: number } = {},
): Module<Tensor, Floats, LayerNormParams, None> => ({
  init: () => ({ params: { weight: filled([features], 1), bias: filled([features], 0) }, state: {} }),
  apply: ({ weight, bias }, state, x) => ({
    out: layerNormOp(floats('layerNorm', x), { eps, weight, bias }),
    state,
  }),
})

/**
 * Bilinear upsampling by a factor.
 * @returns  [batch, channels, h, w] to [batch, channels, factor h, factor w], rounded
 * @example upsample(2)
 */
export const upsample = (factor: number): Layer<None> => ({
  init: () => ({ params: {}, state: {} }),
  apply: (_, state, x) => {
    const image = featureMap('upsample', x)
    const [h, w] = image.shape.slice(2).map(n => Math.round(n * factor))
    return { out: resizeBilinear(image, { size: [h, w] }), state }
  },
})

/**
 * Convolution without bias, batch normalisation, rectifier; the children are `conv` and `bn`.
 * @param options as of `conv`; the padding keeps the size at stride 1 unless it is given
 * @example convBnRelu(64, 64, { kernel: 3 })
 */
export const convBnRelu = (inChannels: number, outChannels: number, options: ConvLayerOptions) => {
  const { kernel, dilation = 1, padding = (dilation * (kernel - 1)) / 2 } = options
  return compose(
    {
      conv: conv(inChannels, outChannels, { ...options, padding, bias: false }),
      bn: batchNorm(outChannels),
    },
    (call, x: Tensor) => pipe(x, call.conv, call.bn, relu),
  )
}
