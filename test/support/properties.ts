/** The properties that the tests run, and that mutation tests must see fail. */
import { gradientProperties } from './gradient-properties.ts'
import { partialProperties } from './partial-properties.ts'
import type { Property } from './property.ts'
import { shapeProperties } from './shape-properties.ts'

export const properties: readonly Property[] = [...shapeProperties, ...partialProperties, ...gradientProperties]
