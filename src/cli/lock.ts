/**
 * A lock on a folder between processes. In: the folder. Out: the function that unlocks it.
 *
 * Note [Locks]: the lock is a file made by linking a written one into place, which succeeds for one process
 * only and never shows a half-written lock. It names its process by pid and, where the system tells it
 * (Linux), by the time that process began, because pids are used again: in a container every run may be
 * pid 7. The lock of a dead process is moved away under a name of our own and looked at once more: if another
 * process took it over in between, it is put back.
 */
import { constants, copyFileSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { isSystemError, onDisk } from '../data/atomic.ts'
import { UsageError } from '../dsl/errors.ts'

const ownerSchema = z.object({ pid: z.number().int().positive(), host: z.string(), began: z.string() })
type Owner = z.infer<typeof ownerSchema>

/**
 * Locks `folder` through the file `lock` in it until the returned function is called or the process ends. The lock of a
 * process that died is taken over.
 * @throws UsageError if a living process (this one included) holds it, or one on another machine
 * @throws DataError if the folder cannot be written
 * @example const unlock = lockFolder('runs/pets')
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, 'lock')
  const own = `${path}.${process.pid}`
  const mine: Owner = { pid: process.pid, host: hostname(), began: began(process.pid) ?? '' }
  onDisk(`cannot lock ${folder}`, () => {
    writeFileSync(own, JSON.stringify(mine))
    try {
      while (!link(own, path)) takeAway(folder, path)
    } finally {
      rmSync(own, { force: true })
    }
  })
  let locked = true
  const unlock = (): void => {
    process.off('exit', unlock)
    if (locked) rmSync(path, { force: true })
    locked = false
  }
  process.on('exit', unlock)
  return unlock
}

function takeAway(folder: string, path: string): void {
  const seen = read(path)
  if (seen === undefined) return
  refuseLiving(folder, path, seen)
  const aside = `${path}.${process.pid}.stale`
  if (!unlessGone(() => renameSync(path, aside))) return
  if (read(aside) !== seen) link(aside, path)
  rmSync(aside, { force: true })
}

function refuseLiving(folder: string, path: string, text: string): void {
  const owner = parseOwner(text)
  const by =
    owner === undefined
      ? 'an unreadable lock'
      : owner.host !== hostname()
        ? `process ${owner.pid} on ${owner.host}`
        : isAlive(owner)
          ? `process ${owner.pid}`
          : undefined
  if (by !== undefined)
    throw new UsageError(
      `${folder} is in use by ${by}; name another folder, or delete ${path} if that run is dead`,
    )
}

function parseOwner(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

function isAlive(owner: Owner): boolean {
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    if (isSystemError(error) && error.code === 'ESRCH') return false
  }
  const now = began(owner.pid)
  return now === undefined || owner.began === '' || now === owner.began
}

/** When a process began: the boot's id and the clock ticks since; undefined where the system does not tell. */
function began(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    // proc(5): field 22; the second field, the command's name, is in brackets and may hold anything.
    const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19]
    return `${boot} ${ticks}`
  } catch {
    return undefined
  }
}

/** Makes `to` a second name of `from`; false if `to` exists. */
function link(from: string, to: string, place: (from: string, to: string) => void = linkSync): boolean {
  try {
    place(from, to)
    return true
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code === 'EEXIST') return false
    // A file system without hard links (exFAT, some mounts): a copy is nearly as good.
    if (place === linkSync) return link(from, to, exclusiveCopy)
    throw error
  }
}

const exclusiveCopy = (from: string, to: string): void => copyFileSync(from, to, constants.COPYFILE_EXCL)

function read(path: string): string | undefined {
  let text: string | undefined
  unlessGone(() => {
    text = readFileSync(path, 'utf8')
  })
  return text
}

function unlessGone(action: () => void): boolean {
  try {
    action()
    return true
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return false
    throw error
  }
}
