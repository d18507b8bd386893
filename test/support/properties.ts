/** The properties that the tests run, and that mutation tests must see fail. */
import { gradientProperties } from './gradient-properties.ts'
import type { Property } from './property.ts'

export const properties: readonly Property[] = [...gradientProperties]
