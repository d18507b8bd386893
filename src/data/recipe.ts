/**
 * How another thread makes the same function. Functions cannot be posted to a thread; the name of what made them
 * and its arguments can. In: a module, the name of an export, arguments that are plain data or recipes
 * themselves. Out: the function again.
 */
import { UsageError } from '../dsl/errors.ts'

/** "Call the export `make` of `module` with `args`." Recipes among the arguments are followed first. */
export interface Recipe {
  /** A URL: `import.meta.url` of the module that exports the maker. */
  readonly module: string
  readonly make: string
  /** Plain data that a thread may be sent (structured clone), lists of it, and recipes. */
  readonly args: readonly unknown[]
}

/** A function that says how it is made again. */
export type Remade<F> = F & { readonly recipe?: Recipe }

/**
 * A function with its recipe. The maker must be pure: called again with the same arguments, it must give a
 * function with the same results.
 * @example
 *   export const darken = (factor: number): Transform =>
 *     remade({ module: import.meta.url, make: 'darken', args: [factor] }, (_key, s) => ({ ...s, image: s.image.map(x => factor * x) }))
 */
export const remade = <F extends object>(recipe: Recipe, made: F): F & { readonly recipe: Recipe } =>
  Object.assign(made, { recipe })

/**
 * Follows a recipe. Its result is what the maker gives; only the caller knows its type.
 * @throws UsageError  if the module has no such export; what importing the module throws
 * @example const transform = await follow(recipe)
 */
export async function follow(recipe: Recipe): Promise<unknown> {
  const module: Record<string, unknown> = await import(recipe.module)
  const make = module[recipe.make]
  if (typeof make !== 'function')
    throw new UsageError(`recipe: ${recipe.module} exports no function "${recipe.make}"`)
  return make(...(await Promise.all(recipe.args.map(resolved))))
}

const resolved = async (arg: unknown): Promise<unknown> => {
  if (Array.isArray(arg)) return Promise.all(arg.map(resolved))
  return isRecipe(arg) ? follow(arg) : arg
}

const isRecipe = (x: unknown): x is Recipe =>
  typeof x === 'object' &&
  x !== null &&
  'module' in x &&
  typeof x.module === 'string' &&
  'make' in x &&
  typeof x.make === 'string' &&
  'args' in x &&
  Array.isArray(x.args)
