/**
 * The rivals' way to the same Dawn and the same adapter. In: Cotangent's adapter. Out: the environment that
 * peers/browser.mjs reads.
 */
import { join, resolve } from 'node:path'
import type { OpenAdapter } from '../src/backend/webgpu/dawn.ts'
import {
  hiddenDrivers,
  packagedDawn,
  privateFolder,
  SWIFTSHADER_MANIFEST,
} from '../src/backend/webgpu/vulkan.ts'
import type { DawnEnvironment } from './contenders.ts'

/** The environment; undefined if the place of this Dawn is not known. */
export function dawnEnvironment({ info }: OpenAdapter): DawnEnvironment | undefined {
  const set = process.env.COTANGENT_DAWN_DIR
  const own = privateFolder()
  const folder = set
    ? resolve(set)
    : info.source.includes('private') && typeof own === 'string'
      ? own
      : undefined
  const path = folder ? join(folder, 'dawn.node') : packagedDawn()
  if (path === undefined) return undefined
  const manifests = [...hiddenDrivers(), ...(folder ? [join(folder, SWIFTSHADER_MANIFEST)] : [])]
  return {
    env: {
      BENCH_DAWN: path,
      BENCH_ADAPTER: info.name,
      ...(manifests.length ? { VK_ADD_DRIVER_FILES: manifests.join(':') } : {}),
    },
  }
}
