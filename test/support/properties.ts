/** The properties that the tests run, and that mutation tests must see fail. */
import { adjointProperties } from './adjoint-properties.ts'
import { controlProperties } from './control-properties.ts'
import { derivativeProperties } from './derivative-properties.ts'
import { gradientProperties } from './gradient-properties.ts'
import { interfaceProperties } from './interface-properties.ts'
import { partialProperties } from './partial-properties.ts'
import { passProperties } from './pass-properties.ts'
import { planProperties } from './plan-properties.ts'
import type { Property } from './property.ts'
import { shapeProperties } from './shape-properties.ts'
import { simplifyProperties } from './simplify-properties.ts'
import { splitProperties } from './split-properties.ts'
import { vmapProperties } from './vmap-properties.ts'

export const properties: readonly Property[] = [
  ...shapeProperties,
  ...partialProperties,
  ...adjointProperties,
  ...derivativeProperties,
  ...controlProperties,
  ...interfaceProperties,
  ...simplifyProperties,
  ...passProperties,
  ...splitProperties,
  ...planProperties,
  ...vmapProperties,
  ...gradientProperties,
]
