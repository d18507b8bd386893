/**
 * The fixed list of mutation operators. In: a node of a syntax tree (ESTree) and the node above it. Out: texts to put
 * in its place. Strings, and whatever only makes the text of an error, are not mutated (see `mutants.ts`).
 */
import type { AnyNode, ArrowFunctionExpression, CallExpression, FunctionDeclaration, Literal } from 'acorn'

/** One way to break a program. */
export interface Operator {
  readonly name: string
  readonly why: string
  /** Replacements for the node; none where the operator does not apply. `above`: what it is in, the nearest last. */
  readonly mutate: (
    node: AnyNode,
    text: (n: AnyNode) => string,
    above: readonly AnyNode[],
  ) => readonly string[]
}

/** `b.sum(x)` as ['b', 'sum'], with `b` the tensor builders, `s` the scalar language, `ix` the affine maps. */
function builder(n: AnyNode): readonly [string, string] | null {
  if (n.type !== 'CallExpression' || n.callee.type !== 'MemberExpression') return null
  const { object, property, computed } = n.callee
  if (computed || object.type !== 'Identifier' || property.type !== 'Identifier') return null
  return ['b', 's', 'ix'].includes(object.name) ? [object.name, property.name] : null
}
/** `x.filter(f)` as ['x', 'filter', 'f']; not for builders. */
function method(n: AnyNode): readonly [AnyNode, string] | null {
  if (n.type !== 'CallExpression' || n.callee.type !== 'MemberExpression' || builder(n)) return null
  const { object, property, computed } = n.callee
  return computed || property.type !== 'Identifier' ? null : [object, property.name]
}
const argsOf = (n: AnyNode): readonly AnyNode[] => (n as CallExpression).arguments
const isNumber = (n: AnyNode): n is Literal & { value: number } =>
  n.type === 'Literal' && typeof n.value === 'number'

const commutative = ['add', 'mul', 'eq', 'ne', 'and', 'or', 'max', 'min']
/** The two operands of a sum or product of the builders. */
const terms = ['add', 'sub', 'mul', 'div', 'and', 'or']
const calculus: { readonly [name: string]: string } = {
  add: 'sub',
  sub: 'add',
  mul: 'div',
  div: 'mul',
  max: 'min',
  min: 'max',
  sin: 'cos',
  cos: 'sin',
  eq: 'ne',
  ne: 'eq',
  lt: 'le',
  le: 'lt',
  less: 'lessEqual',
  lessEqual: 'less',
}
const arithmetic: { readonly [op: string]: string } = { '+': '-', '-': '+', '*': '/', '/': '*', '%': '*' }
const comparisons: { readonly [op: string]: readonly string[] } = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
}
const methods: { readonly [name: string]: string } = { some: 'every', every: 'some' }
const rounding: { readonly [name: string]: string } = {
  'Math.max': 'Math.min',
  'Math.min': 'Math.max',
  'Math.ceil': 'Math.floor',
  'Math.floor': 'Math.ceil',
  'Math.sqrt': 'Math.abs',
}
const predicates = ['filter', 'some', 'every', 'find']

const parentOf = (above: readonly AnyNode[]): AnyNode | null => above[above.length - 1] ?? null
const isFunction = (n: AnyNode): n is ArrowFunctionExpression | FunctionDeclaration =>
  n.type === 'ArrowFunctionExpression' || n.type === 'FunctionDeclaration'
/** The names that a parameter binds. */
const namesOf = (p: AnyNode): string[] => {
  if (p.type === 'Identifier') return [p.name]
  if (p.type === 'ArrayPattern') return p.elements.flatMap(e => (e ? namesOf(e) : []))
  if (p.type === 'ObjectPattern')
    return p.properties.flatMap(q => (q.type === 'Property' ? namesOf(q.value) : namesOf(q.argument)))
  return p.type === 'AssignmentPattern'
    ? namesOf(p.left)
    : p.type === 'RestElement'
      ? namesOf(p.argument)
      : []
}

/** Whether the node is asked for its truth: a test, an operand of && or ||, the body of a predicate. */
function isCondition(n: AnyNode, parent: AnyNode | null): boolean {
  if (parent === null) return false
  if (parent.type === 'IfStatement' || parent.type === 'ConditionalExpression') return parent.test === n
  if (parent.type === 'LogicalExpression') return parent.operator !== '??'
  return parent.type === 'ArrowFunctionExpression' && parent.body === n && n.type !== 'BlockStatement'
    ? comparisonLike(n)
    : false
}
const comparisonLike = (n: AnyNode): boolean =>
  n.type === 'LogicalExpression' ||
  (n.type === 'UnaryExpression' && n.operator === '!') ||
  (n.type === 'BinaryExpression' && n.operator in comparisons) ||
  predicates.slice(1).includes(method(n)?.[1] ?? '') ||
  method(n)?.[1] === 'includes' ||
  method(n)?.[1] === 'has'

/** Every way to leave one out, or to exchange two neighbours. */
const without = (xs: readonly string[]): string[][] => xs.map((_, i) => xs.filter((_, k) => k !== i))
const swapped = (xs: readonly string[], from = 0): string[][] =>
  xs.slice(from + 1).map((_, i) => {
    const out = [...xs]
    ;[out[i + from], out[i + from + 1]] = [xs[i + from + 1], xs[i + from]]
    return out
  })

/** The operators. */
export const operators: readonly Operator[] = [
  {
    name: 'sign',
    why: 'a wrong sign',
    mutate: (n, text) => {
      if (n.type === 'UnaryExpression' && n.operator === '-') return [text(n.argument)]
      const f = builder(n)
      if (f && f[0] !== 'ix' && ['add', 'sub', 'mul', 'div'].includes(f[1]))
        return [`${f[0]}.neg(${text(n)})`]
      if (n.type === 'CallExpression' && text(n.callee) === 'lit') {
        const [value, ...rest] = n.arguments
        return [`lit(${[`-(${text(value)})`, ...rest.map(text)].join(', ')})`]
      }
      return []
    },
  },
  {
    name: 'arithmetic',
    why: 'another operation: + and -, * and /, sin and cos, max and min, < and <=',
    mutate: (n, text) => {
      if (n.type === 'BinaryExpression' && n.operator in arithmetic)
        return [`${text(n.left)} ${arithmetic[n.operator]} ${text(n.right)}`]
      const f = builder(n)
      if (f && f[1] in calculus && f[0] !== 'ix')
        return [`${f[0]}.${calculus[f[1]]}(${argsOf(n).map(text).join(', ')})`]
      if (n.type === 'CallExpression' && text(n.callee) in rounding)
        return [`${rounding[text(n.callee)]}(${n.arguments.map(text).join(', ')})`]
      return []
    },
  },
  {
    name: 'term',
    why: 'a dropped term or factor',
    mutate: (n, text) => {
      if (n.type === 'BinaryExpression' && n.operator in arithmetic) return [text(n.left), text(n.right)]
      const f = builder(n)
      return f && terms.includes(f[1]) ? argsOf(n).slice(0, 2).map(text) : []
    },
  },
  {
    name: 'unwrap',
    why: 'a missing operation: a reduction over a broadcast axis, a reshape, a negation',
    mutate: (n, text) => {
      const f = builder(n)
      if (f && !terms.includes(f[1])) {
        const [x] = argsOf(n)
        return x && x.type !== 'SpreadElement' && x.type !== 'ArrayExpression' ? [text(x)] : []
      }
      const m = method(n)
      if (m) return ['filter', 'slice', 'sort', 'reverse', 'map'].includes(m[1]) ? [text(m[0])] : []
      // a literal of the scalar language is no operation
      return n.type === 'CallExpression' && n.callee.type === 'Identifier' && n.callee.name !== 'lit'
        ? n.arguments.slice(0, 1).flatMap(x => (x.type === 'SpreadElement' ? [] : [text(x)]))
        : []
    },
  },
  {
    name: 'swap',
    why: 'exchanged operands, arguments or elements',
    mutate: (n, text) => {
      if (n.type === 'BinaryExpression' && ['-', '/', '%'].includes(n.operator))
        return [`${text(n.right)} ${n.operator} ${text(n.left)}`]
      if (n.type === 'ArrayExpression')
        return swapped(n.elements.map(e => (e ? text(e) : ''))).map(xs => `[${xs.join(', ')}]`)
      if (n.type !== 'CallExpression') return []
      const f = builder(n)
      if ((f && commutative.includes(f[1])) || text(n.callee) in rounding) return []
      // a callback and its initial value are of unlike kinds
      if (method(n)?.[1] === 'reduce') return []
      return swapped(n.arguments.map(text)).map(xs => `${text(n.callee)}(${xs.join(', ')})`)
    },
  },
  {
    name: 'comparison',
    why: 'a boundary off by one, a comparison turned round',
    mutate: (n, text) =>
      n.type === 'BinaryExpression' && n.operator in comparisons
        ? comparisons[n.operator].map(op => `${text(n.left)} ${op} ${text(n.right)}`)
        : [],
  },
  {
    name: 'condition',
    why: 'a condition that always holds, or never',
    mutate: (n, _, above) => (isCondition(n, parentOf(above)) ? ['true', 'false'] : []),
  },
  {
    name: 'logic',
    why: 'and for or, some for every, a lost negation or default',
    mutate: (n, text) => {
      if (n.type === 'LogicalExpression') {
        const [l, r] = [text(n.left), text(n.right)]
        return n.operator === '??' ? [l, r] : [`(${l}) ${n.operator === '&&' ? '||' : '&&'} (${r})`]
      }
      if (n.type === 'UnaryExpression' && n.operator === '!') return [text(n.argument)]
      const m = method(n)
      return m && m[1] in methods ? [`${text(m[0])}.${methods[m[1]]}(${argsOf(n).map(text).join(', ')})`] : []
    },
  },
  {
    name: 'number',
    why: 'a wrong index, an error by one',
    mutate: (n, _, above) => {
      const parent = parentOf(above)
      // `void 0` is how undefined is written
      if (!isNumber(n) || (parent?.type === 'UnaryExpression' && parent.operator === 'void')) return []
      return n.value > 0 ? [`${n.value + 1}`, `${n.value - 1}`] : [`${n.value + 1}`]
    },
  },
  {
    name: 'variable',
    why: 'another parameter of the function',
    mutate: (n, _, above) => {
      // in a template it is a word of a text
      if (n.type !== 'Identifier' || parentOf(above)?.type === 'TemplateLiteral') return []
      const names = [...above].reverse().flatMap(f => (isFunction(f) ? [f.params.flatMap(namesOf)] : []))
      const own = names.find(ns => ns.includes(n.name)) ?? []
      return own.length > 1 ? [own[(own.indexOf(n.name) + 1) % own.length]] : []
    },
  },
  {
    name: 'boolean',
    why: 'true for false',
    mutate: n => (n.type === 'Literal' && typeof n.value === 'boolean' ? [`${!n.value}`] : []),
  },
  {
    name: 'statement',
    why: 'a statement left out',
    mutate: (n, _, above) =>
      parentOf(above)?.type === 'ExpressionStatement' &&
      (n.type === 'CallExpression' || n.type === 'AssignmentExpression')
        ? ['void 0']
        : [],
  },
  {
    name: 'element',
    why: 'an element or a property left out',
    mutate: (n, text) => {
      if (n.type === 'ArrayExpression')
        return without(n.elements.map(e => (e ? text(e) : ''))).map(xs => `[${xs.join(', ')}]`)
      // a table that lacks a row does not compile
      if (n.type === 'ObjectExpression' && n.properties.length > 1 && n.end - n.start < 400)
        return without(n.properties.map(text)).map(xs => `{ ${xs.join(', ')} }`)
      return []
    },
  },
]
