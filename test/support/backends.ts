/** The backends under test, opened once per file, with the name of the adapter for the record. */
import type { TestContext } from 'node:test'
import type { Backend } from '../../src/backend/backend.ts'
import { unwrap } from '../../src/backend/compile.ts'
import { openBackend } from '../../src/node.ts'

const open = new Map<string, Promise<Backend>>()

/** COTANGENT_TEST_ADAPTER names another adapter than the best. */
const asked = process.env.COTANGENT_TEST_ADAPTER

/** The WebGPU backend on the best adapter there is; recycled buffers are filled with NaN. Fails where none is. */
export async function webgpu(t: TestContext): Promise<Backend> {
  const backend =
    open.get('webgpu') ??
    unwrap(openBackend('webgpu', { poison: true, ...(asked ? { adapter: asked } : {}) }))
  open.set('webgpu', backend)
  t.diagnostic(`adapter: ${(await backend).description}`)
  return backend
}

/** The compiled CPU backend. */
export const cpu = (): Promise<Backend> => {
  const backend = open.get('cpu') ?? unwrap(openBackend('cpu'))
  open.set('cpu', backend)
  return backend
}

/** Closes what was opened: for `after`. */
export const closeAll = async (): Promise<void> => {
  for (const b of open.values()) (await b).close()
  open.clear()
}
