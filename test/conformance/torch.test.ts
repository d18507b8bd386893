/** PyTorch's conformance cases on the backends that need no GPU. */
import { after, test } from 'node:test'
import { unwrap } from '../../src/index.ts'
import { openBackend } from '../../src/node.ts'
import { closeAll, cpu } from '../support/backends.ts'
import { allPass, torchFile, torchMissing } from './files.ts'

after(closeAll)

test('the reference agrees with PyTorch in f64', { skip: torchMissing }, async t =>
  allPass(t, torchFile, await unwrap(openBackend('reference')), 'f64'),
)

test('the CPU agrees with PyTorch in f64', { skip: torchMissing }, async t =>
  allPass(t, torchFile, await cpu(), 'f64'),
)

test('the CPU in f32 agrees with the reference in f64 on PyTorch’s cases', { skip: torchMissing }, async t =>
  allPass(t, torchFile, await cpu(), 'f32'),
)
