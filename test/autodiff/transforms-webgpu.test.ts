import { after, test } from 'node:test'
import { closeAll, webgpu } from '../support/backends.ts'
import { checkTransformCase, transformCases } from '../support/transform-cases.ts'

after(closeAll)

for (const c of transformCases)
  test(`WebGPU: ${c.name}`, async t => {
    await checkTransformCase(c, await webgpu(t))
  })
