/**
 * `npm run mutate`: breaks each derivative rule, partial, shape rule and pass in turn, by the operators of
 * `mutate/operators.ts`, and runs the property suite of the tests on each. Prints the score and the survivors; exit
 * status 1 below 100 % of the derivative rules and partials, or below 95 % in all.
 *
 *   npm run mutate -- [--file PART] [--only OPERATOR] [--fraction 0.1 --seed N] [--jobs N]
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { operators } from './mutate/operators.ts'
import { mutate, passes, place, summary } from './mutate/score.ts'

const { values } = parseArgs({
  options: {
    file: { type: 'string', default: '' },
    only: { type: 'string' },
    fraction: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    verbose: { type: 'boolean', default: false },
  },
})
if (values.only !== undefined && !operators.some(o => o.name === values.only)) {
  console.error(`mutate: no operator '${values.only}'; there are ${operators.map(o => o.name).join(', ')}`)
  process.exit(2)
}

const started = performance.now()
const result = await mutate({
  file: values.file,
  only: values.only,
  fraction: Number(values.fraction),
  seed: Number(values.seed),
  jobs: Number(values.jobs),
  report: (done, total, m, o) => {
    if (values.verbose)
      console.log(`${place(m)}: ${o.by ?? 'SURVIVED'} (${Math.round(o.ms)} ms) ${o.why}\n    ${m.code}`)
    if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${total}`)
  },
})
if (process.stderr.isTTY) process.stderr.write('\r')
console.log(summary(result))
console.log(`in ${((performance.now() - started) / 1000).toFixed(0)} s, seed ${values.seed}`)
process.exitCode = passes(result) ? 0 : 1
