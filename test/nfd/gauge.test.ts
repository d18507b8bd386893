/** The gauge test itself, for a few steps: which methods notice that the teacher's feature was rescaled. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { gauge } from '../../src/cli/gauge.ts'
import { main } from '../../src/cli/main.ts'
import { closeAll, cpu } from '../support/backends.ts'

after(closeAll)

test('NFD with a relative eps trains the same student, bit for bit, whatever the scale; FitNet does not', async () => {
  const told: string[] = []
  const report = await gauge({ backend: await cpu(), steps: 2, seed: 0, tell: what => told.push(what) })
  const of = (method: string) => report.results.filter(r => r.method === method)
  for (const method of ['NFD, relative eps', 'AT']) {
    assert.equal(of(method).length, 3)
    for (const r of of(method)) {
      assert.equal(r.moved, 0)
      assert.equal(r.loss, of(method)[1].loss)
      assert.equal(r.miou, of(method)[1].miou)
    }
  }
  for (const method of ['NFD, absolute eps', 'FitNet', 'PKD', 'CWD'])
    for (const r of of(method)) assert.equal(r.moved === 0, r.scale === 1, `${method} at ${r.scale}`)
  const [low, , high] = of('FitNet')
  assert.ok(high.loss > 1000 * low.loss)
  assert.ok(told.includes('training the teacher'))
})

test('a number of steps that is none is an error of its own', async () => {
  assert.equal(await main(['node', 'cotangent', 'gauge', '--steps', '0']), 2)
})
