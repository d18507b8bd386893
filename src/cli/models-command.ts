/**
 * `cotangent models`: what the networks cost. In: classes, size, width. Out: two tables on stdout, the zoo at that
 * size and the published networks beside their published figures. Nothing is run: costs are told by traced graphs.
 */
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Size } from '../data/sample.ts'
import type { OutputStride } from '../nn/backbone.ts'
import { costOf } from '../nn/cost.ts'
import { type ZooOptions, zoo, zooNames } from '../nn/zoo.ts'
import { above0, positive, sizeOf } from './arguments.ts'
import { comparisonOf, published } from './published.ts'
import { table } from './table.ts'

interface Typed {
  readonly classes: number
  readonly size: Size
  readonly width: number
  readonly outputStride?: OutputStride
  readonly auxiliary?: true
}

const examples = `
Examples:
  $ cotangent models
  $ cotangent models --classes 19 --size 512x1024 --auxiliary
  $ cotangent models --width 0.25 --output-stride 16

A multiply-add is one multiplication in a convolution, matrix product or attention; resizing and pooling count as none.
A name is a network of the zoo: zoo.deeplabv3_resnet50({ classes: 19 }).`

/** The command `models`, with its options. */
export const modelsCommand = (): Command =>
  new Command('models')
    .description('List the segmentation networks: parameters, multiply-adds, and published figures.')
    .option('--classes <n>', 'the number of classes', positive, 21)
    .option('--size <h>x<w>', 'the size of the image', sizeOf, [512, 512])
    .option('--width <factor>', 'of all channels, of backbone and head', above0, 1)
    .addOption(
      new Option('--output-stride <n>', 'instead of the published one')
        .choices(['8', '16', '32'])
        .argParser((text): OutputStride => {
          const n = Number(text)
          if (n === 8 || n === 16 || n === 32) return n
          throw new InvalidArgumentError('It must be 8, 16 or 32.')
        }),
    )
    .option('--auxiliary', 'with the auxiliary head')
    .option('--stack', 'print the stack trace of an error')
    .addHelpText('after', examples)
    .action(({ size, ...options }: Typed) => {
      const { classes, width, outputStride, auxiliary } = options
      const text = describeModels(size, { classes, width, outputStride, auxiliary })
      process.stdout.write(`${text}\n\n${describePublished()}\n`)
    })

/** The zoo as a table. @throws UsageError, ShapeError if a network cannot be that size */
export function describeModels(size: Size, options: ZooOptions): string {
  const rows = zooNames.map(name => {
    const { parameters, multiplyAdds } = costOf(zoo[name](options), size)
    return [name, parameters, multiplyAdds / 1e9]
  })
  const what = `${options.classes} classes, images of ${size.join(' x ')}${options.auxiliary ? ', with auxiliary heads' : ''}`
  return `${what}\n\n${table(['network', 'parameters', 'multiply-adds (10^9)'], rows)}`
}

/** The published networks, counted, beside their published figures. */
export function describePublished(): string {
  const rows = published
    .map(comparisonOf)
    .map(({ name, side, counted, parameters, multiplyAdds, source, agrees }) => [
      name,
      `${side} x ${side}`,
      counted.parameters,
      parameters,
      counted.multiplyAdds / 1e9,
      multiplyAdds,
      agrees ? 'yes' : 'NO',
      source,
    ])
  const header = [
    'as published',
    'image',
    'parameters',
    'published',
    'multiply-adds (10^9)',
    'published',
    'agrees',
    'source',
  ]
  return table(header, rows)
}
