import { after, test } from 'node:test'
import { closeAll, webgpu } from '../support/backends.ts'
import { donationCases } from '../support/donation-cases.ts'

after(closeAll)

for (const c of donationCases)
  test(`WebGPU: ${c.name}`, async t => {
    await c.run(await webgpu(t))
  })
