/**
 * The results of training or evaluation, for people and for programs. In: an evaluation. Out: a table for the terminal,
 * plain data for JSON, and the data of the report.
 */
import type { ConfusionMatrix } from '../../data/metrics.ts'
import type { Dataset } from '../../data/sample.ts'
import type { Config } from '../config.ts'
import { version } from '../distill-summary.ts'
import { duration } from '../progress.ts'
import type { Point } from '../report-charts.ts'
import { threeDigits } from '../report-parts.ts'
import type { Json, Run } from '../run-folder.ts'
import { table } from '../table.ts'
import type { ImageScore, SegmentEvaluation } from './evaluate.ts'
import type { SegmentReport, Shown } from './report.ts'

const percent = (x: number | null): number | null => (x === null ? null : 100 * x)

/**
 * mIoU and accuracies, then IoU and accuracy of each class, in per cent.
 * @example console.log(scoreTable(evaluation, dataset.classes))
 */
export function scoreTable({ scores, boundary }: SegmentEvaluation, classes: readonly string[]): string {
  const edge = (x: number | null | undefined) => (boundary ? [percent(x ?? null)] : [])
  const rows = classes.map((name, c) => [
    name,
    percent(scores.iou[c]),
    percent(scores.accuracy[c]),
    ...edge(boundary?.iou[c]),
  ])
  const mean = ['mean', percent(scores.miou), percent(scores.classAccuracy), ...edge(boundary?.miou)]
  const header = ['in %', 'IoU', 'accuracy', ...(boundary ? ['boundary IoU'] : [])]
  return `${table(header, [mean, ...rows], { digits: 1 })}\n\npixel accuracy ${(100 * scores.pixelAccuracy).toFixed(1)} %`
}

/**
 * An evaluation as JSON: fractions of 1, null for classes that do not occur; the matrix has a row a label.
 * @example writeFileSync('eval.json', JSON.stringify(scoreJson(evaluation, dataset, 'runs/a')))
 */
export function scoreJson(
  { scores, boundary, matrix }: SegmentEvaluation,
  dataset: Pick<Dataset, 'name' | 'classes' | 'size'>,
  weights: string,
): Json {
  return {
    weights,
    dataset: dataset.name,
    images: dataset.size,
    miou: scores.miou,
    pixelAccuracy: scores.pixelAccuracy,
    classAccuracy: scores.classAccuracy,
    boundaryMiou: boundary?.miou ?? null,
    classes: dataset.classes.map((name, c) => ({
      name,
      iou: scores.iou[c],
      accuracy: scores.accuracy[c],
      boundaryIou: boundary?.iou[c] ?? null,
    })),
    confusion: rowsOf(matrix, dataset.classes.length),
  }
}

const rowsOf = (matrix: ConfusionMatrix, n: number): number[][] =>
  Array.from({ length: n }, (_, c) => Array.from(matrix.subarray(c * n, (c + 1) * n)))

/**
 * What the report shows.
 * @throws DataError if a sample of the galleries cannot be read
 */
export async function reportOf(about: {
  readonly step: number
  readonly evaluation: SegmentEvaluation
  readonly run: Run
  readonly config: Config
  readonly val: Dataset
  readonly network: SegmentReport['network']
  readonly msPerStep: number
  /** The part of the training time in which steps waited for batches. */
  readonly waiting: number
  readonly device: string
  /** Bytes on the device at the highest. */
  readonly peakMemory: number
  readonly kernels: string
  readonly date: Date
}): Promise<SegmentReport> {
  const { evaluation, config, val, msPerStep, waiting } = about
  const { iterations, batch, accumulate } = config.train
  const metrics = about.run.metrics()
  // what only this process knows
  const since = about.run.resumed ? ', since the run was resumed' : ''
  const curve = (name: string): Point[] =>
    metrics.flatMap((m): Point[] => {
      const y = m[name]
      return typeof y === 'number' ? [[m.step, y]] : []
    })
  const shown = (list: readonly ImageScore[]): Promise<Shown[]> =>
    Promise.all(
      list.slice(0, 3).map(async ({ index, miou, prediction }) => {
        const { name, height, width, image, label } = await val.get(index)
        return { name, rgb: { size: [height, width], image }, label, prediction, miou }
      }),
    )
  return {
    title: `${config.network.name} on ${config.data.kind}`,
    date: about.date,
    dataset: val,
    network: about.network,
    scores: evaluation.scores,
    boundary: evaluation.boundary,
    matrix: evaluation.matrix,
    iteration: about.step,
    iterations,
    curves: { loss: curve('loss'), miou: curve('miou'), learningRate: curve('learningRate') },
    best: await shown(evaluation.best),
    worst: await shown(evaluation.worst),
    config: toJson(config),
    machine: {
      device: about.device,
      speed: `${perIteration(msPerStep)} an iteration, ${threeDigits((1000 * batch * accumulate) / msPerStep)} images/s`,
      'training time': duration(msPerStep * iterations),
      loader: `${(100 * waiting).toFixed(1)} % of the training time waited for images${since}`,
      'device memory': `${mebibytes(about.peakMemory)} at most${since}`,
      'process memory': `${mebibytes(process.resourceUsage().maxRSS * 1024)} at most${since}`,
      cotangent: version(),
      node: process.versions.node,
    },
    kernels: about.kernels,
  }
}

// A configuration is plain data.
const toJson = (config: Config): Json => JSON.parse(JSON.stringify(config))
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`
const perIteration = (ms: number): string =>
  ms < 1000 ? `${threeDigits(ms)} ms` : `${threeDigits(ms / 1000)} s`
