import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'

const source = new URL('../../src/cli/interrupt.ts', import.meta.url).href

/** A process that watches signals, never stops by itself, and says when it is ready and when it was asked. */
const script = `
import { watchSignals } from '${source}'
const interrupt = watchSignals(() => console.log('asked ' + interrupt.requested))
setInterval(() => {}, 1000)
console.log('ready ' + interrupt.requested)`

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`the first ${signal} only raises the flag, the second ends the process with 130`, async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script])
    const says = async (): Promise<string> => String((await once(child.stdout, 'data'))[0]).trim()
    assert.equal(await says(), 'ready false')
    child.kill(signal)
    assert.equal(await says(), 'asked true')
    assert.equal(child.exitCode, null)
    child.kill(signal)
    const [code] = await once(child, 'exit')
    assert.equal(code, 130)
  })
