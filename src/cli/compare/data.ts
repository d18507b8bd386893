/** The data of a study. In: its settings. Out: what is trained on, what is scored on, and how samples are changed. */
import { camvid } from '../../data/datasets/camvid.ts'
import { subset } from '../../data/sample.ts'
import { type Data, openData } from '../dataset.ts'
import { defaults } from '../settings.ts'
import type { Study } from './study.ts'

/**
 * Opens the data; `val` is the split that the study is scored on.
 * @throws DataError if a folder or a list is missing; UsageError if a limit exceeds the set
 * @example const { train, val, augment } = await dataOf(study)
 */
export async function dataOf(study: Study): Promise<Data> {
  const { dataset, data, size, trainImages, valImages, dataSeed: seed } = study
  const given = { dataset, data, size, trainImages, seed }
  if (study.split === 'val') return openData({ ...defaults[dataset], ...given, valImages })
  const opened = await openData({ ...defaults[dataset], ...given, valImages: null })
  const test = await camvid(data ?? '', 'test', { size })
  return { ...opened, val: valImages === null ? test : subset(test, 0, valImages) }
}
