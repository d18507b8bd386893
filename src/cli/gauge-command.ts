/** The command `gauge`. In: options. Out: the gauge test's table on stdout, as text or JSON. */
import { Command } from 'commander'
import { unwrap } from '../backend/compile.ts'
import { openBackend } from '../node.ts'
import { natural, positive } from './arguments.ts'
import { type GaugeReport, gauge, scales } from './gauge.ts'
import { table } from './table.ts'

const examples = `
The teacher's tapped feature is multiplied by s = 1/128, 1 and 128, and the layer that reads it divides by s, so that
the teacher's outputs stay the same to the last bit. What a method then does differently it does for the magnitude of
the features. Columns:
  loss   the distillation loss of one untrained student
  mIoU   of the student trained with it, on 128 held-out scenes; weights make every loss 1 at s = 1
  moved  how far its parameters are from those at s = 1, relative to the largest

Examples:
  $ cotangent gauge                    under two minutes on one core
  $ cotangent gauge --steps 1000 --seed 1 --json`

/** The command `gauge`, with its options. */
export function gaugeCommand(): Command {
  const command = new Command('gauge')
    .description("Rescale a teacher's feature, undo it where it is read, and see which methods notice.")
    .option('--steps <n>', 'steps of each student; the teacher takes twice as many', positive, 300)
    .option('--seed <n>', 'of scenes, initial values and batches', natural, 0)
    .option('--json', 'print the numbers as JSON')
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', examples)
    .allowExcessArguments(false)
  return command.action(async ({ steps, seed, json }: Typed) => {
    const backend = await unwrap(openBackend('cpu'))
    try {
      const report = await gauge({
        backend,
        steps,
        seed,
        tell: what => void process.stderr.write(`${what}\n`),
      })
      process.stdout.write(`${json ? JSON.stringify({ steps, seed, ...report }, null, 2) : textOf(report)}\n`)
    } finally {
      backend.close()
    }
  })
}
interface Typed {
  readonly steps: number
  readonly seed: number
  readonly json?: true
}

/** A row a method, the scales beside each other. */
function textOf({ teacher, alone, results }: GaugeReport): string {
  const names = scales.map(s => (s < 1 ? `1/${1 / s}` : String(s)))
  const methods = [...new Set(results.map(r => r.method))]
  const rows = methods.map(method => {
    const own = results.filter(r => r.method === method)
    return [
      method,
      ...own.map(r => r.loss.toPrecision(4)),
      ...own.map(r => r.miou.toFixed(3)),
      ...own.filter(r => r.scale !== 1).map(r => (r.moved === 0 ? '0, bit for bit' : r.moved.toPrecision(2))),
    ]
  })
  const header = [
    'method',
    ...names.map(n => `loss s=${n}`),
    ...names.map(n => `mIoU s=${n}`),
    ...names.filter(n => n !== '1').map(n => `moved s=${n}`),
  ]
  return [
    table(header, rows),
    '',
    `teacher ${teacher.miou.toFixed(3)}, student from labels alone ${alone.miou.toFixed(3)}`,
  ].join('\n')
}
