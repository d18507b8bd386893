/**
 * The errors of the language: tagged values with data. Text is made from them at the edge (`message`).
 * Inside tracing they are thrown; `compile` catches them and returns them as values.
 */

/** The base of every error that Cotangent raises on purpose; anything else is a defect of ours. */
export abstract class CotangentError extends Error {
  abstract readonly tag: string
  override get name(): string {
    return this.tag
  }
}

/** An operation whose operands' shapes or dtypes break its rule. `lines` name both values and the mend. */
export class ShapeError extends CotangentError {
  readonly tag = 'ShapeError'
  readonly op: string
  readonly rule: string
  readonly lines: readonly string[]
  constructor(op: string, rule: string, lines: readonly string[] = [], scope = '') {
    super(
      [`${op}: ${rule}`, ...lines.map(l => `  ${l}`), ...(scope ? [`  while tracing ${scope}`] : [])].join(
        '\n',
      ),
    )
    this.op = op
    this.rule = rule
    this.lines = lines
  }
}

/** A derivative that cannot be had: names the operation and the place. Never a silent zero. */
export class GradientError extends CotangentError {
  readonly tag = 'GradientError'
}

/** A compilation that cannot be done on this backend (a dtype, a limit, an open input). */
export class CompileError extends CotangentError {
  readonly tag = 'CompileError'
}

/** A device that is not there, was lost or ran out of memory. */
export class DeviceError extends CotangentError {
  readonly tag = 'DeviceError'
}

/** Bad data on disk: a missing folder, an unreadable image, a label beyond the class count. */
export class DataError extends CotangentError {
  readonly tag = 'DataError'
}

/** A bad option or configuration value. */
export class UsageError extends CotangentError {
  readonly tag = 'UsageError'
}

/** A run that had to stop (a NaN loss); what was saved is named in the message. */
export class RunError extends CotangentError {
  readonly tag = 'RunError'
}
