// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code of mutants, as text
/** Equivalent mutants of passes and of the plan. */
import type { Equivalence } from './equivalence.ts'

// biome-ignore format: a table
export const backendEquivalents: readonly Equivalence[] = [
  {
    file: 'src/backend/memory.ts',
    proof: 'Each offset is assigned before it is read: `placed` holds assigned ones, and `order` holds all.',
    mutants: [
      'placeInArena.offsets: values.map(() => {0 => 1})',
    ],
  },
  {
    file: 'src/backend/memory.ts',
    proof: '`from` and `at` are multiples of the alignment, and so is what lies between: it holds v.bytes if and only if it holds the multiple that follows.',
    mutants: [
      'placeInArena: from - at >= {align(v.bytes) => v.bytes}',
    ],
  },
  {
    file: 'src/backend/passes/inline.ts',
    proof: 'A tensor without elements holds no value.',
    mutants: [
      'unroll.stacked: b.full([0, ...y.shape], {0 => 1}, y.dtype)',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: '0 gets the name \'-0\', and -0 the name \'0\': they stay distinct from each other and from the rest.',
    mutants: [
      'dataKey: Object.is(v, {-0 => 0})',
      'keyOf: Object.is(v, {-0 => 0})',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'Object.is is symmetric.',
    mutants: [
      'dataKey: {Object.is(v, -0) => Object.is(-0, v)} ? "-0" : String(v)',
      'keyOf: {Object.is(v, -0) => Object.is(-0, v)} ? "-0" : v === Number.NEGATIVE_INFINITY ? "-inf" : v === Number.POSITIVE_INFINITY ? "inf" : Number.isNaN(v) ? "nan" : v',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'A graph\'s equations hold no inputs: makeGraph refuses them.',
    mutants: [
      'share: {e.op === "input" => false} || e.op === "barrier"',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'JSON writes the number as null, and no other parameter is null: the keys stay distinct while the other two have names.',
    mutants: [
      'keyOf: {v === Number.NEGATIVE_INFINITY => false} ? "-inf" : v === Number.POSITIVE_INFINITY ? "inf" : Number.isNaN(v) ? "nan" : v',
      'keyOf: {Number.isNaN(v) => false} ? "nan" : v',
      'keyOf: {v === Number.POSITIVE_INFINITY => false} ? "inf" : Number.isNaN(v) ? "nan" : v',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'Ids need be distinct only.',
    mutants: [
      'nextData: let nextData = {0 => 1};',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: '`join` writes a number as String does.',
    mutants: [
      'dataKey: Object.is(v, -0) ? "-0" : {String(v) => v}',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'A graph\'s equations hold no inputs: makeGraph refuses them. (A list has no field op.)',
    mutants: [
      'share: {e => xs}.op === "input"',
    ],
  },
  {
    file: 'src/backend/passes/share.ts',
    proof: 'The key is a text, so this never holds. JSON writes the number as null, and no other parameter is null: the keys stay distinct while the other two have names.',
    mutants: [
      'keyOf: {v => _} === Number.NEGATIVE_INFINITY',
      'keyOf: {v => _} === Number.POSITIVE_INFINITY',
      'keyOf: Number.isNaN({v => _})',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'Only the length 2049 = 3 * 683 is judged otherwise, and it has no divisor from 8 to its root: it is not cut either way.',
    mutants: [
      'maxSerial: maxSerial = {2048 => 2049}',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'The divisors 1 and 2 are below 8, so they give 1, which is what follows the loop.',
    mutants: [
      'partition: for (let d = Math.floor(Math.sqrt(n)); {d > 1 => d >= 1}; d--) if (n % d === 0) return d >= 8 ? d : 1;',
      'partition: for (let d = Math.floor(Math.sqrt(n)); d > {1 => 0}; d--) if (n % d === 0) return d >= 8 ? d : 1;',
      'partition: for (let d = Math.floor(Math.sqrt(n)); d > {1 => 2}; d--) if (n % d === 0) return d >= 8 ? d : 1;',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'Object.is is symmetric.',
    mutants: [
      'neutral: fn === "sub" && {Object.is(v, 0) => Object.is(0, v)}',
      'simplifyEquation: inner.op !== "pad" || !{Object.is(inner.params.value, value) => Object.is(value, inner.params.value)}',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'sameShape is symmetric.',
    mutants: [
      'simplifyEquation: case "reshape": if ({sameShape(x.shape, e.params.shape) => sameShape(e.params.shape, x.shape)}) return x; return inner.op === "reshape" ? b.reshape(inner.inputs[0], e.params.shape) : null;',
      'simplifyEquation: case "broadcast": if ({sameShape(x.shape, e.params.shape) => sameShape(e.params.shape, x.shape)}) return x; return inner.op === "broadcast" ? bind1( "broadcast", { shape: e.params.shape, dims: inner.params.dims.map((d) => e.params.dims[d]) }, inner.inputs ) : null;',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'No other primitive has a parameter `value`, so the next test fails.',
    mutants: [
      'simplifyEquation: {inner.op !== "pad" => false} || !Object.is(inner.params.value, value)',
    ],
  },
  {
    file: 'src/backend/passes/simplify.ts',
    proof: 'The sum of two widths does not depend on their order.',
    mutants: [
      'simplifyEquation: b.pad(inner.inputs[0], join(low, p.low), join(high, p.high), value, {join(interior, p.interior) => join(p.interior, interior)})',
      'simplifyEquation: b.pad(inner.inputs[0], {join(low, p.low) => join(p.low, low)}, join(high, p.high), value, join(interior, p.interior))',
      'simplifyEquation: b.pad(inner.inputs[0], join(low, p.low), {join(high, p.high) => join(p.high, high)}, value, join(interior, p.interior))',
    ],
  },
  {
    file: 'src/backend/passes/split-contraction.ts',
    proof: 'With results >= enough, `most` is at most 1, so that there are no parts to return.',
    mutants: [
      'choose: terms < LONG || {results >= enough => results > enough}',
      'choose: terms < LONG || {results >= enough => false}',
    ],
  },
  {
    file: 'src/backend/passes/split-contraction.ts',
    proof: 'The comparison fails where it is asked: a list of several numbers is NaN, and a single index that is summed, over 4096 terms or more, leaves one result. Where it should hold, `most` is at most 1, so that there are no parts to return.',
    mutants: [
      'choose: terms < LONG || results >= {enough => extents}',
    ],
  },
  {
    file: 'src/backend/passes/split-contraction.ts',
    proof: 'An index that is summed and in no window is in both operands: infer.ts refuses one that is in one place only.',
    mutants: [
      'choose.free: {lhs.includes(i) && rhs.includes(i) => true} && !windows.some((w) => w.big === i || w.out === i || w.tap === i)',
      'choose.free: {lhs.includes(i) && rhs.includes(i) => (lhs.includes(i)) || (rhs.includes(i))} && !windows.some((w) => w.big === i || w.out === i || w.tap === i)',
      'choose.free: {lhs => rhs}.includes(i)',
      'choose.free: lhs.includes(i) && {rhs.includes(i) => true}',
      'choose.free: {lhs.includes(i) => true} && rhs.includes(i)',
    ],
  },
]
