/**
 * What training writes down as it goes on. In: a run folder. Out: the run, whose measurements also go to TensorBoard
 * event files; pictures of the first held-out images; speed and memory beside the progress bar.
 */
import { encodePng } from '../../data/image.ts'
import type { Dataset } from '../../data/sample.ts'
import type { Config } from '../config.ts'
import { type EventFile, openEvents } from '../events.ts'
import { type Progress, progress } from '../progress.ts'
import type { Run } from '../run-folder.ts'
import type { SegmentEvaluation } from './evaluate.ts'
import { overlay } from './overlay.ts'

/** Measurements of the validation set; all others are of training. */
const ofValidation: ReadonlySet<string> = new Set(['miou', 'pixelAccuracy', 'classAccuracy', 'boundaryMiou'])

/** Where measurements go. */
export interface Recorder {
  /** The run, as the training loop takes it. */
  readonly run: Run
  readonly show: (total: number, label: string) => Progress
  /** Overlays of the first predictions. */
  readonly pictures: (step: number, evaluation: SegmentEvaluation) => Promise<void>
}

/**
 * Makes a recorder. The event file begins when the loop says where it goes on from.
 * @example const { run, show } = recorder(run, config, val, 'train')
 */
export function recorder(run: Run, { log }: Pick<Config, 'log'>, val: Dataset, phase: string): Recorder {
  let events: EventFile | undefined
  return {
    run: {
      ...run,
      rewind(name, step) {
        run.rewind(name, step)
        if (log.tensorboard && name === phase) events = openEvents(run.folder, { step })
      },
      log(metric) {
        run.log(metric)
        const values = Object.entries(metric).flatMap(([name, value]) =>
          name === 'step' || typeof value === 'string'
            ? []
            : [[`${ofValidation.has(name) ? 'val' : phase}/${name}`, finite(value)] as const],
        )
        events?.scalars(metric.step, Object.fromEntries(values))
      },
    },
    show(total, label) {
      const bar = progress(total, label)
      const every = Math.ceil(total / 2000)
      return {
        update(step, values = {}) {
          bar.update(step, values)
          const { imagesPerSecond, bytes } = values
          if (imagesPerSecond === undefined || bytes === undefined || step % every !== 0) return
          events?.scalars(step, {
            'speed/images per second': finite(imagesPerSecond),
            'memory/device MiB': bytes / 2 ** 20,
          })
        },
        stop: () => bar.stop(),
      }
    },
    async pictures(step, { predictions }) {
      if (!events) return
      const shown = predictions.slice(0, log.images)
      const pictures = await Promise.all(
        shown.map(async (prediction, i) => {
          const { name, height, width, image } = await val.get(i)
          const rgb = overlay({ size: [height, width], image }, prediction, val.palette, 0.6)
          return [`val/${name}`, { height, width, png: encodePng(rgb, height, width) }] as const
        }),
      )
      events.images(step, Object.fromEntries(pictures))
    },
  }
}

const finite = (x: number | null): number | null => (x !== null && Number.isFinite(x) ? x : null)
