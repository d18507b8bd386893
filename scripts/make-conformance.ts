/**
 * `node --import tsx scripts/make-conformance.ts`: writes test/conformance/cotangent-ops.json, cases computed by plain
 * loops in f64 from the definitions, without Cotangent's operations. The file has the format of the conformance
 * command, so it also shows how to write one.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { made, worstEstimate } from './conformance/case.ts'
import { elementwiseCases } from './conformance/elementwise.ts'
import { seed } from './conformance/grid.ts'
import { convolutionCases, poolingCases, resizeCases } from './conformance/images.ts'
import { lossCases, normCases } from './conformance/losses.ts'
import { reductionCases } from './conformance/reductions.ts'
import { contractionCases, indexCases, shapingCases } from './conformance/shaping.ts'

for (const add of [
  elementwiseCases,
  reductionCases,
  shapingCases,
  indexCases,
  contractionCases,
  convolutionCases,
  poolingCases,
  resizeCases,
  normCases,
  lossCases,
])
  add()

const cases = made()
const source = 'plain loops from the definitions, float64 (scripts/make-conformance.ts)'
const text = `{"source":${JSON.stringify(source)},"seed":${seed},"cases":[\n${cases.map(c => JSON.stringify(c)).join(',\n')}\n]}\n`
const folder = new URL('../test/conformance/', import.meta.url)
mkdirSync(folder, { recursive: true })
writeFileSync(new URL('cotangent-ops.json', folder), text)
console.log(
  `${cases.length} cases of ${new Set(cases.map(c => c.op)).size} operations, ${Math.ceil(text.length / 1000)} kB; gradients by differences are good to ${worstEstimate.toExponential(0)}`,
)
