import { after, test } from 'node:test'
import { agreesOnPrograms } from '../support/agreement.ts'
import { closeAll, cpu } from '../support/backends.ts'

after(closeAll)

test('the CPU backend computes random programs and their gradients as the reference does, in f32', async t => {
  await agreesOnPrograms(t, await cpu(), 'f32', 150)
})

test('the CPU backend computes random programs and their gradients as the reference does, in f64', async t => {
  await agreesOnPrograms(t, await cpu(), 'f64', 100)
})
