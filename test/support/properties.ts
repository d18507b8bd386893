/** The properties that the tests run, and that mutation tests must see fail; the most telling first. */
import { derivativeProperties } from './derivative-properties.ts'
import { gradientProperties } from './gradient-properties.ts'
import { partialProperties } from './partial-properties.ts'
import { passProperties } from './pass-properties.ts'
import type { Property } from './property.ts'
import { shapeProperties } from './shape-properties.ts'
import { vmapProperties } from './vmap-properties.ts'

export const properties: readonly Property[] = [
  ...shapeProperties,
  ...partialProperties,
  ...derivativeProperties,
  ...passProperties,
  ...vmapProperties,
  ...gradientProperties,
]
