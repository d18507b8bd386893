/** Entries of a ledger, for tests: made up, not measured. */
import type { Entry } from '../../../src/cli/compare/ledger.ts'

/** The entry of a method and a seed, of two classes; `hash` is made of both. */
export const entry = (method: string, seed: number, miou: number): Entry => ({
  method,
  seed,
  hash: `${method} ${seed}`,
  miou,
  pixelAccuracy: 0.9,
  classAccuracy: 0.8,
  iou: [miou, null],
  steps: 5,
  msPerStep: 1.5,
  peakBytes: 1e8,
  device: 'cpu: a test',
  version: '0.1.0',
  date: '2026-01-01T00:00:00.000Z',
})
