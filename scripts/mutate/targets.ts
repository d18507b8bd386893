/** The files that are broken, by what they hold, and which of their definitions. */

/** What a part of a file is. The first two must be caught whole. */
export type Group = 'derivative rule' | 'scalar partial' | 'shape rule' | 'pass' | 'other transform'

export interface Target {
  readonly file: string
  readonly group: Group
  /** Only the definitions whose path (`scalars.max.partials`) matches. */
  readonly within?: RegExp
}

/** The groups of which every mutant must be caught, or proved equal. */
export const whole: readonly Group[] = ['derivative rule', 'scalar partial']

export const targets: readonly Target[] = [
  { file: 'src/autodiff/vjp.ts', group: 'derivative rule' },
  { file: 'src/autodiff/control.ts', group: 'derivative rule' },
  { file: 'src/autodiff/reach.ts', group: 'derivative rule' },
  { file: 'src/dsl/scalar.ts', group: 'scalar partial', within: /^(scalars\.\w+\.partials|share|zero)\b/ },
  { file: 'src/dsl/infer.ts', group: 'shape rule' },
  { file: 'src/dsl/scalar.ts', group: 'shape rule', within: /^scalarType\b/ },
  { file: 'src/backend/passes/inline.ts', group: 'pass' },
  { file: 'src/backend/passes/share.ts', group: 'pass' },
  { file: 'src/backend/passes/simplify.ts', group: 'pass' },
  { file: 'src/backend/passes/split-contraction.ts', group: 'pass' },
  { file: 'src/backend/passes/windows.ts', group: 'pass' },
  { file: 'src/autodiff/checkpoint.ts', group: 'other transform' },
  { file: 'src/autodiff/grad.ts', group: 'other transform' },
  { file: 'src/autodiff/transform.ts', group: 'other transform' },
  { file: 'src/autodiff/vmap.ts', group: 'other transform' },
  { file: 'src/backend/memory.ts', group: 'other transform' },
]
