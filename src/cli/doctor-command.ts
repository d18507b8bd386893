/** The command `doctor`. In: nothing. Out: a table of what this machine has and what to install, as text or JSON. */
import { Command } from 'commander'
import { DeviceError } from '../dsl/errors.ts'
import {
  adapterChecks,
  backendCheck,
  type Check,
  diskChecks,
  driverChecks,
  hostChecks,
} from './doctor-machine.ts'

const help = `
Checks Node.js, memory, disk, the GPU's driver, and multiplies known matrices on every backend.
Exit codes: 0 all that is necessary works, 1 something necessary fails (Node.js or the CPU backend), or a backend computes
wrong numbers.`

/** The command `doctor`, with its options. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Check this machine: adapter, driver, limits, memory, a known product on every backend.')
    .option('--json', 'print the checks as JSON')
    .option('--stack', 'print stack traces of errors')
    .addHelpText('after', help)
    .allowExcessArguments(false)
    .action(async ({ json }: { readonly json?: true }) => {
      const checks = await machineChecks()
      process.stdout.write(`${json ? JSON.stringify(checks, null, 2) : describeChecks(checks)}\n`)
      const broken = checks.filter(c => c.status === 'error')
      if (broken.length > 0)
        throw new DeviceError(broken.map(c => `${c.name}: ${c.value}; ${c.mend ?? ''}`).join('\n'))
    })
}

/** All checks, one after another: they are timed. */
export async function machineChecks(): Promise<readonly Check[]> {
  return [
    ...hostChecks(),
    ...diskChecks(),
    ...driverChecks(),
    ...(await adapterChecks()),
    await backendCheck('cpu'),
    await backendCheck('webgpu'),
    await backendCheck('reference'),
  ]
}

const marks = { ok: 'ok     ', warning: 'warning', error: 'ERROR  ' } as const

/** The checks as lines; what to do stands below what it is about. */
export function describeChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(c => c.name.length))
  const indent = ' '.repeat(marks.ok.length + width + 4)
  return checks
    .flatMap(({ name, status, value, mend }) => [
      `${marks[status]}  ${name.padEnd(width)}  ${value}`,
      ...(mend === undefined ? [] : [`${indent}-> ${mend}`]),
    ])
    .join('\n')
}
