import { after, test } from 'node:test'
import { closeAll, cpu } from '../support/backends.ts'
import { checkTransformCase, transformCases } from '../support/transform-cases.ts'

after(closeAll)

for (const c of transformCases)
  test(`CPU: ${c.name}`, async () => {
    await checkTransformCase(c, await cpu())
  })
