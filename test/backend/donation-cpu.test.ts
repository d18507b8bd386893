import { after, test } from 'node:test'
import { closeAll, cpu } from '../support/backends.ts'
import { donationCases } from '../support/donation-cases.ts'

after(closeAll)

for (const c of donationCases)
  test(`CPU: ${c.name}`, async () => {
    await c.run(await cpu())
  })
