/**
 * The options of `cotangent predict`. In: trained weights and images. Out: an overlay an image under the same name, and
 * the legend; broken files are named and skipped, and the exit code is 1 at the end.
 */
import { Command } from 'commander'
import { DataError } from '../dsl/errors.ts'
import { fraction, several } from './arguments.ts'
import { describeLoad } from './segment/network.ts'
import { predictFolder } from './segment/predict.ts'
import { openTrained } from './segment/trained.ts'
import { backendOverrides } from './train-command.ts'

interface Typed {
  readonly out: string
  readonly alpha: number
  readonly labels?: true
  readonly set?: readonly string[]
  readonly weights?: string
  readonly backend?: string
  readonly adapter?: string
}

const examples = `
Examples:
  $ cotangent predict runs/camvid frames --out overlays
  $ cotangent predict runs/camvid frames --out labels --labels         class numbers as palette PNG
  $ cotangent predict best.safetensors photo.jpg --alpha 0.4 --set evaluation.flip=true

A folder keeps its form: frames/a/1.jpg becomes overlays/a/1.png. overlays/index.html shows them beside
the originals (which it links to) with the classes that occur; overlays/legend.svg is the legend alone.
Exit codes: 0 done, 1 failed or an image was skipped, 2 called wrongly, 130 interrupted.`

/** The command `predict`, with its options. */
export const predictCommand = (): Command =>
  new Command('predict')
    .description('Draw the classes that a trained network sees over a folder of images.')
    .argument('<run>', 'a run folder, its best.safetensors, or a configuration file with --weights')
    .argument('<images...>', 'image files (JPEG, PNG), and folders of them')
    .requiredOption('--out <folder>', 'where the overlays go')
    .option('--alpha <x>', 'how much the colours cover, from 0 to 1', fraction, 0.6)
    .option('--labels', 'class numbers as palette PNG, and no overlays')
    .option('--set <path=value>', "changes the run's configuration; may be given several times", several)
    .option('--weights <file>', "other weights than the run's: .safetensors, .pth or .pt")
    .option('--backend <name>', "instead of the run's")
    .option('--adapter <name>', "a part of the GPU adapter's name")
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .action(async (source: string, images: readonly string[], typed: Typed) => {
      const { out, alpha, labels = false, weights } = typed
      const overrides = [...(typed.set ?? []), ...backendOverrides(typed)]
      const trained = await openTrained(source, { overrides, ...(weights === undefined ? {} : { weights }) })
      if (trained.report) process.stderr.write(`${describeLoad(trained.report)}\n`)
      const { written, skipped } = await predictFolder(trained, { images, out, alpha, labels })
      process.stdout.write(`${written} images in ${out}, by ${trained.about}\n`)
      if (skipped.length > 0)
        throw new DataError(
          [
            `${skipped.length} of ${written + skipped.length} images were skipped:`,
            ...skipped.map(s => `  ${s}`),
          ].join('\n'),
        )
    })
