/**
 * Class maps of a folder of images. In: trained weights, files and folders. Out: overlays (or class numbers) under the
 * names of the images, a page that shows them beside the originals, and a legend; and the names of files that could not be read.
 */
import { readdirSync, statSync } from 'node:fs'
import { basename, extname, join, relative } from 'node:path'
import { encode } from 'fast-png'
import { dispose, unwrap } from '../../backend/compile.ts'
import { writeAtomic } from '../../data/atomic.ts'
import { imageSuffix } from '../../data/folder.ts'
import { decodeImage, encodePng } from '../../data/image.ts'
import { fileBytes } from '../../data/pairs.ts'
import { planar } from '../../data/pixels.ts'
import type { Colour, Size } from '../../data/sample.ts'
import { normalised } from '../../data/transforms/normalise.ts'
import { DataError, UsageError } from '../../dsl/errors.ts'
import { openBackend } from '../../node.ts'
import { Interrupted } from '../errors.ts'
import { nextTurn, watchSignals } from '../interrupt.ts'
import { upload } from '../named.ts'
import { progress } from '../progress.ts'
import { predictor } from './infer.ts'
import { backendOptions } from './job.ts'
import { legendSvg, overlay } from './overlay.ts'
import { countsOf, occurring, type Predicted, predictPage } from './predict-page.ts'
import type { Trained } from './trained.ts'

/** What to predict, and where to. */
export interface PredictOptions {
  /** Files, and folders of images at any depth. */
  readonly images: readonly string[]
  readonly out: string
  /** How much the colours cover. */
  readonly alpha: number
  /** Class numbers as palette PNG, no overlays. */
  readonly labels: boolean
}

/**
 * Predicts images one by one. The network sees them at the size of its data, if that has one.
 * @returns how many were written, and a line for each that was skipped, with its path
 * @throws UsageError if there is no image; DataError if the output cannot be written; Interrupted
 * @example const { skipped } = await predictFolder(await openTrained('runs/a'), { images: ['frames'], out: 'o', alpha: 0.6, labels: false })
 */
export async function predictFolder(trained: Trained, options: PredictOptions) {
  const { config, net, variables, classes, palette } = trained
  const { out, alpha, labels } = options
  const files = named(options.images.flatMap(imagesIn))
  if (files.length === 0)
    throw new UsageError(`there is no .jpg, .jpeg or .png in ${options.images.join(', ')}`)
  const backend = await unwrap(openBackend(config.backend, backendOptions(config)))
  const interrupt = watchSignals(() => process.stderr.write('\nstopping after this image\n'))
  const bar = progress(files.length, 'predict')
  const skipped: string[] = []
  const written: Predicted[] = []
  try {
    const weights = await upload(trained.weights, backend)
    const look = predictor(net, variables, config.evaluation, backend)
    bar.update(0)
    for (const [i, { path, name }] of files.entries()) {
      const image = await readImage(path).catch(error => {
        if (!(error instanceof DataError)) throw error
        skipped.push(error.message)
      })
      if (image) {
        const seen = config.data.size ?? image.size
        const planes = { size: image.size, image: normalised(image.image) }
        const map = await look.mapAt(weights, planes, seen)
        const [height, width] = image.size
        const png = labels
          ? labelPng(map, image.size, palette)
          : encodePng(overlay(image, map, palette, alpha), height, width)
        writeAtomic(join(out, name), [png])
        written.push({ original: path, name, counts: countsOf(map, classes.length) })
      }
      bar.update(i + 1)
      await nextTurn()
      if (interrupt.requested)
        throw new Interrupted(`stopped after ${written.length} of ${files.length} images; they are in ${out}`)
    }
    dispose(weights)
    if (written.length > 0) {
      const seen = occurring(written)
      const legend = legendSvg(
        seen.map(c => classes[c]),
        seen.map(c => palette[c]),
      )
      writeAtomic(join(out, 'legend.svg'), [legend])
      writeAtomic(join(out, 'index.html'), [predictPage(written, out, trained)])
    }
    return { written: written.length, skipped }
  } finally {
    bar.stop()
    interrupt.stop()
    backend.close()
  }
}

/** An image and the name of its overlay below the output folder. */
interface Named {
  readonly path: string
  readonly name: string
}

/** Files as they are; folders with their form. */
function imagesIn(path: string): readonly Named[] {
  const there = statSync(path, { throwIfNoEntry: false })
  if (!there) throw new DataError(`there is no image and no folder ${path}`)
  if (!there.isDirectory()) return [{ path, name: basename(path) }]
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && imageSuffix.test(entry.name))
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
    .map(file => ({ path: file, name: relative(path, file) }))
}

/** `a.jpg` becomes `a.png`; where two would become one, `a.jpg.png` and `a.png.png`. */
function named(files: readonly Named[]): readonly Named[] {
  const short = (name: string): string => `${name.slice(0, name.length - extname(name).length)}.png`
  const counts = new Map<string, number>()
  for (const { name } of files) counts.set(short(name), (counts.get(short(name)) ?? 0) + 1)
  const chosen = files.map(({ path, name }) => ({
    path,
    name: counts.get(short(name)) === 1 ? short(name) : `${name}.png`,
  }))
  const twice = chosen.find((file, i) => chosen.findIndex(other => other.name === file.name) < i)
  if (twice)
    throw new UsageError(`two images are to become ${twice.name}; predict their folders one after the other`)
  return chosen
}

async function readImage(path: string): Promise<{ readonly size: Size; readonly image: Float32Array }> {
  const pixels = decodeImage(await fileBytes(path, 'is it an image?'), path)
  const planes = planar(pixels, 3)
  const image = new Float32Array(planes.length)
  for (let i = 0; i < planes.length; i++) image[i] = planes[i] / 255
  return { size: [pixels.height, pixels.width], image }
}

function labelPng(map: Uint8Array, [height, width]: Size, palette: readonly Colour[]): Uint8Array {
  return encode({ height, width, data: map, depth: 8, channels: 1, palette: palette.map(c => [...c]) })
}
