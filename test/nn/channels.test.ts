/**
 * The channels that the compiler knows are those that the networks have: each line below compares both with the same
 * literals, the types when it is compiled and the values when it runs. (Networks give the channels that they tell: zoo.test.ts.)
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Channels } from '../../src/nn/channels.ts'
import { deeplabv3, deeplabv3plus } from '../../src/nn/deeplab.ts'
import { fcn } from '../../src/nn/fcn.ts'
import { lraspp } from '../../src/nn/lraspp.ts'
import { mit } from '../../src/nn/mit.ts'
import { mobilenetV2 } from '../../src/nn/mobilenet-v2.ts'
import { mobilenetV3 } from '../../src/nn/mobilenet-v3.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { type ResnetDepth, type ResnetOptions, resnet, stageChannels } from '../../src/nn/resnet.ts'
import { segformer } from '../../src/nn/segformer.ts'
import { unet } from '../../src/nn/unet.ts'
import { zoo } from '../../src/nn/zoo.ts'

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { readonly got: A }
type Holds<T extends true> = T
/** Intersections as one object, so that equal channels are equal types. */
type Flat<C> = { readonly [K in keyof C]: C[K] }
/** Compares the types, then the values. */
const same = <C extends Channels, const E extends Channels>(
  net: { readonly name: string; readonly tapChannels: C },
  expected: E & (Equal<Flat<C>, E> extends true ? unknown : { readonly got: Flat<C> }),
): void => assert.deepEqual(net.tapChannels, expected, net.name)

test('backbones have the channels of their types: literal widths, and published ones', () => {
  same(resnet(), { stage1: 64, stage2: 128, stage3: 256, stage4: 512 })
  same(resnet({ depth: 34, outputStride: 8 }), { stage1: 64, stage2: 128, stage3: 256, stage4: 512 })
  same(resnet({ depth: 50 }), { stage1: 256, stage2: 512, stage3: 1024, stage4: 2048 })
  same(resnet({ depth: 101, width: 24 }), { stage1: 96, stage2: 192, stage3: 384, stage4: 768 })
  same(resnet({ depth: 50, block: 'basic', width: 3 }), { stage1: 3, stage2: 6, stage3: 12, stage4: 24 })
  same(resnet({ width: 10, block: 'bottleneck' }), { stage1: 40, stage2: 80, stage3: 160, stage4: 320 })
  same(mobilenetV2(), { stage1: 24, stage2: 32, stage3: 96, stage4: 320 })
  same(mobilenetV3({ width: 1 }), { stage1: 24, stage2: 40, stage3: 112, stage4: 960, low: 40 })
  same(mit(), { stage1: 32, stage2: 64, stage3: 160, stage4: 256 })
  same(mit({ width: 64 }), { stage1: 64, stage2: 128, stage3: 320, stage4: 512 })
  const of = { name: 'stageChannels', tapChannels: stageChannels({ depth: 50, width: 8 }) }
  same(of, { stage1: 32, stage2: 64, stage3: 128, stage4: 256 })
})

test("segmentation networks have their backbone's channels and their neck's", () => {
  const classes = 2
  const small = { stage1: 16, stage2: 32, stage3: 64, stage4: 128 } as const
  const [plain, mobile] = [resnet({ width: 16 }), mobilenetV3()]
  same(pspnet({ classes: 11, width: 16 }), { ...small, neck: 128 })
  same(pspnet({ classes }), { stage1: 64, stage2: 128, stage3: 256, stage4: 512, neck: 512 })
  // without `block` the blocks are basic, whatever the depth
  same(pspnet({ classes, width: 16, depth: 50 }), { ...small, neck: 128 })
  same(pspnet({ classes, width: 4, block: 'bottleneck', neckChannels: 7 }), { ...small, neck: 7 })
  same(pspnet({ classes, backbone: plain }), { ...small, neck: 512 })
  same(pspnet({ classes, backbone: plain, neckChannels: 96, auxiliary: true }), { ...small, neck: 96 })
  same(fcn({ classes, backbone: plain }), { ...small, neck: 32 })
  same(fcn({ classes, backbone: resnet({ width: 7 }) }), {
    stage1: 7,
    stage2: 14,
    stage3: 28,
    stage4: 56,
    neck: 14,
  })
  same(fcn({ classes, backbone: plain, channels: 12 }), { ...small, neck: 12 })
  same(deeplabv3({ classes, backbone: plain }), { ...small, neck: 256 })
  same(deeplabv3({ classes, backbone: plain, channels: 48, rates: [6] }), { ...small, neck: 48 })
  same(deeplabv3plus({ classes, backbone: plain }), { ...small, neck: 256 })
  same(deeplabv3plus({ classes, backbone: plain, channels: 48 }), { ...small, neck: 48 })
  same(lraspp({ classes, backbone: mobile, low: 'low' }), {
    stage1: 24,
    stage2: 40,
    stage3: 112,
    stage4: 960,
    low: 40,
    neck: 128,
  })
  same(lraspp({ classes, backbone: plain, channels: 64 }), { ...small, neck: 64 })
  same(segformer({ classes, backbone: mit() }), {
    stage1: 32,
    stage2: 64,
    stage3: 160,
    stage4: 256,
    neck: 256,
  })
  same(segformer({ classes, backbone: plain, channels: 10 }), { ...small, neck: 10 })
  same(unet({ classes, width: 8 }), { stage1: 16, stage2: 32, stage3: 64, neck: 8 })
  same(unet({ classes, width: 5, depth: 2 }), { stage1: 10, stage2: 20, neck: 5 })
  same(unet({ classes, width: 8, depth: 4, auxiliary: true }), { ...small, neck: 8 })
})

test('the zoo has the published channels, where no other width is asked for', () => {
  const basic = { stage1: 64, stage2: 128, stage3: 256, stage4: 512 } as const
  const deep = { stage1: 256, stage2: 512, stage3: 1024, stage4: 2048 } as const
  const v2 = { stage1: 24, stage2: 32, stage3: 96, stage4: 320 } as const
  const v3 = { stage1: 24, stage2: 40, stage3: 112, stage4: 960, low: 40 } as const
  const b0 = { stage1: 32, stage2: 64, stage3: 160, stage4: 256 } as const
  const o = { classes: 19, outputStride: 16, auxiliary: true } as const
  same(zoo.fcn_resnet18(o), { ...basic, neck: 128 })
  same(zoo.fcn_resnet50(o), { ...deep, neck: 512 })
  same(zoo.fcn_resnet101({ ...o, width: 1 }), { ...deep, neck: 512 })
  same(zoo.fcn_mobilenet_v2(o), { ...v2, neck: 80 })
  same(zoo.pspnet_resnet18(o), { ...basic, neck: 512 })
  same(zoo.pspnet_resnet50(o), { ...deep, neck: 512 })
  same(zoo.pspnet_resnet101(o), { ...deep, neck: 512 })
  same(zoo.deeplabv3_resnet18(o), { ...basic, neck: 256 })
  same(zoo.deeplabv3_resnet50(o), { ...deep, neck: 256 })
  same(zoo.deeplabv3_resnet101(o), { ...deep, neck: 256 })
  same(zoo.deeplabv3_mobilenet_v2(o), { ...v2, neck: 256 })
  same(zoo.deeplabv3_mobilenet_v3_large(o), { ...v3, neck: 256 })
  same(zoo.deeplabv3plus_resnet18(o), { ...basic, neck: 256 })
  same(zoo.deeplabv3plus_resnet101(o), { ...deep, neck: 256 })
  same(zoo.lraspp_mobilenet_v3_large(o), { ...v3, neck: 128 })
  same(zoo.segformer_b0(o), { ...b0, neck: 256 })
  same(zoo.unet(o), { stage1: 128, stage2: 256, stage3: 512, stage4: 1024, neck: 64 })
})

test('what the compiler does not know stays `number`', () => {
  const classes = 2
  const width: number = 4
  const depth: ResnetDepth = [18, 50][width % 3] === 18 ? 18 : 50
  const options: ResnetOptions = { width }
  const multiplier = 0.5
  const [psp, un, published] = [
    pspnet({ classes, width }),
    unet({ classes, width }),
    zoo.fcn_resnet18({ classes, width: multiplier }),
  ]
  assert.deepEqual(psp.tapChannels, { stage1: 4, stage2: 8, stage3: 16, stage4: 32, neck: 32 })
  assert.deepEqual(un.tapChannels, { stage1: 8, stage2: 16, stage3: 32, neck: 4 })
  assert.deepEqual(published.tapChannels, { stage1: 32, stage2: 64, stage3: 128, stage4: 256, neck: 64 })
  const [either, plain] = [resnet({ depth }), resnet(options)]
  const [slim, tiny] = [mobilenetV2({ width: 0.5 }), mit({ width })]
  assert.deepEqual(
    [either, plain, slim, tiny].map(n => n.tapChannels.stage1),
    [256, 4, 16, 4],
  )
  type Numbers = [
    Holds<Equal<(typeof psp.tapChannels)['stage4' | 'neck'], number>>,
    Holds<Equal<(typeof un.tapChannels)['stage3' | 'neck'], number>>,
    Holds<Equal<(typeof published.tapChannels)['stage1' | 'neck'], number>>,
    Holds<Equal<typeof either.tapChannels.stage1, 64 | 256>>, // either may be: never an error against one
    Holds<Equal<typeof plain.tapChannels.stage4, number>>,
    Holds<Equal<typeof slim.tapChannels.stage1, number>>,
    Holds<Equal<typeof tiny.tapChannels.stage3, number>>,
  ]
  assert.ok(true satisfies Numbers[number])
})
