/**
 * Taps of our own networks, checked by the compiler: a name that does not exist, and channels that differ where nothing
 * aligns them, do not compile. Each `@ts-expect-error` fails `npm run check` if there is no error; the same mistakes are
 * errors where a method is made.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../../src/dsl/errors.ts'
import type { ShapeMismatch } from '../../src/dsl/types/mismatch.ts'
import { conv1x1, sameChannels } from '../../src/nfd/align.ts'
import { squaredError, term } from '../../src/nfd/compare.ts'
import { at, nfd, pkd } from '../../src/nfd/nfd.ts'
import { unit } from '../../src/nfd/normalise.ts'
import { features, type PairsCheck } from '../../src/nfd/taps.ts'
import { fcn } from '../../src/nn/fcn.ts'
import { mobilenetV2 } from '../../src/nn/mobilenet-v2.ts'
import { pspnet } from '../../src/nn/pspnet.ts'
import { resnet } from '../../src/nn/resnet.ts'
import { unet } from '../../src/nn/unet.ts'
import { zoo } from '../../src/nn/zoo.ts'

const classes = 11
const student = pspnet({ classes, width: 8 }) // 8, 16, 32, 64; neck 64
const teacher = pspnet({ classes, backbone: resnet({ depth: 50, width: 4 }), neckChannels: 64 }) // 16, 32, 64, 128
/** A method without an aligner. */
const bare = features('bare', sameChannels, () => term(unit('C'), squaredError))

test('PKD without its aligner takes taps of equal channels, and refuses to compile with others', () => {
  const align = sameChannels
  pkd({ student, teacher, align, taps: [['stage2', 'stage1']] })
  pkd({
    student,
    teacher,
    align,
    taps: [
      ['stage3', 'stage2'],
      ['neck', 'neck'],
    ],
  })
  // @ts-expect-error 64 channels and 128
  const unequal = () => pkd({ student, teacher, align, taps: [['stage4', 'stage4']] })
  assert.throws(unequal, /equal channels; stage4-stage4 has 64 and 128/)
  const second = () =>
    pkd({
      student,
      teacher,
      align,
      taps: [
        ['neck', 'neck'],
        // @ts-expect-error 8 channels and 16: only the pair that is wrong is underlined
        ['stage1', 'stage1'],
      ],
    })
  assert.throws(second, /stage1-stage1 has 8 and 16/)
})

test('a method made without an aligner does the same, for every kind of network', () => {
  bare({ student, teacher, taps: [['stage2', 'stage1']] })
  bare({ student: unet({ classes, width: 16 }), teacher, taps: [['stage3', 'stage4']] })
  bare({
    student: zoo.fcn_resnet18({ classes }),
    teacher: zoo.unet({ classes }),
    taps: [['stage3', 'stage2']],
  })
  const mobile = fcn({ classes, backbone: mobilenetV2() })
  bare({ student: mobile, teacher, taps: [['stage2', 'stage2']] })
  const refused = [
    // @ts-expect-error 32 channels and 16
    () => bare({ student: unet({ classes, width: 16 }), teacher, taps: [['stage1', 'stage1']] }),
    // @ts-expect-error 320 channels and 128
    () => bare({ student: mobile, teacher, taps: [['stage4', 'stage4']] }),
    () =>
      bare({
        student: zoo.fcn_resnet18({ classes }),
        teacher: zoo.fcn_resnet50({ classes }),
        // @ts-expect-error 512 channels and 2048
        taps: [['stage4', 'stage4']],
      }),
  ]
  for (const make of refused) assert.throws(make, UsageError)
  // an aligner, and a method that needs no equal channels, take any
  bare({ student: mobile, teacher, taps: [['stage4', 'stage4']], align: conv1x1 })
  nfd({ student, teacher, taps: [['stage4', 'stage4']] })
  at({ student, teacher, taps: [['stage4', 'stage4']] })
})

test('a tap that a network does not have does not compile', () => {
  const refused = [
    // @ts-expect-error the backbone has four stages
    () => pkd({ student, teacher, taps: [['stage5', 'stage4']] }),
    // @ts-expect-error a U-Net of depth 3 has three
    () => pkd({ student, teacher: unet({ classes, width: 8 }), taps: [['stage4', 'stage4']] }),
    // @ts-expect-error `low` is MobileNetV3's
    () => nfd({ student, teacher, taps: [['low', 'stage1']] }),
  ]
  for (const make of refused) assert.throws(make, /has no tap '(stage5|stage4|low)'/)
})

test('widths that the compiler does not know compile, and are checked when the method is made', () => {
  const width: number = [8, 16][classes % 2]
  const wide = pspnet({ classes, width })
  bare({ student: wide, teacher, taps: [['stage1', 'stage1']] })
  assert.throws(
    () => bare({ student: wide, teacher, taps: [['stage2', 'stage1']] }),
    /stage2-stage1 has 32 and 16/,
  )
})

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { readonly got: A }
type Holds<T extends true> = T
/** What the compiler prints of our own networks. */
export type Sentences = [
  Holds<
    Equal<
      PairsCheck<
        readonly [readonly ['stage4', 'stage4']],
        typeof student.tapChannels,
        typeof teacher.tapChannels,
        'equal'
      >[0],
      ShapeMismatch<"the student's tap has 64 channels, the teacher's 128: leave out align, or give conv1x1">
    >
  >,
  // 8 or 128 may be 128: it is checked when the method is made
  Holds<
    Equal<
      PairsCheck<readonly [readonly ['f', 'f']], { readonly f: 8 | 128 }, { readonly f: 128 }, 'equal'>[0],
      unknown
    >
  >,
]
