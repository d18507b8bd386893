/**
 * From images to class maps. In: a network, its weights on the device, how to look at an image (whole or by windows,
 * scales, mirrored). Out: a class a pixel: logits are upsampled to the image's size, then comes the argmax.
 */
import type { Argument, Backend } from '../../backend/backend.ts'
import { compile, type Executable, unwrap } from '../../backend/compile.ts'
import type { Size } from '../../data/sample.ts'
import { imageViews, lookAt, mergeViews } from '../../data/views.ts'
import { averageWindows, cutWindow, slidingWindows, type Window } from '../../data/windows.ts'
import { array, type NDArray } from '../../dsl/array.ts'
import { argmax } from '../../dsl/ops/reduce.ts'
import type { Tensor } from '../../dsl/tensor.ts'
import type { Config } from '../config.ts'
import type { Network } from '../models.ts'
import { below, type Named, tensorsLike } from '../named.ts'
import type { Variables } from './step.ts'

/** A normalised image. */
export interface Planes {
  readonly size: Size
  /** [3, ...size] */
  readonly image: Float32Array
}

/** Class maps of images under weights. */
export interface Predictor {
  /**
   * Maps of images of one size, [height, width] each.
   * @param weights  as `weightsOf` gives them
   */
  readonly maps: (weights: Named<Argument>, images: readonly Planes[]) => Promise<readonly Uint8Array[]>
  /** The map of one image, which the network sees at another size: logits are brought to the image's own. */
  readonly mapAt: (weights: Named<Argument>, image: Planes, seen: Size) => Promise<Uint8Array>
}

/** Programs that are kept: a data set of images of many sizes would fill the memory with them. */
const maxPrograms = 8

/**
 * The weights that are evaluated, of a training state: the averaged ones where there are some.
 * @returns the leaves of `{ params, state }` by name
 * @example weightsOf(state, config.train.ema !== null)
 */
export const weightsOf = <L>(state: Named<L>, averaged: boolean): Named<L> =>
  averaged
    ? below('ema', state)
    : Object.fromEntries(Object.entries(state).filter(([name]) => /^(params|state)\./.test(name)))

/**
 * Makes a predictor. Programs are compiled when an image of a new size comes.
 * @param variables  for the form of the trees only
 * @throws what compiling throws, from the calls
 * @example const [map] = await predictor(net, variables, config.evaluation, backend).maps(weights, [planes])
 */
export function predictor(
  net: Network,
  variables: Variables,
  { batch, slide, scales, flip }: Config['evaluation'],
  backend: Backend,
): Predictor {
  const { classes } = net
  const run = (named: Named<Tensor>, image: Tensor): Tensor => {
    const { params, state } = tensorsLike(variables, named)
    return net.apply(params, state, image, { training: false }).out.logits
  }
  const logitsOf = programs(run, backend)
  const mapsOf = programs((named, image) => argmax(run(named, image), { axis: 1 }), backend)

  /** Logits [classes, ...size] of each image, the batch filled up with zeros. */
  const logits = async (weights: Named<Argument>, images: readonly Float32Array[], size: Size) => {
    const out: Float32Array[] = []
    for (let from = 0; from < images.length; from += batch) {
      const part = images.slice(from, from + batch)
      // One image alone is not worth a batch of zeros.
      const { data } = await logitsOf(weights, stacked(part, images.length === 1 ? 1 : batch, size))
      const plane = classes * size[0] * size[1]
      part.forEach((_, i) => {
        out.push(Float32Array.from(data.subarray(i * plane, (i + 1) * plane)))
      })
    }
    return out
  }
  const viewLogits = async (weights: Named<Argument>, image: Float32Array, size: Size) => {
    if (slide === null) return (await logits(weights, [image], size))[0]
    const windows = slidingWindows(size, slide.window, slide.stride)
    const cut = windows.map(window => cutWindow(image, 3, size, window))
    const out = await logits(weights, cut, windows[0].size)
    return averageWindows(
      size,
      classes,
      windows.map((window: Window, i) => ({ window, logits: out[i] })),
    )
  }
  const mapAt: Predictor['mapAt'] = async (weights, { image, size }, seen) => {
    const views = imageViews(seen, { ratios: scales, flip })
    const outputs = []
    for (const view of views)
      outputs.push({ view, logits: await viewLogits(weights, lookAt(image, size, view), view.size) })
    return largest(mergeViews(size, classes, outputs), classes)
  }
  const plain = slide === null && !flip && scales.length === 1 && scales[0] === 1
  return {
    mapAt,
    async maps(weights, images) {
      if (images.length === 0) return []
      const [{ size }] = images
      const out: Uint8Array[] = []
      if (!plain) for (const image of images) out.push(await mapAt(weights, image, image.size))
      else
        for (let from = 0; from < images.length; from += batch) {
          const part = images.slice(from, from + batch)
          const { data } = await mapsOf(
            weights,
            stacked(
              part.map(p => p.image),
              batch,
              size,
            ),
          )
          const plane = size[0] * size[1]
          part.forEach((_, i) => {
            out.push(Uint8Array.from(data.subarray(i * plane, (i + 1) * plane)))
          })
        }
      return out
    },
  }
}

/** Images as one array of n rows, filled up with 0. */
function stacked(images: readonly Float32Array[], n: number, [h, w]: Size): NDArray {
  const data = new Float32Array(n * 3 * h * w)
  images.forEach((image, i) => {
    data.set(image, i * 3 * h * w)
  })
  return array([n, 3, h, w], 'f32', data)
}

/** The class of the largest of [classes, plane] at each place; the first of equals. */
function largest(values: Float32Array, classes: number): Uint8Array {
  const plane = values.length / classes
  return Uint8Array.from({ length: plane }, (_, p) => {
    let best = 0
    for (let c = 1; c < classes; c++) if (values[c * plane + p] > values[best * plane + p]) best = c
    return best
  })
}

type Traced = (named: Named<Tensor>, image: Tensor) => Tensor

/** A function of weights and images, compiled for each shape of the images; the last few are kept. */
function programs(f: Traced, backend: Backend) {
  const kept = new Map<string, Promise<Executable<Parameters<Traced>, Tensor>>>()
  return async (weights: Named<Argument>, image: NDArray): Promise<NDArray> => {
    const key = image.shape.join()
    const known = kept.get(key)
    // The map keeps the order of use.
    kept.delete(key)
    const types = Object.fromEntries(Object.entries(weights).map(([k, a]) => [k, 'read' in a ? a.type : a]))
    const program = known ?? unwrap(compile(f, [types, image], backend))
    kept.set(key, program)
    if (kept.size > maxPrograms) kept.delete([...kept.keys()][0])
    return (await program)(weights, image)
  }
}
