/** Every shared property, on as many random cases as tell more than the usual mistakes; seeds are fast-check's. */
import { test } from 'node:test'
import { properties } from './support/properties.ts'

for (const p of properties)
  test(p.name, () => {
    p.run(p.thorough)
  })
