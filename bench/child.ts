/**
 * A contender's process. In: its command, messages. Out: its answers; a process that dies, fails or takes too long
 * gives an error value, and the next workload gets a fresh process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Contender } from './contenders.ts'
import { type InputSpec, MARK } from './peers/harness.mjs'

/** What the bench says; see peers/harness.mjs. */
export type Message =
  | {
      readonly op: 'setup'
      readonly workload: {
        readonly name: string
        readonly inputs: readonly InputSpec[]
        readonly state: number
      }
      readonly out?: string
    }
  | { readonly op: 'measure'; readonly reps: number; readonly ms: number }
  | { readonly op: 'drop' }

/** What a contender answers. */
export interface Answer {
  readonly error?: string
  readonly description?: string
  readonly firstMs?: number
  readonly times?: readonly number[]
  readonly facts?: Readonly<Record<string, number>>
}

/** How long a contender may be silent, in ms: a PSPNet on a software GPU takes minutes. */
const PATIENCE = 300_000

/** A contender's process, started at the first message. */
export interface Child {
  /** The answer; one message at a time. */
  ask(message: Message): Promise<Answer>
  /** What the contender says of itself; empty before it was started. */
  description(): string
  /** Ends the process; the next message starts another. */
  stop(): void
}

/** @example const child = childOf(contender); await child.ask({ op: 'drop' }) */
export function childOf(contender: Contender): Child {
  let live: Live | undefined
  let description = ''
  const started = async (): Promise<Live | Answer> => {
    if (live?.alive()) return live
    const fresh = start(contender)
    const hello = await fresh.answer()
    if (hello.error !== undefined) {
      fresh.kill()
      return hello
    }
    description = hello.description ?? contender.name
    live = fresh
    return fresh
  }
  return {
    description: () => description,
    async ask(message) {
      const child = await started()
      if (!('answer' in child)) return child
      const answer = child.answer()
      child.say(message)
      return answer
    },
    stop: () => {
      live?.kill()
      live = undefined
    },
  }
}

interface Live {
  answer(): Promise<Answer>
  say(message: Message): void
  alive(): boolean
  kill(): void
}

function start({ command: [program, ...args], env }: Contender): Live {
  const child: ChildProcess = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const answers: Answer[] = []
  let waiting: ((a: Answer) => void) | undefined
  let complaints = ''
  let alive = true
  const give = (answer: Answer) => {
    if (waiting) waiting(answer)
    else answers.push(answer)
    waiting = undefined
  }
  const end = (why: string) => {
    if (!alive) return
    alive = false
    give({ error: [why, lastLine(complaints)].filter(Boolean).join(': ') })
  }
  child.stderr?.on('data', chunk => {
    complaints = (complaints + chunk).slice(-4000)
  })
  // a pipe that breaks is told by `exit`
  child.stdin?.on('error', () => {})
  child.on('error', e => end(e.message))
  child.on('exit', (code, signal) => end(`the process ended with ${signal ?? code}`))
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', line => {
      if (line.startsWith(MARK)) give(JSON.parse(line.slice(MARK.length)))
    })
  const kill = () => child.kill('SIGKILL')
  return {
    alive: () => alive,
    kill,
    say: message => child.stdin?.write(`${JSON.stringify(message)}\n`),
    answer: () => {
      const known = answers.shift()
      if (known) return Promise.resolve(known)
      return new Promise(resolve => {
        const timer = setTimeout(() => {
          end(`no answer in ${PATIENCE / 1000} s`)
          kill()
        }, PATIENCE)
        waiting = answer => {
          clearTimeout(timer)
          resolve(answer)
        }
      })
    },
  }
}

/** The line of a stack trace that says what is wrong. */
const lastLine = (text: string): string =>
  text
    .split('\n')
    .filter(l => /error|cannot|killed|memory/i.test(l))
    .at(-1)
    ?.slice(0, 200) ?? ''
