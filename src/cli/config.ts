/**
 * The configuration of `cotangent train | eval | predict`. In: an object that a file or a program gives. Out: a complete
 * one, every default filled in, which config.json of the run folder keeps; or one error with all that is wrong.
 */
import { z } from 'zod'
import { type DatasetName, splitsOf } from '../data/datasets/named.ts'
import { UsageError } from '../dsl/errors.ts'
import { type ZooName, zooNames } from '../nn/zoo.ts'
import type { BackendName } from '../node.ts'
import { describeIssues } from './config-errors.ts'

const count = z.int().min(1)
const natural = z.int().min(0)
const positive = z.number().positive()
const unit = z.number().min(0).max(1)
const below1 = z.number().min(0).lt(1)
const sizeSchema = z.tuple([count, count])
const pathText = z.string().min(1)

const backends = ['auto', 'cpu', 'webgpu', 'reference'] as const satisfies readonly BackendName[]

/** What sets on disk share. */
const files = {
  folder: pathText.describe('the root of the data set'),
  size: sizeSchema.nullable().default(null).describe('resize to [height, width]; null: as stored'),
  trainImages: count.nullable().default(null).describe('the first n only'),
  valImages: count.nullable().default(null).describe('the first n only'),
  cacheMiB: natural.default(256).describe('decoded samples that stay in memory'),
}
/** What a set that nobody has named tells of its labels. */
const labelled = {
  classes: z.array(z.string().min(1)).min(2).max(255).describe('the names of classes 0, 1, ...'),
  palette: z
    .array(z.tuple([byte(), byte(), byte()]))
    .nullable()
    .default(null)
    .describe('[red, green, blue] a class; null: chosen'),
  ignore: z.array(byte()).default([]).describe('values of label files that count as 255'),
}
const named = <const K extends DatasetName>(kind: K) =>
  z.strictObject({
    kind: z.literal(kind),
    ...files,
    trainSplit: pathText.default(splitsOf(kind)[0]),
    valSplit: pathText.default(splitsOf(kind)[1]),
  })

const dataSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('synthetic'),
    size: sizeSchema.default([64, 64]).describe('[height, width]'),
    trainImages: count.default(1000),
    valImages: count.default(100),
  }),
  named('camvid'),
  named('cityscapes'),
  named('voc2012'),
  named('ade20k'),
  named('coco-stuff'),
  z.strictObject({
    kind: z.literal('folder'),
    ...files,
    ...labelled,
    train: pathText.default('train').describe('a folder in the root with images/ and labels/'),
    val: pathText.default('val').describe('the same, to evaluate on'),
  }),
  z.strictObject({
    kind: z.literal('list'),
    ...files,
    ...labelled,
    train: pathText.default('train.txt').describe('a file of lines "image label"'),
    val: pathText.default('val.txt').describe('the same, to evaluate on'),
  }),
])

const networkSchema = z.strictObject({
  // the names of a table: at least one
  name: z.enum(zooNames as readonly [ZooName, ...ZooName[]]),
  width: positive.default(1).describe('the multiplier of the published channels'),
  outputStride: z
    .union([z.literal(8), z.literal(16), z.literal(32)])
    .nullable()
    .default(null)
    .describe('null: the published one'),
  auxiliary: z.boolean().default(false).describe('a second head on stage 3'),
})

const pretrainedSchema = z.strictObject({
  file: pathText.describe('.safetensors, .pth or .pt'),
  into: z.enum(['network', 'backbone']).default('network').describe('what the names in the file belong to'),
  from: z.string().nullable().default(null).describe('only the names below this one'),
  entry: z.string().nullable().default(null).describe('the state dict in a file that has several'),
  allow: z.array(z.string()).default([]).describe("globs of names that need not fit, such as 'classifier.*'"),
})

const lossSchema = z.strictObject({
  classWeights: z.array(z.number().min(0)).nullable().default(null).describe('a weight a class'),
  labelSmoothing: unit.default(0),
  auxiliaryWeight: z.number().min(0).default(0.4).describe('of the auxiliary head, where there is one'),
  ohem: z
    .strictObject({
      threshold: unit.default(0.7).describe('pixels whose class gets less than this probability are kept'),
      minKept: natural.default(100_000).describe('and at least so many of a batch'),
    })
    .nullable()
    .default(null)
    .describe('online hard example mining'),
})

const common = {
  weightDecay: z.number().min(0),
  decay: z.enum(['all', 'kernels']).describe("'kernels': no decay of biases and norms"),
  clip: positive.nullable().default(null).describe('the largest norm of all gradients together'),
}
const optimiserSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('sgd'),
    lr: positive.default(0.01),
    momentum: below1.default(0.9),
    nesterov: z.boolean().default(false),
    ...common,
    weightDecay: common.weightDecay.default(1e-4),
    decay: common.decay.default('all'),
  }),
  z.strictObject({
    kind: z.literal('adamw'),
    lr: positive.default(1e-3),
    b1: below1.default(0.9),
    b2: below1.default(0.999),
    ...common,
    weightDecay: common.weightDecay.default(1e-2),
    decay: common.decay.default('kernels'),
  }),
])

const warmUp = {
  warmUp: z
    .strictObject({ iterations: count, from: unit.default(0).describe('the part of the rate at the start') })
    .nullable()
    .default(null),
}
const scheduleSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('poly'),
    power: positive.default(0.9),
    end: z.number().min(0).default(0),
    ...warmUp,
  }),
  z.strictObject({ kind: z.literal('cosine'), end: z.number().min(0).default(0), ...warmUp }),
  z.strictObject({ kind: z.literal('constant'), ...warmUp }),
])

const trainSchema = z.strictObject({
  iterations: count.default(600).describe('updates of the weights'),
  batch: count.default(8).describe('images a forward pass'),
  accumulate: count.default(1).describe('forward passes an update'),
  ema: z
    .strictObject({ decay: below1.default(0.999) })
    .nullable()
    .default(null)
    .describe('averaged weights, which are then evaluated and kept as the best'),
  checkpointEvery: count.default(200),
})

const augmentSchema = z.strictObject({
  crop: sizeSchema.nullable().default(null).describe("[height, width]; null: the data's size"),
  scale: z.tuple([positive, positive]).nullable().default(null).describe('the range of random scales'),
  maxShare: positive.max(1).default(0.75).describe('of one class in a crop'),
  flip: z.boolean().default(true),
  photometric: z.boolean().default(false),
  rotate: z.number().min(0).max(180).default(0).describe('at most so many degrees'),
})

const evaluationSchema = z.strictObject({
  every: count.default(200).describe('iterations between evaluations'),
  batch: count.default(8).describe('images, or windows, at once'),
  slide: z
    .strictObject({ window: sizeSchema, stride: sizeSchema })
    .nullable()
    .default(null)
    .describe('sliding windows; null: whole images'),
  scales: z.array(positive).min(1).default([1]).describe('probabilities are averaged over these'),
  flip: z.boolean().default(false).describe('and over the mirror image'),
  boundary: z.boolean().default(false).describe('boundary IoU too'),
  meanOver: z.enum(['labelled', 'present']).default('labelled').describe('the classes that mIoU counts'),
})

/** What a section is that does not say which kind it is of: all of it, or beside what is given. */
const standard = {
  data: { kind: 'synthetic' },
  network: { name: 'pspnet_resnet18', width: 0.125 },
  optimiser: { kind: 'adamw', lr: 0.01 },
  schedule: { kind: 'poly' },
} as const

/** The schema; `z.toJSONSchema` of it is what `--help` prints. */
export const configSchema = z
  .strictObject({
    seed: natural.default(0),
    backend: z.enum(backends).default('auto'),
    adapter: z.string().nullable().default(null).describe("a part of the GPU's name"),
    precision: z.enum(['f32', 'f16']).default('f32').describe("'f16' halves large intermediates (WebGPU)"),
    subgroupMatrices: z
      .literal(true)
      .optional()
      .describe('true: products on tensor cores, operands rounded to f16 (WebGPU, experimental)'),
    lossScale: z
      .union([z.literal('dynamic'), positive])
      .default('dynamic')
      .describe('with f16'),
    data: dataSchema.prefault(standard.data),
    network: networkSchema.prefault(standard.network),
    pretrained: pretrainedSchema.nullable().default(null),
    loss: lossSchema.prefault({}),
    optimiser: optimiserSchema.prefault(standard.optimiser),
    schedule: scheduleSchema.prefault(standard.schedule),
    train: trainSchema.prefault({}),
    augment: augmentSchema.prefault({}),
    loader: z
      .strictObject({
        workers: natural
          .nullable()
          .default(null)
          .describe('threads that decode and augment; null: 2, and none for synthetic scenes'),
        ahead: count.default(2).describe('batches prepared ahead'),
      })
      .prefault({}),
    evaluation: evaluationSchema.prefault({}),
    log: z
      .strictObject({
        tensorboard: z.boolean().default(true),
        images: natural.default(2).describe('overlays in the event file at each evaluation'),
      })
      .prefault({}),
  })
  .describe('the configuration')

/** A complete configuration. */
export type Config = z.output<typeof configSchema>
/** A configuration as people write it: what is left out has its default. */
export type ConfigInput = z.input<typeof configSchema>

/**
 * Gives a configuration file its type, so that an editor completes and checks it; `readConfig` validates it.
 * @example export default defineConfig({ data: { kind: 'camvid', folder: 'data/camvid' }, train: { iterations: 4000 } })
 */
export const defineConfig = (config: ConfigInput): ConfigInput => config

/**
 * A complete configuration.
 * @param source  where it comes from, for the message
 * @throws UsageError that lists every mistake with its path and what is allowed there
 * @example parseConfig({ train: { iterations: 100 } }).train.batch // 8
 */
export function parseConfig(given: unknown, source = 'the configuration'): Config {
  const input = withKinds(given)
  const parsed = configSchema.safeParse(input, { reportInput: true })
  const problems = [
    ...(parsed.success ? [] : describeIssues(parsed.error.issues, configSchema, input)),
    ...contradictions(input),
  ]
  if (parsed.success && problems.length === 0) return parsed.data
  const n = problems.length
  throw new UsageError(
    [`${source} has ${n === 1 ? 'a mistake' : `${n} mistakes`}:`, ...problems.map(p => `  ${p}`)].join('\n'),
  )
}

/** The input, in which every section says what kind it is of. */
function withKinds(input: unknown): unknown {
  if (!isRecord(input)) return input
  const sections = Object.entries(standard).flatMap(([name, start]) => {
    const section = input[name]
    const [which] = Object.keys(start)
    return isRecord(section) && !(which in section) ? [[name, { ...start, ...section }] as const] : []
  })
  return { ...input, ...Object.fromEntries(sections) }
}
const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)

/** What no single value shows. Read from the raw input, so that it is told together with all else. */
function contradictions(input: unknown): string[] {
  const at = (...path: string[]): unknown => path.reduce(property, input)
  const number = (fallback: number, ...path: string[]): number => {
    const value = at(...path)
    return typeof value === 'number' ? value : fallback
  }
  const out: string[] = []
  const backend = at('backend')
  if (at('precision') === 'f16' && (backend === 'cpu' || backend === 'reference'))
    out.push(`precision: 'f16' needs WebGPU; allowed with backend '${backend}': 'f32'`)
  if (at('subgroupMatrices') === true && (backend === 'cpu' || backend === 'reference'))
    out.push(`subgroupMatrices: needs WebGPU; leave it out with backend '${backend}'`)
  const [warm, all] = [number(0, 'schedule', 'warmUp', 'iterations'), number(600, 'train', 'iterations')]
  if (warm > all)
    out.push(`schedule.warmUp.iterations: is ${warm}; allowed: at most train.iterations, ${all}`)
  const [low, high] = [number(1, 'augment', 'scale', '0'), number(1, 'augment', 'scale', '1')]
  if (low > high) out.push(`augment.scale: is [${low}, ${high}]; allowed: [low, high] with low <= high`)
  for (const axis of ['0', '1'] as const) {
    const stride = number(0, 'evaluation', 'slide', 'stride', axis)
    const window = number(Infinity, 'evaluation', 'slide', 'window', axis)
    if (stride > window)
      out.push(`evaluation.slide.stride.${axis}: is ${stride}; allowed: at most the window, ${window}`)
  }
  if (at('optimiser', 'nesterov') === true && at('optimiser', 'momentum') === 0)
    out.push('optimiser.nesterov: is true; allowed with momentum 0: false')
  const [classes, palette] = [at('data', 'classes'), at('data', 'palette')]
  if (Array.isArray(classes) && Array.isArray(palette) && palette.length < classes.length)
    out.push(
      `data.palette: has ${palette.length} colours; allowed: one for each of ${classes.length} classes`,
    )
  return out
}

const property = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined

function byte() {
  return z.int().min(0).max(255)
}
