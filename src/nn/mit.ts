/**
 * The mix transformer (MiT) of SegFormer. In: images. Out: features at strides 4, 8, 16 and 32. Overlapping patches,
 * attention to a reduced grid of keys, and a depthwise convolution in the place of a positional code, so that images of any
 * size fit. Names are the authors' (patch_embed1.proj.weight, block1.0.attn.kv.weight, norm1.weight).
 * @see Xie et al. 2021, arXiv:2105.15203
 */
import { pipe } from 'fp-ts/lib/function.js'
import { UsageError } from '../dsl/errors.ts'
import { gelu } from '../dsl/ops/activation.ts'
import { add } from '../dsl/ops/elementwise.ts'
import { attention } from '../dsl/ops/linalg.ts'
import { permute, reshape, split } from '../dsl/ops/shape.ts'
import type { Tensor } from '../dsl/tensor.ts'
import type { Mul } from '../dsl/types/arithmetic.ts'
import { checkPositive, type OutputStride, type Stages, stageGrid } from './backbone.ts'
import { channelsAs } from './channels.ts'
import { compose, sequential } from './compose.ts'
import { type FeatureMap, featureMap } from './feature.ts'
import { type Initialiser, kaimingNormal, normal } from './init.ts'
import { conv, dropPath, layerNorm, linear } from './layers.ts'

// Features have the channels last here: [batch, height, width, channels].
const channelsLast = (x: Tensor): FeatureMap => permute(featureMap('mit', x), [0, 2, 3, 1])
const channelsFirst = (x: Tensor): FeatureMap => permute(featureMap('mit', x), [0, 3, 1, 2])

// the authors': normal matrices of deviation 0.02 (cut at 100 deviations, that is never), kernels by fan-out
const matrix: Initialiser = (key, shape) => normal(key, shape, { std: 0.02 })
const kernel: Initialiser = (key, shape) => kaimingNormal(key, shape, { mode: 'fanOut' })
const project = (from: number, to: number) => linear(from, to, { init: matrix })

/**
 * A strided convolution with overlapping windows, and a norm.
 * @returns  [batch, in, h, w] to [batch, h', w', out]
 */
const patchEmbed = (from: number, to: number, size: number, stride: number, dilation = 1) =>
  compose(
    {
      proj: conv(from, to, {
        kernel: size,
        stride,
        dilation,
        padding: Math.floor(size / 2) * dilation,
        init: kernel,
      }),
      norm: layerNorm(to),
    },
    (call, x: Tensor) => pipe(x, call.proj, channelsLast, call.norm),
  )

/** The keys of an attention, reduced `ratio` times in height and width. */
const reduction = (channels: number, ratio: number) =>
  ratio === 1
    ? { sr: undefined, norm: undefined }
    : {
        sr: conv(channels, channels, { kernel: ratio, stride: ratio, init: kernel }),
        norm: layerNorm(channels),
      }

/**
 * Efficient self-attention: every position asks all positions of a grid that is `ratio` times smaller.
 * @returns  [batch, h, w, channels], the type of the input
 * @throws UsageError if `heads` does not divide the channels
 * @example efficientAttention(64, { heads: 2, ratio: 4 })
 */
export function efficientAttention(
  channels: number,
  { heads, ratio }: { readonly heads: number; readonly ratio: number },
) {
  checkPositive('efficientAttention', { channels, heads, ratio })
  if (channels % heads !== 0)
    throw new UsageError(`efficientAttention: ${heads} heads do not divide ${channels} channels`)
  return compose(
    {
      q: project(channels, channels),
      kv: project(channels, 2 * channels),
      ...reduction(channels, ratio),
      proj: project(channels, channels),
    },
    (call, x: Tensor) => {
      const input = featureMap('efficientAttention', x)
      const [n, h, w] = input.shape
      const grid = call.sr && call.norm ? pipe(input, channelsFirst, call.sr, channelsLast, call.norm) : input
      const keys = grid.shape.slice(1, 3).reduce((a, b) => a * b)
      const size = channels / heads
      const q = permute(reshape(call.q(input), [n, h * w, heads, size]), [0, 2, 1, 3])
      const kv = permute(reshape(call.kv(grid), [n, keys, 2, heads, size]), [2, 0, 3, 1, 4])
      const [k, v] = split(kv, { axis: 0, parts: 2 }).map(t => reshape(t, [n, heads, keys, size]))
      const joined = permute(attention(q, k, v), [0, 2, 1, 3])
      return call.proj(reshape(joined, [n, h, w, channels]))
    },
  )
}

/** fc2(gelu(dwconv(fc1(x)))): a perceptron of four times the channels that sees its neighbours. */
const mixFfn = (channels: number, dilation: number) => {
  const hidden = 4 * channels
  const depthwise = conv(hidden, hidden, {
    kernel: 3,
    padding: dilation,
    dilation,
    groups: hidden,
    init: (key, shape) => kaimingNormal(key, shape, { mode: 'fanIn' }), // fan-out over the groups is one kernel
  })
  return compose(
    {
      fc1: project(channels, hidden),
      dwconv: compose({ dwconv: depthwise }, (call, x: Tensor) =>
        pipe(x, channelsFirst, call.dwconv, channelsLast),
      ),
      fc2: project(hidden, channels),
    },
    (call, x: Tensor) => pipe(x, call.fc1, call.dwconv, gelu, call.fc2),
  )
}

/** A transformer block's configuration. */
export interface MitBlockOptions {
  readonly heads: number
  /** How many times fewer rows and columns the keys have. */
  readonly ratio: number
  /** Of the depthwise convolution: 1. */
  readonly dilation?: number
  /** The probability that a branch is left out in training: 0. */
  readonly dropPathRate?: number
}

/**
 * A block: x + attention(norm(x)), then x + mixFfn(norm(x)).
 * @returns  [batch, h, w, channels], the type of the input
 * @example mitBlock(64, { heads: 2, ratio: 4 })
 */
export const mitBlock = (
  channels: number,
  { heads, ratio, dilation = 1, dropPathRate = 0 }: MitBlockOptions,
) =>
  compose(
    {
      norm1: layerNorm(channels, { eps: 1e-6 }),
      attn: efficientAttention(channels, { heads, ratio }),
      norm2: layerNorm(channels, { eps: 1e-6 }),
      mlp: mixFfn(channels, dilation),
      drop: dropPath(dropPathRate),
    },
    (call, x: Tensor): FeatureMap => {
      const input = featureMap('mitBlock', x)
      const y = featureMap('mitBlock', add(input, pipe(input, call.norm1, call.attn, call.drop)))
      return featureMap('mitBlock', add(y, pipe(y, call.norm2, call.mlp, call.drop)))
    },
  )

/** A mix transformer's configuration; the defaults are B0's. */
export interface MitOptions<W extends number = number> {
  /** The channels of a head of attention; the stages have 1, 2, 5 and 8 heads: 32. */
  readonly width?: W
  /** The blocks of the stages: [2, 2, 2, 2]. */
  readonly blocks?: readonly [number, number, number, number]
  /** The input's size over the last stage's: 32. */
  readonly outputStride?: OutputStride
  /** The rate of the last block; it rises linearly from 0 at the first: 0.1. */
  readonly dropPathRate?: number
}

const headsOf = [1, 2, 5, 8] as const
const ratios = [8, 4, 2, 1] as const
/** The channels of the four stages at a width. */
export type MitChannels<W extends number> = {
  readonly stage1: W
  readonly stage2: Mul<W, 2>
  readonly stage3: Mul<W, 5>
  readonly stage4: Mul<W, 8>
}

/**
 * A mix transformer: MiT-B0 with its defaults, B1 at width 64.
 * @returns  images [batch, 3, h, w] to features at strides 4, 8, 16 and 32, none above `outputStride`
 * @throws UsageError if a size is no positive integer or the output stride cannot be
 * @example mit({ width: 64 })
 */
export function mit<const W extends number = 32>(options: MitOptions<W> = {}) {
  const { width = 32, blocks = [2, 2, 2, 2], outputStride = 32, dropPathRate = 0.1 } = options
  checkPositive('mit', {
    width,
    ...Object.fromEntries(blocks.map((n, i) => [`blocks of stage ${i + 1}`, n])),
  })
  const all = blocks.reduce((a, b) => a + b)
  const stage = (s: number) => {
    const channels = headsOf[s] * width
    const { stride, dilation, before } = stageGrid('mit', s, outputStride)
    const first = blocks.slice(0, s).reduce((a, b) => a + b, 0)
    const block = (_: unknown, i: number) =>
      mitBlock(channels, {
        heads: headsOf[s],
        ratio: ratios[s],
        dilation,
        dropPathRate: (dropPathRate * (first + i)) / Math.max(all - 1, 1),
      })
    return {
      embed:
        s === 0
          ? patchEmbed(3, channels, 7, 4)
          : patchEmbed(headsOf[s - 1] * width, channels, 3, stride, before),
      block: sequential(...Array.from({ length: blocks[s] }, block)),
      norm: layerNorm(channels, { eps: 1e-6 }),
    }
  }
  const [s1, s2, s3, s4] = [0, 1, 2, 3].map(stage)
  const module = compose(
    {
      patch_embed1: s1.embed,
      block1: s1.block,
      norm1: s1.norm,
      patch_embed2: s2.embed,
      block2: s2.block,
      norm2: s2.norm,
      patch_embed3: s3.embed,
      block3: s3.block,
      norm3: s3.norm,
      patch_embed4: s4.embed,
      block4: s4.block,
      norm4: s4.norm,
    },
    (call, x: Tensor): Stages => {
      const stage1 = pipe(x, call.patch_embed1, call.block1, call.norm1, channelsFirst)
      const stage2 = pipe(stage1, call.patch_embed2, call.block2, call.norm2, channelsFirst)
      const stage3 = pipe(stage2, call.patch_embed3, call.block3, call.norm3, channelsFirst)
      return {
        stage1,
        stage2,
        stage3,
        stage4: pipe(stage3, call.patch_embed4, call.block4, call.norm4, channelsFirst),
      }
    },
  )
  const [stage1, stage2, stage3, stage4] = headsOf.map(n => n * width)
  return {
    ...module,
    name: `mit, width ${width}, blocks ${blocks.join('-')}, stride ${outputStride}`,
    tapChannels: channelsAs<MitChannels<W>>({ stage1, stage2, stage3, stage4 }),
  }
}
