import { after, test } from 'node:test'
import { agreesOnPrograms } from '../support/agreement.ts'
import { closeAll, webgpu } from '../support/backends.ts'

after(closeAll)

test('WebGPU computes random programs and their gradients as the reference does', async t => {
  await agreesOnPrograms(t, await webgpu(t), 'f32', 60)
})
