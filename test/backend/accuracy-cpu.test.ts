/** The mathematics of the CPU backend in f32, against f64. */
import { after, test } from 'node:test'
import { closeAll, cpu } from '../support/backends.ts'
import { elementwiseAccuracy, softmaxAccuracy } from './accuracy.ts'
import { keepsNaN, masksHold } from './special-values.ts'

after(closeAll)

test('elementwise functions are within 4 ULP over the bit patterns and exact at special points', async t =>
  elementwiseAccuracy(t, await cpu()))
test('softmax, its logarithm and logsumexp are within 4 ULP in short rows, or 4 units of 1', async t =>
  softmaxAccuracy(t, await cpu()))
test('NaN propagates', async t => keepsNaN(t, await cpu()))
test('infinities and NaN do not come through masks', async t => masksHold(t, await cpu()))
