#!/usr/bin/env node
// The command `cotangent`: lets Node read TypeScript, then hands over to src/cli/main.ts.
import { register } from 'tsx/esm/api'

register()
// a reader that has seen enough (`| head`) is no failure
process.stdout.on('error', e => {
  if (e.code === 'EPIPE') process.exit()
  throw e
})
const { main } = await import('../src/cli/main.ts')
process.exitCode = await main(process.argv)
