/** Graphs as text: one equation a line, with types, parameters and places. */
import type { Graph } from './graph.ts'
import type { Contraction } from './prim.ts'
import { showType } from './shape.ts'
import { type Eqn, results, type Tensor } from './tensor.ts'

/**
 * A readable listing of a graph.
 * @example console.log(printGraph(trace(f, [spec([2, 3])]).graph))
 */
export function printGraph(g: Graph): string {
  const names = new Map<Eqn, string>()
  g.inputs.forEach((t, i) => {
    names.set(t.eqn, `x${i}`)
  })
  const name = (t: Tensor): string => `${names.get(t.eqn) ?? '?'}${t.output > 0 ? `.${t.output}` : ''}`
  const lines = [`inputs ${g.inputs.map(t => `${name(t)}: ${showType(t)}`).join(', ')}`]
  for (const e of g.eqns) {
    names.set(e, `v${names.size - g.inputs.length}`)
    const what =
      e.op === 'map' ? e.params.fn : e.op === 'reduce' ? e.params.how : e.op === 'call' ? e.params.name : e.op
    const operands = e.inputs.map(name).join(', ')
    const place = e.scope ? `   # ${e.scope}` : ''
    lines.push(
      `${names.get(e)}: ${results(e).map(showType).join(', ')} = ${what}(${operands})${parameters(e)}${place}`,
    )
  }
  lines.push(`return ${g.outputs.map(name).join(', ')}`)
  return lines.join('\n')
}

function parameters(e: Eqn): string {
  switch (e.op) {
    case 'const': {
      const { data } = e.params
      return ` ${data.length <= 8 ? `[${Array.from(data).join(', ')}]` : `[${Array.from(data.slice(0, 4)).join(', ')}, ... ${data.length}]`}`
    }
    case 'contract':
      return ` ${showContraction(e.params.spec)}`
    case 'reduce':
      return ` over [${e.params.axes}]`
    case 'map':
      return e.params.to ? ` to ${e.params.to}` : ''
    case 'input':
    case 'call':
    case 'reshape':
    case 'stopGradient':
    case 'barrier':
      return ''
    case 'cond':
      return ''
    case 'scan':
      return ` ${e.params.length} steps${e.params.reverse ? ' backwards' : ''}`
    default:
      return ` ${JSON.stringify(e.params)}`
  }
}

/** Index letters, as in an einsum: `abc,bd->ad where b = 2c + e - 1`. */
export function showContraction(c: Contraction): string {
  const letter = (i: number) => String.fromCharCode(97 + i)
  const word = (xs: readonly number[]) => xs.map(letter).join('')
  const windows = c.windows.map(
    w => `${letter(w.big)} = ${w.stride}${letter(w.out)} + ${w.dilation}${letter(w.tap)} - ${w.padding}`,
  )
  return `${word(c.lhs)},${word(c.rhs)}->${word(c.out)}${windows.length ? ` where ${windows.join(', ')}` : ''}`
}
