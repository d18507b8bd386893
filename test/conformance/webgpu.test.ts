/** The conformance cases in f32 through WGSL, against the reference in f64 on inputs rounded to f32. */
import { after, test } from 'node:test'
import { closeAll, webgpu } from '../support/backends.ts'
import { allPass, ownFile, torchFile, torchMissing } from './files.ts'

after(closeAll)

test('WebGPU in f32 agrees with the reference in f64 on the own cases', async t =>
  allPass(t, ownFile, await webgpu(t), 'f32'))

test(
  'WebGPU in f32 agrees with the reference in f64 on PyTorch’s cases',
  {
    skip: torchMissing,
  },
  async t => allPass(t, torchFile, await webgpu(t), 'f32'),
)
