/**
 * The results of a distillation run, for people. In: the trained networks' scores and the run's measurements.
 * Out: the table for the terminal, and the data of report.html.
 */
import { readFileSync } from 'node:fs'
import { majorityMatrix, type Scores, scores } from '../data/metrics.ts'
import type { Dataset } from '../data/sample.ts'
import type { Evaluation } from './evaluate-model.ts'
import type { ModelReport, ReportData } from './report.ts'
import type { Point } from './report-charts.ts'
import type { Metric } from './run-folder.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'

/** A network that was trained and scored. */
export interface Result {
  /** Such as `Student + NFD`. */
  readonly name: string
  readonly role: ModelReport['role']
  /** The phase that trained it: its name in metrics.jsonl. */
  readonly phase: string
  readonly parameters: number
  readonly msPerStep: number
  readonly evaluation: Evaluation
}

/** The scores of always answering the class that is most frequent in the validation labels. */
export const baselineOf = ({ evaluation }: Result, classes: number): Scores =>
  scores(majorityMatrix(evaluation.matrix, classes), classes)

/**
 * mIoU and the IoU of each class, in per cent, a column for the baseline and for each network.
 * @example console.log(scoreTable(results, dataset.classes))
 */
export function scoreTable(results: readonly Result[], classes: readonly string[]): string {
  const columns = [baselineOf(results[0], classes.length), ...results.map(r => r.evaluation.scores)]
  const percent = (x: number | null): number | null => (x === null ? null : 100 * x)
  return table(
    ['IoU in %', 'most frequent class', ...results.map(r => r.name)],
    [
      ['mean (mIoU)', ...columns.map(c => percent(c.miou))],
      ...classes.map((name, c) => [name, ...columns.map(s => percent(s.iou[c]))]),
    ],
    { digits: 1 },
  )
}

/** The gallery shows this many validation images. */
export const galleryImages = 6

/**
 * What the report shows.
 * @param about.peakMemory  bytes on the device at the highest
 * @throws DataError if a sample of the gallery cannot be read
 */
export async function reportOf(
  results: readonly Result[],
  about: {
    readonly settings: Settings
    readonly val: Dataset
    readonly metrics: readonly Metric[]
    readonly device: string
    readonly peakMemory: number
    readonly date: Date
  },
): Promise<ReportData> {
  const { val, metrics, settings } = about
  const shown = Math.min(galleryImages, val.size)
  const samples = await Promise.all(Array.from({ length: shown }, (_, i) => val.get(i)))
  const curve = (phase: string, value: string): Point[] =>
    metrics.flatMap((m): Point[] => {
      const y = m[value]
      return m.phase === phase && typeof y === 'number' ? [[m.step, y]] : []
    })
  return {
    title: `Distillation on ${settings.dataset}`,
    date: about.date,
    dataset: val,
    models: results.map(({ phase, evaluation, ...result }) => ({
      ...result,
      scores: evaluation.scores,
      loss: curve(phase, 'loss'),
      miou: curve(phase, 'miou'),
    })),
    baseline: baselineOf(results[0], val.classes.length),
    gallery: samples.map((sample, i) => ({
      sample,
      predictions: results.map(r => r.evaluation.predictions[i]),
    })),
    config: settings,
    device: about.device,
    versions: {
      cotangent: version(),
      node: process.versions.node,
      'peak memory of the process': mebibytes(peakProcessMemory()),
    },
    peakMemory: about.peakMemory,
  }
}

/** The version in package.json. */
export function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}

const peakProcessMemory = (): number => process.resourceUsage().maxRSS * 1024
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`

/**
 * What the run took: milliseconds a step and images a second of each training, and memory at the highest.
 * @param deviceBytes  on the device, at the highest
 */
export const usage = (results: readonly Result[], batch: number, deviceBytes: number): string =>
  [
    ...results.map(
      ({ name, msPerStep }) =>
        `${name.padEnd(15)}${msPerStep.toFixed(1)} ms a step, ${((1000 * batch) / msPerStep).toFixed(0)} images/s`,
    ),
    `memory    at most ${mebibytes(deviceBytes)} on the device, ${mebibytes(peakProcessMemory())} in the process`,
  ].join('\n')
