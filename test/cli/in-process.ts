/** Runs the command line in this process, for tests that need no signals. In: arguments. Out: its output and exit code. */
import type { TestContext } from 'node:test'
import { main } from '../../src/cli/main.ts'
import type { Finished } from './command.ts'

/**
 * Runs `cotangent ...args` here and catches what it prints. Bytes go through: they are the test runner's own.
 * @example const { code, stderr } = await here(t, ['train', '--set', 'seed=x'])
 */
export async function here(t: TestContext, args: readonly string[]): Promise<Finished> {
  const texts = { stdout: '', stderr: '' }
  const mocks = (['stdout', 'stderr'] as const).map(name => {
    const write = process[name].write.bind(process[name])
    return t.mock.method(process[name], 'write', (chunk: string | Uint8Array) => {
      if (typeof chunk !== 'string') return write(chunk)
      texts[name] += chunk
      return true
    })
  })
  try {
    return { code: await main(['node', 'cotangent', ...args]), ...texts }
  } finally {
    for (const mock of mocks) mock.mock.restore()
  }
}

/** Settings of a training run that takes a second or two: 4 iterations on scenes of 16 x 16 pixels. */
export const tinyTrain: readonly string[] = [
  'backend=cpu',
  'data={"kind":"synthetic","size":[16,16],"trainImages":8,"valImages":5}',
  'network={"name":"lraspp_mobilenet_v3_large","width":0.05}',
  'train.iterations=4',
  'train.batch=2',
  'train.checkpointEvery=2',
  'evaluation.every=2',
  'evaluation.batch=2',
].flatMap(text => ['--set', text])
