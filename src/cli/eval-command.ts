/** The options of `cotangent eval`. In: arguments. Out: the scores of trained weights, as a table and as JSON. */
import { Command, Option } from 'commander'
import { dispose, unwrap } from '../backend/compile.ts'
import { writeAtomic } from '../data/atomic.ts'
import { DataError } from '../dsl/errors.ts'
import { openBackend } from '../node.ts'
import { several } from './arguments.ts'
import { Interrupted } from './errors.ts'
import { watchSignals } from './interrupt.ts'
import { upload } from './named.ts'
import { progress } from './progress.ts'
import { openPart, type Part } from './segment/data.ts'
import { evaluateOn, type SegmentEvaluation } from './segment/evaluate.ts'
import { predictor } from './segment/infer.ts'
import { backendOptions } from './segment/job.ts'
import { describeLoad } from './segment/network.ts'
import { scoreJson, scoreTable } from './segment/summary.ts'
import { openTrained, type Trained } from './segment/trained.ts'
import { backendOverrides } from './train-command.ts'

interface Typed {
  readonly set?: readonly string[]
  readonly weights?: string
  readonly checkpoint?: 'best' | 'last'
  readonly part: Part
  readonly json?: string
  readonly backend?: string
  readonly adapter?: string
}

const examples = `
Examples:
  $ cotangent eval runs/camvid
  $ cotangent eval runs/camvid --set 'evaluation.scales=[0.5,1,1.5]' --set evaluation.flip=true
  $ cotangent eval runs/city --set 'evaluation.slide={"window":[512,1024],"stride":[341,682]}' --json eval.json
  $ cotangent eval voc.config.ts --weights fcn_resnet50.pth

Logits are upsampled to the image's size, then comes the argmax; one confusion matrix counts the whole set.
mIoU is the mean over the classes that occur in the labels (evaluation.meanOver=present: also those only predicted).`

/** The command `eval`, with its options. */
export const evalCommand = (): Command =>
  new Command('eval')
    .description('Score trained weights: mIoU, IoU of each class, accuracies, boundary IoU.')
    .argument('<run>', 'a run folder, its best.safetensors, or a configuration file with --weights')
    .option('--set <path=value>', "changes the run's configuration; may be given several times", several)
    .option('--weights <file>', "other weights than the run's: .safetensors, .pth or .pt")
    .addOption(
      new Option('--checkpoint <name>', "which of the run's own (default: best)").choices(['best', 'last']),
    )
    .addOption(new Option('--part <name>', 'of the data').choices(['val', 'train']).default('val'))
    .option(
      '--json <file>',
      'writes the scores, and the confusion matrix, as JSON; - for stdout instead of the table',
    )
    .option('--backend <name>', "instead of the run's")
    .option('--adapter <name>', "a part of the GPU adapter's name")
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .allowExcessArguments(false)
    .action(async (source: string, typed: Typed) => {
      const { json, part, weights, checkpoint } = typed
      const overrides = [...(typed.set ?? []), ...backendOverrides(typed)]
      const trained = await openTrained(source, {
        overrides,
        ...(weights === undefined ? {} : { weights }),
        ...(checkpoint === undefined ? {} : { checkpoint }),
      })
      if (trained.report) process.stderr.write(`${describeLoad(trained.report)}\n`)
      const { evaluation, dataset } = await score(trained, part)
      const text = JSON.stringify(scoreJson(evaluation, dataset, trained.about), undefined, 2)
      if (json === '-') process.stdout.write(`${text}\n`)
      else {
        if (json !== undefined) writeAtomic(json, [`${text}\n`])
        process.stdout.write(
          `${trained.about}\n${dataset.name}: ${dataset.size} images\n\n${scoreTable(evaluation, dataset.classes)}\n`,
        )
      }
    })

/** Scores weights on a part of their data. */
async function score({ config, classes, net, variables, weights, about }: Trained, part: Part) {
  const dataset = await openPart(config, part)
  if (dataset.classes.length !== classes.length)
    throw new DataError(
      `${about} has ${classes.length} classes, ${dataset.name} has ${dataset.classes.length}: ${dataset.classes.join(', ')}`,
    )
  const backend = await unwrap(openBackend(config.backend, backendOptions(config)))
  const interrupt = watchSignals(() => process.stderr.write('\nstopping after this batch\n'))
  const bar = progress(dataset.size, 'eval')
  try {
    bar.update(0)
    const resident = await upload(weights, backend)
    const { batch, boundary, meanOver } = config.evaluation
    const evaluation: SegmentEvaluation | undefined = await evaluateOn(
      predictor(net, variables, config.evaluation, backend),
      resident,
      dataset,
      {
        batch,
        workers: config.loader.workers ?? (config.data.kind === 'synthetic' ? 0 : 2),
        boundary,
        meanOver,
        keep: 0,
        interrupt,
        onImage: done => bar.update(done),
      },
    )
    dispose(resident)
    if (!evaluation) throw new Interrupted('stopped; nothing was written')
    return { evaluation, dataset }
  } finally {
    bar.stop()
    interrupt.stop()
    backend.close()
  }
}
