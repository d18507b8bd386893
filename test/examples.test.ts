import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { main as classifier } from '../examples/classifier.ts'
import { main as customGradient } from '../examples/custom-gradient.ts'
import { main as fineTune } from '../examples/fine-tune.ts'
import { main as gradient } from '../examples/gradient.ts'
import { main as hessianVector } from '../examples/hessian-vector.ts'
import { main as logisticRegression } from '../examples/logistic-regression.ts'
import { main } from '../examples/nfd.ts'
import { main as unet } from '../examples/unet.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

test("the README's example trains", async () => {
  const losses = await main(10)
  losses.forEach((l, i) => {
    assert.ok(i === 0 || l < losses[i - 1], `step ${i}: ${l} after ${losses[i - 1]}`)
  })
})

test('the README shows the example as it runs', () => {
  const shown = read('../examples/nfd.ts').split(/\/\/ --8<--.*\n/)[1]
  assert.ok(shown.length > 500)
  assert.ok(read('../README.md').includes(shown), 'README.md and examples/nfd.ts differ')
})

const close = (got: readonly number[], want: readonly number[], tolerance = 1e-5) => {
  want.forEach((w, i) => {
    assert.ok(Math.abs(got[i] - w) <= tolerance * (1 + Math.abs(w)), `[${i}] is ${got[i]}, expected ${w}`)
  })
}

test('gradient: 2 x / (1 + sum of x^2)', async () => {
  const { value, gradient: g } = await gradient()
  close([value], [Math.log(15)])
  close(
    g,
    [1, 2, 3].map(x => (2 * x) / 15),
  )
})

test('hessian-vector: the product is that of the Hessian written out', async () => {
  const { product, expected } = await hessianVector()
  close(product, expected)
})

test('logistic-regression: nine of ten points are on the right side', async () => {
  assert.ok((await logisticRegression(50)) > 0.9)
})

test('custom-gradient: the rule is right, and finite at 0', () => {
  const { atZero, report } = customGradient()
  assert.equal(atZero, 20)
  assert.ok(report.compared > 0 && report.worst < 1e-8)
})

test('classifier: three of four unseen images are right after 30 steps', async () => {
  assert.ok((await classifier(30)) >= 0.75)
})

test('fine-tune: all but the classifier is loaded, and the loss falls', async () => {
  const { loaded, fresh, losses } = await fineTune(6)
  assert.ok(loaded > 100)
  assert.deepEqual(fresh, ['classifier.4.weight', 'classifier.4.bias'])
  assert.ok(losses[5] < losses[0])
})

test('unet: the loss falls by a third in 40 steps', async () => {
  const { losses, miou } = await unet(40)
  const mean = (xs: readonly number[]) => xs.reduce((a, x) => a + x, 0) / xs.length
  assert.ok(mean(losses.slice(-5)) < (2 / 3) * losses[0], losses.join(' '))
  assert.ok(miou > 0 && miou < 1)
})
