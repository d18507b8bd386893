/**
 * What Dawn needs from Vulkan on Linux where the machine does not offer it: a loader, a software driver, the
 * manifest of a driver that is there but unannounced. Out: a private folder with a copy of `dawn.node` and those
 * files beside it, and paths of driver manifests. Nothing in node_modules is changed, nothing needs root.
 *
 * The loader and SwiftShader come from the npm package `@sparticuz/chromium` (bin/swiftshader.tar.br).
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliDecompressSync } from 'node:zlib'

const require = createRequire(import.meta.url)

/** SwiftShader's manifest inside a private folder; its library path is relative to it. */
export const SWIFTSHADER_MANIFEST = 'vk_swiftshader_icd.json'

/** The files of the archive that Dawn needs. */
export const VULKAN_FILES = ['libvulkan.so.1', 'libvk_swiftshader.so', SWIFTSHADER_MANIFEST] as const

/** The `dawn.node` of the npm package `webgpu` for this platform; undefined where there is none. */
export const packagedDawn = (): string | undefined => {
  const root = packageRoot('webgpu')
  const arch = process.platform === 'darwin' ? 'universal' : process.arch
  const path = root && join(root, 'dist', `${process.platform}-${arch}`, 'dawn.node')
  return path && existsSync(path) ? path : undefined
}

/** Whether the system's dynamic linker can load this library, by name or by path. */
export const canLoad = (library: string): boolean => {
  try {
    process.dlopen({ exports: {} }, library)
    return true
  } catch (e) {
    // Whatever loads is no addon of Node's, and is closed again with this complaint.
    return e instanceof Error && e.message.includes('did not self-register')
  }
}

/**
 * The private folder: dawn.node and `VULKAN_FILES`, unpacked once per version into the user's cache and moved
 * there whole, so that processes that start together cannot see half of it.
 * @returns  the folder, or `{ missing }`: why it cannot be had on this machine
 */
export const privateFolder = (): string | { readonly missing: string } => {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return { missing: `is for Linux x64 only, this is ${process.platform} ${process.arch}` }
  const dawn = packagedDawn()
  if (!dawn) return { missing: 'needs the npm package webgpu, which is not installed' }
  const files = unpackVulkan()
  if (!files)
    return {
      missing:
        'needs the npm package @sparticuz/chromium, which is not installed (npm install --include=dev)',
    }
  return cached(`dawn-${versionOf('webgpu')}-swiftshader-${versionOf('@sparticuz/chromium')}`, folder => {
    copyFileSync(dawn, join(folder, 'dawn.node'))
    for (const [name, bytes] of files()) writeFileSync(join(folder, name), bytes, { mode: 0o755 })
  })
}

/**
 * The archive of `@sparticuz/chromium`, to be unpacked on demand into `VULKAN_FILES` by name; undefined where
 * the package is not installed.
 */
export const unpackVulkan = (): (() => ReadonlyMap<string, Uint8Array>) | undefined => {
  const root = packageRoot('@sparticuz/chromium')
  const archive = root && join(root, 'bin', 'swiftshader.tar.br')
  if (!archive || !existsSync(archive)) return undefined
  return () => {
    const wanted: readonly string[] = VULKAN_FILES
    return new Map(
      untar(brotliDecompressSync(readFileSync(archive))).filter(([name]) => wanted.includes(name)),
    )
  }
}

/**
 * Manifests of drivers that are installed but that the loader would not find: NVIDIA's container runtimes give a
 * container the driver's libraries, yet often no manifest, or one for a library that wants X11's.
 * @returns  absolute paths, mostly none
 */
export const hiddenDrivers = (): readonly string[] => {
  if (process.platform !== 'linux' || !existsSync('/dev/nvidiactl')) return []
  const manifests = (folder: string) =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter(name => /^nvidia.*\.json$/.test(name))
          .map(name => join(folder, name))
      : []
  const known = ['/etc', '/usr/share', '/usr/local/share'].flatMap(root => manifests(`${root}/vulkan/icd.d`))
  // Where Kubernetes' device plugins mount the driver.
  const mounted = manifests('/usr/local/nvidia/share/vulkan/icd.d')
  if (canLoad('libGLX_nvidia.so.0')) {
    if (known.length) return []
    return mounted.length ? mounted : [nvidiaManifest('libGLX_nvidia.so.0')]
  }
  // The same driver without a window system.
  return canLoad('libEGL_nvidia.so.0') ? [nvidiaManifest('libEGL_nvidia.so.0')] : []
}

// ---------------------------------------------------------------------------------------------------------

const nvidiaManifest = (library: string): string => {
  const manifest = { file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.3.0' } }
  const folder = cached(`icd-${library}`, at =>
    writeFileSync(join(at, 'nvidia_icd.json'), JSON.stringify(manifest)),
  )
  return join(folder, 'nvidia_icd.json')
}

/** The folder of this name in the cache, filled first if it is not there. */
const cached = (name: string, fill: (folder: string) => void): string => {
  const root = cacheRoot()
  const folder = join(root, name)
  if (existsSync(folder)) return folder
  const draft = mkdtempSync(join(root, `${name}.`))
  try {
    fill(draft)
    renameSync(draft, folder)
  } catch (e) {
    rmSync(draft, { recursive: true, force: true })
    // Another process was first: its folder is as good as ours.
    if (!existsSync(folder)) throw e
  }
  return folder
}

let ownRoot: string | undefined

/** The user's cache folder; where there is none to write to, a folder of this process's own, removed at its end. */
const cacheRoot = (): string => {
  if (ownRoot) return ownRoot
  const root = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cotangent')
  try {
    mkdirSync(root, { recursive: true })
    rmSync(mkdtempSync(join(root, 'probe.')), { recursive: true })
    return root
  } catch {
    // Not a fixed name: libraries are loaded from here, and others may write to the folder for temporary files.
    const own = mkdtempSync(join(tmpdir(), 'cotangent-'))
    process.once('exit', () => rmSync(own, { recursive: true, force: true }))
    ownRoot = own
    return own
  }
}

/** Names and contents of a tar archive's plain files. @see POSIX.1-1988, ustar: blocks of 512 bytes */
const untar = (tar: Uint8Array): [string, Uint8Array][] => {
  const text = (from: number, bytes: number) =>
    Buffer.from(tar.buffer, tar.byteOffset + from, bytes)
      .toString('latin1')
      .replace(/\0.*$/s, '')
  const files: [string, Uint8Array][] = []
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8)
    const type = text(at + 156, 1)
    if (type === '' || type === '0') files.push([text(at, 100), tar.subarray(at + 512, at + 512 + size)])
    at += 512 + Math.ceil(size / 512) * 512
  }
  return files
}

/** The folder of an installed package, found through its entry point (`exports` may hide its package.json). */
const packageRoot = (name: string): string | undefined => {
  try {
    const entry = require.resolve(name)
    const tail = join('node_modules', ...name.split('/'))
    return entry.slice(0, entry.lastIndexOf(tail) + tail.length)
  } catch {
    return undefined
  }
}

const versionOf = (name: string): string => {
  const root = packageRoot(name)
  if (!root) return 'none'
  const { version }: { version: string } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return version
}
