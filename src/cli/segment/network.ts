/**
 * What a configuration makes: a network with its initial values, an optimiser, a schedule. In: a configuration. Out:
 * values whose parameter types are forgotten, since the network is chosen at run time.
 */
import { pipe } from 'fp-ts/lib/function.js'
import { type LoadReport, loadWeights } from '../../data/weights.ts'
import { UsageError } from '../../dsl/errors.ts'
import type { Key } from '../../dsl/threefry.ts'
import { adamw, kernelsOnly, type Optimiser, sgd } from '../../nn/optim.ts'
import { cosine, poly, type Schedule, warmUp } from '../../nn/schedule.ts'
import { zoo } from '../../nn/zoo.ts'
import type { Config } from '../config.ts'
import type { Network } from '../models.ts'
import type { Variables } from './step.ts'

/**
 * The network of a configuration.
 * @throws UsageError if the width or the stride is not one it takes
 * @example networkOf(config.network, dataset.classes.length)
 */
export function networkOf(network: Config['network'], classes: number): Network {
  const { name, width, outputStride, auxiliary } = network
  // A network only ever sees the trees that it made itself, and a tap is asked for by a name in `tapChannels`.
  return zoo[name]({
    classes,
    width,
    auxiliary,
    ...(outputStride === null ? {} : { outputStride }),
  }) as unknown as Network
}

/**
 * The values that training begins with: drawn from a key, those of a file over them.
 * @returns the values, and what was loaded; null if no file is named
 * @throws DataError that lists every entry that does not fit; UsageError if the network has no part `backbone`
 * @example const { variables, report } = initialValues(net, key(0), config.pretrained)
 */
export function initialValues(
  net: Network,
  key: Key,
  pretrained: Config['pretrained'],
): { readonly variables: Variables; readonly report: LoadReport | null } {
  const drawn = net.init(key)
  if (pretrained === null) return { variables: drawn, report: null }
  const { file, into, from, entry, allow } = pretrained
  const options = { allow, ...(from === null ? {} : { from }), ...(entry === null ? {} : { entry }) }
  if (into === 'network') return loadWeights(drawn, file, options)
  const [params, state] = [backboneOf(drawn.params, net.name), backboneOf(drawn.state, net.name)]
  const { variables, report } = loadWeights({ params: params.backbone, state: state.backbone }, file, options)
  return {
    variables: {
      params: { ...params, backbone: variables.params },
      state: { ...state, backbone: variables.state },
    },
    report,
  }
}

function backboneOf(tree: unknown, name: string): { readonly backbone: unknown } {
  if (typeof tree === 'object' && tree !== null && 'backbone' in tree) return tree
  throw new UsageError(`pretrained.into: ${name} has no backbone of its own; allowed: 'network'`)
}

/** What was loaded, in lines for people. */
export function describeLoad({ path, format, loaded, values, ...report }: LoadReport): string {
  const exceptions = (['missing', 'misshaped', 'unexpected', 'ignored'] as const).flatMap(what =>
    report[what].length === 0 ? [] : [`          ${what}: ${report[what].join(', ')}`],
  )
  return [
    `weights   ${path} (${format}): ${loaded.length} arrays, ${values} values`,
    ...exceptions,
    ...report.notes.map(note => `          ${note}`),
  ].join('\n')
}

/** The optimiser of a configuration. @throws UsageError on values it does not take */
export function optimiserOf(optimiser: Config['optimiser']): Optimiser {
  const decay = optimiser.decay === 'kernels' ? { decay: kernelsOnly } : {}
  if (optimiser.kind === 'sgd') {
    const { momentum, nesterov, weightDecay } = optimiser
    return sgd({ momentum, nesterov, weightDecay, ...decay })
  }
  const { b1, b2, weightDecay } = optimiser
  return adamw({ b1, b2, weightDecay, ...decay })
}

/**
 * The learning rate of each iteration.
 * @example scheduleOf(config)(0)
 */
export function scheduleOf({ schedule, optimiser: { lr }, train }: Config): Schedule {
  const total = train.iterations
  const base: Schedule =
    schedule.kind === 'poly'
      ? poly(lr, total, schedule)
      : schedule.kind === 'cosine'
        ? cosine(lr, total, schedule)
        : () => lr
  const { warmUp: warm } = schedule
  return warm === null ? base : pipe(base, warmUp(warm.iterations, { from: warm.from }))
}
