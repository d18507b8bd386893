/** Every method under one signature, for tests that hold for all of them: (student, teacher, context) => loss. */
import type { Tensor } from '../../src/dsl/tensor.ts'
import { key } from '../../src/dsl/threefry.ts'
import { sameChannels } from '../../src/nfd/align.ts'
import type { Change, Context, Distillation } from '../../src/nfd/distil.ts'
import { cwdLogits, dist, kd, standardisedKd } from '../../src/nfd/kd.ts'
import { cirkdMemory } from '../../src/nfd/memory.ts'
import { at, attnfd, cwd, fitnet, layerNormFd, mgd, nfd, pkd, simpleRecipe } from '../../src/nfd/nfd.ts'
import { cirkd, ifvd, skd } from '../../src/nfd/relations.ts'
import type { FeatureMap, Floats } from '../../src/nn/feature.ts'
import { wide } from '../support/trees.ts'
import { constants, output, tapped } from './taps.ts'

/** A method's loss of two features of so many channels; parameters are those of init. */
export type Loss = (student: Tensor, teacher: Tensor, context: Context) => Floats

type Taps = { readonly f: FeatureMap }
/** A distillation's loss, changed. */
const lossOf =
  <P, S>(d: Distillation<Taps, Taps, P, S>, change: Change, dtype: 'f32' | 'f64'): Loss =>
  (s, t, context) => {
    const made = d.init(key(5))
    const { params, state } = dtype === 'f64' ? wide(made) : made
    return change(d).loss(constants(params), constants(state), output(s), output(t), context).loss
  }

/** Every method, of features of c channels, under a change; parameters in a dtype. */
export function methods(
  c: number,
  change: Change = d => d,
  dtype: 'f32' | 'f64' = 'f64',
): { readonly [name: string]: Loss } {
  const pair = { student: tapped(c), teacher: tapped(c), taps: [['f', 'f']] } as const
  const bare = { ...pair, align: sameChannels } as const
  const of = <P, S>(d: Distillation<Taps, Taps, P, S>) => lossOf(d, change, dtype)
  return {
    fitnet: of(fitnet(bare)),
    'nfd HW': of(nfd(bare)),
    'nfd NHW': of(nfd({ ...bare, axes: 'NHW' })),
    'nfd C': of(nfd({ ...bare, axes: 'C' })),
    'nfd CHW': of(nfd({ ...bare, axes: 'CHW' })),
    'nfd none': of(nfd({ ...bare, axes: 'none' })),
    'nfd relative': of(nfd({ ...bare, epsMode: 'relative', eps: 0.1 })),
    pkd: of(pkd(bare)),
    cwd: of(cwd(bare)),
    at: of(at(pair)),
    attnfd: of(attnfd(bare)),
    'attnfd, its aligner': of(attnfd(pair)),
    layerNormFd: of(layerNormFd(bare)),
    simpleRecipe: of(simpleRecipe(bare)),
    skd: of(skd(pair)),
    ifvd: of(ifvd({ ...pair, classes: 3 })),
    cirkd: of(cirkd(pair)),
    cirkdMemory: of(cirkdMemory({ ...pair, classes: 3, size: 4 })),
    mgd: of(mgd(pair)),
    kd: of(kd({ temperature: 3 })),
    standardisedKd: of(standardisedKd()),
    cwdLogits: of(cwdLogits()),
    dist: of(dist()),
  }
}
