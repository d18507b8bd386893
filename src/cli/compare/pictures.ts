/** Pictures of a study. In: the first predictions of a run. Out: a column of tiles, pictures/<method>.png. */
import { join } from 'node:path'
import { writeAtomic } from '../../data/atomic.ts'
import { encodePng } from '../../data/image.ts'
import type { Colour, Dataset, Size } from '../../data/sample.ts'
import { imageTile, labelTile, sheet } from '../../data/sheet.ts'

/** How many images are shown. */
export const pictured = 4

/** Where a method's picture lies. */
export const pictureOf = (folder: string, label: string): string =>
  join(folder, 'pictures', `${fileOf(label)}.png`)
/** A label as part of a file's name. @example fileOf('nfd+kd') // 'nfd_kd' */
export const fileOf = (label: string): string => label.replace(/[^\w.-]+/g, '_')

/**
 * Writes a method's picture.
 * @param predictions  class maps [height, width]
 * @throws DataError if it cannot be written
 */
export function picture(
  folder: string,
  label: string,
  predictions: readonly ArrayLike<number>[],
  { size: [height, width], palette }: { readonly size: Size; readonly palette: readonly Colour[] },
): void {
  const column = sheet(predictions.map(map => [labelTile({ height, width, label: map }, palette)]))
  writeAtomic(pictureOf(folder, label), [encodePng(column.data, column.height, column.width)])
}

/** Writes the images and their labels, side by side: pictures/images.png. */
export async function pictureImages(folder: string, dataset: Dataset): Promise<void> {
  const samples = await Promise.all(
    Array.from({ length: Math.min(pictured, dataset.size) }, (_, i) => dataset.get(i)),
  )
  const both = sheet(samples.map(s => [imageTile(s), labelTile(s, dataset.palette)]))
  writeAtomic(pictureOf(folder, 'images'), [encodePng(both.data, both.height, both.width)])
}
