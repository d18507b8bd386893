/**
 * Trained weights and what they belong to. In: a training state, or a run folder, or a file that a run kept. Out: that
 * file (torchvision's names, with the configuration, the classes and their colours as metadata), and back.
 */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { readSafetensors } from '../../data/safetensors.ts'
import type { Colour, Dataset } from '../../data/sample.ts'
import { fromStateDict, type LoadReport, loadWeights, stateDict } from '../../data/weights.ts'
import type { NDArray } from '../../dsl/array.ts'
import { DataError, UsageError } from '../../dsl/errors.ts'
import { key } from '../../dsl/threefry.ts'
import { mapTree } from '../../dsl/tree.ts'
import type { Config } from '../config.ts'
import { parseStored, readConfig, readRunConfig } from '../config-file.ts'
import type { Network } from '../models.ts'
import { type Named, namedArrays } from '../named.ts'
import type { Run } from '../run-folder.ts'
import { openPart } from './data.ts'
import { weightsOf } from './infer.ts'
import { networkOf } from './network.ts'
import type { Variables } from './step.ts'

/** The names of a run's checkpoints: the whole state after the last save, and the weights that scored best. */
export const checkpoints = { last: 'last', best: 'best' } as const

/** Class names and their colours. */
export type Classes = Pick<Dataset, 'classes' | 'palette'>

/** Weights with all that running them takes. */
export interface Trained extends Classes {
  readonly config: Config
  readonly net: Network
  readonly variables: Variables
  /** The leaves of `{ params, state }` by name. */
  readonly weights: Named<NDArray>
  /** Where they come from, such as `runs/a/checkpoints/best.safetensors, iteration 400`. */
  readonly about: string
  /** What was loaded, if the file is of another origin. */
  readonly report: LoadReport | null
}

/**
 * Keeps weights as a run's best.
 * @param weights  the leaves of `{ params, state }` by name
 * @returns the path of the file
 * @example keepBest(run, variables, await read(weightsOf(state, false)), { config, dataset, step, miou })
 */
export function keepBest(
  run: Run,
  variables: Variables,
  weights: Named<NDArray>,
  about: { readonly config: Config; readonly dataset: Classes; readonly step: number; readonly miou: number },
): string {
  const { classes, palette } = about.dataset
  return run.save(checkpoints.best, stateDict(filled(variables, weights)), {
    // how the format's Python library marks PyTorch's names and layouts
    format: 'pt',
    config: JSON.stringify(about.config),
    classes: JSON.stringify({ classes, palette }),
    step: String(about.step),
    miou: String(about.miou),
  })
}

/** Trees with arrays by name in the place of their own. */
const filled = (variables: Variables, weights: Named<NDArray>): Variables =>
  // The form is that of the trees.
  mapTree(variables, isArray, (leaf, path) => weights[path] ?? leaf) as Variables
const isArray = (x: unknown): x is NDArray =>
  typeof x === 'object' && x !== null && 'shape' in x && 'dtype' in x && 'data' in x

/** What `openTrained` may be told. */
export interface OpenTrained {
  /** Other weights than the run's. */
  readonly weights?: string
  readonly checkpoint?: keyof typeof checkpoints
  /** `path=value` texts over the configuration. */
  readonly overrides?: readonly string[]
}

/**
 * Opens trained weights.
 * @param source  a run folder; a file `best.safetensors` of one; or, with other weights, a configuration file
 * @throws DataError if a file is missing, damaged or of another network; UsageError if the source is none of these
 * @example const { net, weights, classes } = await openTrained('runs/camvid')
 */
export async function openTrained(source: string, options: OpenTrained = {}): Promise<Trained> {
  const { weights, checkpoint = 'best', overrides = [] } = options
  const found = statSync(source, { throwIfNoEntry: false })
  if (!found) throw new DataError(`there is no run folder and no file ${source}`)
  const isConfig = found.isFile() && !source.endsWith('.safetensors')
  if (isConfig && weights === undefined)
    throw new UsageError(`${source} is a configuration; name the weights too, with --weights FILE`)
  if (isConfig) return foreign(await readConfig(source, overrides), weights ?? '')
  if (found.isFile()) return kept(source, overrides)
  const config = readRunConfig(source, overrides)
  if (weights !== undefined) return foreign(config, weights)
  const path = (name: string): string => join(source, 'checkpoints', `${name}.safetensors`)
  const file = path(checkpoints[checkpoint])
  if (!existsSync(file))
    throw new DataError(
      `${source} has no checkpoint ${checkpoint} yet: it is written ${checkpoint === 'best' ? 'at the first evaluation' : 'every train.checkpointEvery iterations'}`,
    )
  return checkpoint === 'best' ? kept(file, overrides) : last(file, config)
}

const classesSchema = z.object({
  classes: z.array(z.string()),
  palette: z.array(z.tuple([z.number(), z.number(), z.number()])),
})

/** The weights that a run kept as its best. */
function kept(path: string, overrides: readonly string[]): Trained {
  const { tensors, metadata } = readSafetensors(path)
  const json = (name: string): unknown => {
    const text = metadata.get(name)
    if (text === undefined)
      throw new DataError(
        `${path} says nothing of its ${name}: it is not the best.safetensors of a run; give its run folder, or a configuration and --weights`,
      )
    try {
      return JSON.parse(text)
    } catch {
      throw new DataError(`${path}: its ${name} is not JSON`)
    }
  }
  const config = parseStored(json('config'), `the configuration in ${path}`, overrides)
  const parsed = classesSchema.safeParse(json('classes'))
  if (!parsed.success)
    throw new DataError(`${path}: its classes are damaged: ${z.prettifyError(parsed.error)}`)
  const { net, variables } = shellOf(config, parsed.data)
  const weights = namedArrays(fromStateDict(variables, tensors))
  const about = `${path}, iteration ${metadata.get('step') ?? 'unknown'}`
  return { config, net, variables, weights, ...parsed.data, about, report: null }
}

/** The weights in a run's whole state. */
async function last(path: string, config: Config): Promise<Trained> {
  const dataset = await openPart(config, 'val')
  const { net, variables } = shellOf(config, dataset)
  const { tensors, metadata } = readSafetensors(path)
  const weights = weightsOf(Object.fromEntries(tensors), config.train.ema !== null)
  const absent = Object.keys(namedArrays(variables)).find(name => weights[name] === undefined)
  if (absent !== undefined)
    throw new DataError(`${path}: '${absent}' is missing; was the configuration changed after training?`)
  const about = `${path}, iteration ${metadata.get('step') ?? 'unknown'}`
  return { config, net, variables, weights, ...classesOf(dataset), about, report: null }
}

/** Weights of another origin. */
async function foreign(config: Config, path: string): Promise<Trained> {
  const dataset = await openPart(config, 'val')
  const { net, variables } = shellOf(config, dataset)
  const { variables: loaded, report } = loadWeights(variables, path)
  const weights = namedArrays(loaded)
  return { config, net, variables, weights, ...classesOf(dataset), about: path, report }
}

const shellOf = (config: Config, { classes }: Classes) => {
  const net = networkOf(config.network, classes.length)
  return { net, variables: net.init(key(0)) }
}
const classesOf = ({
  classes,
  palette,
}: {
  readonly classes: readonly string[]
  readonly palette: readonly Colour[]
}) => ({
  classes,
  palette,
})
