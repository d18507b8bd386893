// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code of mutants, as text
/** Equivalent mutants of scalar partials and shape rules. */
import type { Equivalence } from './equivalence.ts'

// biome-ignore format: a table
export const dslEquivalents: readonly Equivalence[] = [
  {
    file: 'src/dsl/infer.ts',
    proof: 'The list is asked what it includes, or how many: its order does not matter.',
    mutants: [
      'inferRules.contract.windowed: c.windows.flatMap((w) => {[w.big, w.out, w.tap] => [w.big, w.tap, w.out]})',
      'inferRules.contract.windowed: c.windows.flatMap((w) => {[w.big, w.out, w.tap] => [w.out, w.big, w.tap]})',
      'inferRules.contract.places: {[c.lhs, c.rhs, c.out] => [c.lhs, c.out, c.rhs]}.filter((o) => o.includes(x))',
      'inferRules.contract.places: {[c.lhs, c.rhs, c.out] => [c.rhs, c.lhs, c.out]}.filter((o) => o.includes(x))',
    ],
  },
  {
    file: 'src/dsl/infer.ts',
    proof: 'sameShape is symmetric.',
    mutants: [
      'inferRules.fold: {sameShape(unfolded(p.shape, p.sliding, fail), y.shape) => sameShape(y.shape, unfolded(p.shape, p.sliding, fail))} ? [{ shape: p.shape, dtype: y.dtype }] : fail( `windows of [${p.shape}] have the shape [${unfolded(p.shape, p.sliding, fail)}], got ${showType(y)}` )',
      'inferRules.scatterAdd: if (!{sameShape(i.shape, u.shape) => sameShape(u.shape, i.shape)}) fail("indices and updates must have one shape", [showType(i), showType(u)]);',
      'inferRules.map: xs.some((x) => !{sameShape(x.shape, xs[0].shape) => sameShape(xs[0].shape, x.shape)})',
    ],
  },
  {
    file: 'src/dsl/infer.ts',
    proof: '`join` writes a tensor as showType does (Tensor\'s conversion to a string).',
    mutants: [
      'inferRules.cond: [p.onTrue.body.map(showType), {p.onFalse.body.map(showType) => p.onFalse.body}]',
      'inferRules.cond: [{p.onTrue.body.map(showType) => p.onTrue.body}, p.onFalse.body.map(showType)]',
      'inferRules.scan: before.map(showType).join() !== {after.map(showType) => after}.join()',
    ],
  },
  {
    file: 'src/dsl/infer.ts',
    proof: 'The dtypes of the operands are equal here: the test before has failed, or an error has been thrown.',
    mutants: [
      'inferRules.contract: {l => r}.dtype === "bool"',
      'inferRules.contract.dtype: dtype: {l => r}.dtype',
    ],
  },
  {
    file: 'src/dsl/scalar.ts',
    proof: 'vjp.ts asks whether a literal partial equals 0, and makes its own zero: -0 equals 0.',
    mutants: [
      'zero: zero = (x) => {lit(0, x.dtype) => lit(-(0), x.dtype)}',
    ],
  },
  {
    file: 'src/dsl/scalar.ts',
    proof: 'Where y = x the outer select has chosen 0.5; elsewhere < and <= agree, and for NaN both are false.',
    mutants: [
      'share: s.select({s.lt(y, x) => s.le(y, x)}, lit(1, x.dtype), zero(x))',
    ],
  },
  {
    file: 'src/dsl/scalar.ts',
    proof: 'The operands of an operation are of one dtype (scalarType): only x.dtype is read.',
    mutants: [
      'scalars.pow.partials: s.select(s.and(s.eq(x, 0), s.le(0, y)), zero({x => y}), s.mul(z, s.log(x)))',
      'share: lit(1, {x => y}.dtype)',
      'scalars.pow.partials: s.select(s.and(s.eq(y, 0), s.not(s.lt(2 ** -126, s.abs(x)))), zero({x => y}), s.mul(y, s.pow(x, s.sub(y, 1))))',
      'share: lit(0.5, {x => y}.dtype)',
      'share: s.select(s.lt(y, x), lit(1, x.dtype), zero({x => y}))',
    ],
  },
]
