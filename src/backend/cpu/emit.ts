/**
 * Code in the making, with value numbering: every loop of the nest has a scope, and a value is computed once,
 * in the outermost scope in which everything it needs stands. So invariants leave loops by construction.
 */
import { type Code, EMPTY, put, type ValueType } from './wasm.ts'

/** `head` runs when an iteration starts, `tail` (the inner loops) after it. */
export interface Scope {
  readonly head: Code
  readonly tail: Code
  readonly known: Map<string, number>
}
export interface Emitter {
  /** Types of the locals after the parameters. */
  readonly locals: ValueType[]
  readonly params: number
  /** From the function's own to the innermost open loop's. */
  readonly scopes: Scope[]
}

export const newScope = (): Scope => ({ head: [], tail: [], known: new Map() })
export const emitter = (params: number): Emitter => ({ locals: [], params, scopes: [newScope()] })

/** A fresh local. */
export const newLocal = (e: Emitter, type: ValueType): number => e.params + e.locals.push(type) - 1

/** The local that holds the value named `key`, which `write` pushes; computed at most once per scope. */
export function memo(
  e: Emitter,
  level: number,
  key: string,
  type: ValueType,
  write: (code: Code) => void,
): number {
  const scope = e.scopes[level]
  const known = scope.known.get(key)
  if (known !== undefined) return known
  write(scope.head)
  const local = newLocal(e, type)
  put(scope.head, 'local.set', local)
  scope.known.set(key, local)
  return local
}

/** Appends code to code (spreading would overflow the stack). */
export function append(to: Code, from: Code): void {
  for (const b of from) to.push(b)
}

/** Runs `body` in a new innermost scope and gives the code of the scope. */
export function inScope(e: Emitter, body: () => void): Code {
  const scope = newScope()
  e.scopes.push(scope)
  body()
  e.scopes.pop()
  append(scope.head, scope.tail)
  return scope.head
}

/** Writes `for (local = (as it is); ; local += step) { body } while (local < end)`: runs at least once. */
export function putLoop(
  code: Code,
  local: number,
  step: number,
  end: (code: Code) => void,
  body: Code,
): void {
  put(code, 'loop', EMPTY)
  append(code, body)
  put(code, 'local.get', local)
  put(code, 'i32.const', step)
  put(code, 'i32.add')
  put(code, 'local.tee', local)
  end(code)
  put(code, 'i32.lt_u')
  put(code, 'br_if', 0)
  put(code, 'end')
}

/** Writes target = min(x, limit), unsigned. */
export function putMin(code: Code, x: number, limit: number, target: number): void {
  put(code, 'local.get', x)
  put(code, 'i32.const', limit)
  put(code, 'local.get', x)
  put(code, 'i32.const', limit)
  put(code, 'i32.lt_u')
  put(code, 'select')
  put(code, 'local.set', target)
}

/** The scope of the innermost open loop. */
export const innermost = (e: Emitter): Scope => e.scopes[e.scopes.length - 1]
