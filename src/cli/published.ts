/**
 * Published sizes of networks. In: the zoo. Out: what torchvision's metadata and papers print of a network, and the
 * network that they print it of, so that a command and a test can compare.
 */
import { type Cost, type Countable, costOf } from '../nn/cost.ts'
import { mit } from '../nn/mit.ts'
import { mobilenetV2Classifier } from '../nn/mobilenet-v2.ts'
import { mobilenetV3Classifier } from '../nn/mobilenet-v3.ts'
import { type ResnetDepth, resnetClassifier } from '../nn/resnet.ts'
import { segformer } from '../nn/segformer.ts'
import { zoo } from '../nn/zoo.ts'

/** A published size. */
export interface Published {
  readonly name: string
  /** The network that it was published of. */
  readonly build: () => Countable
  /** The height and width of the image that was counted. */
  readonly side: number
  readonly parameters: number
  /** In 10^9, as printed. */
  readonly multiplyAdds: string
  readonly source: string
}

// torchvision 0.14 and later: `num_params` and `_ops` (there called GFLOPS, a multiply-add counts as one) of the weights
const torchvision = 'torchvision'
// Xie et al. 2021, table 1 (ADE20K); parameters of the authors' weights
const segformerPaper = 'arXiv:2105.15203'

const classifier = (depth: ResnetDepth, parameters: number, multiplyAdds: string): Published => ({
  name: `resnet${depth}`,
  build: () => resnetClassifier({ depth, classes: 1000 }),
  side: 224,
  parameters,
  multiplyAdds,
  source: torchvision,
})
const segmenter = (
  name: keyof typeof zoo,
  parameters: number,
  multiplyAdds: string,
  auxiliary = true,
): Published => ({
  name,
  build: () => zoo[name]({ classes: 21, auxiliary }),
  side: 520,
  parameters,
  multiplyAdds,
  source: torchvision,
})

/** Published sizes. */
export const published: readonly Published[] = [
  classifier(18, 11_689_512, '1.814'),
  classifier(34, 21_797_672, '3.664'),
  classifier(50, 25_557_032, '4.089'),
  classifier(101, 44_549_160, '7.801'),
  {
    name: 'mobilenet_v2',
    build: () => mobilenetV2Classifier({ classes: 1000 }),
    side: 224,
    parameters: 3_504_872,
    multiplyAdds: '0.301',
    source: torchvision,
  },
  {
    name: 'mobilenet_v3_large',
    build: () => mobilenetV3Classifier({ classes: 1000 }),
    side: 224,
    parameters: 5_483_032,
    multiplyAdds: '0.217',
    source: torchvision,
  },
  segmenter('fcn_resnet50', 35_322_218, '152.717'),
  segmenter('fcn_resnet101', 54_314_346, '232.738'),
  segmenter('deeplabv3_resnet50', 42_004_074, '178.722'),
  segmenter('deeplabv3_resnet101', 60_996_202, '258.743'),
  segmenter('deeplabv3_mobilenet_v3_large', 11_029_328, '10.452'),
  segmenter('lraspp_mobilenet_v3_large', 3_221_538, '2.086', false),
  {
    name: 'segformer_b0',
    build: () => zoo.segformer_b0({ classes: 150 }),
    side: 512,
    parameters: 3_752_694,
    multiplyAdds: '8.4',
    source: segformerPaper,
  },
  {
    name: 'segformer_b1',
    build: () => segformer({ classes: 150, backbone: mit({ width: 64 }) }),
    side: 512,
    parameters: 13_715_798,
    multiplyAdds: '15.9',
    source: segformerPaper,
  },
]

/** A published size beside what is counted here. */
export interface Comparison extends Published {
  readonly counted: Cost
  /** Whether the parameters are equal and the multiply-adds are, to the digits that were printed. */
  readonly agrees: boolean
}

/** Counts a published network. @example comparisonOf(published[0]).agrees */
export function comparisonOf(p: Published): Comparison {
  const counted = costOf(p.build(), [p.side, p.side])
  const digits = p.multiplyAdds.split('.')[1]?.length ?? 0
  const same = (counted.multiplyAdds / 1e9).toFixed(digits) === p.multiplyAdds
  return { ...p, counted, agrees: counted.parameters === p.parameters && same }
}
