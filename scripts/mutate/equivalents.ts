// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code of mutants, as text
/**
 * Mutants that compute what the program computes, each with its proof. They are named by file, definition and code
 * (the change as `{before => after}`, as the report prints it), whatever line they are on; one that no longer exists,
 * or that a check tells apart after all, is an error.
 */

/** Mutants that are equal to the program for one reason. */
export interface Equivalence {
  readonly file: string
  readonly proof: string
  /** `definition: code` */
  readonly mutants: readonly string[]
}

// biome-ignore format: a table
export const equivalents: readonly Equivalence[] = [
  {
    file: 'src/autodiff/control.ts',
    proof: 'A result that is no float has the index -1: made[-1] is undefined, which `get` in transform.ts turns into null, as for null itself.',
    mutants: [
      'condTangents: {out.includes(i) => true} ? made[out.indexOf(i)] : null',
    ],
  },
  {
    file: 'src/autodiff/control.ts',
    proof: 'The list holds one more entry, behind all those below `carries`: the position of o < carries in it is the same.',
    mutants: [
      'scanTangents.position.own: o < carries ? {i < carries => i <= carries} : i >= carries',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'An equation is visited once, and inputs are not among the equations: what is deleted is not read again. It frees memory.',
    mutants: [
      'pullback: { const ds = cot.get(e); if (ds === void 0 || !active.has(e)) continue; atScope(e.scope, () => { for (const [i, d] of transposeEquation(rules, e, ds, active)) accumulate(e.inputs[i], d); }); {cot.delete(e) => void 0}; }',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'A cotangent list without its first entry belongs to a primitive of several results, and each of those has a rule of kind \'own\'.',
    mutants: [
      'transposeEquation: if ({dy === void 0 => false}) return [];',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'An equation of kind \'none\' has no data operands, so it is never active.',
    mutants: [
      'transposeEquation: if ({rule.kind === "none" => false}) throw new GradientError(`grad: ${describe(e)} has no derivative rule`);',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'An inactive equation has no moving operand, so its tangents are null, as without an entry; `equations` stops at the inputs, so `tan` never has one beforehand.',
    mutants: [
      'pushforward: {active.has(e) => true} && !tan.has(e)',
      'pushforward: active.has(e) && {!tan.has(e) => true}',
      'pushforward: if ({active.has(e) && !tan.has(e) => true}) tan.set( e, atScope(e.scope, () => tangentsOf(rules, e, get)) );',
      'pushforward: if ({active.has(e) && !tan.has(e) => (active.has(e)) || (!tan.has(e))}) tan.set( e, atScope(e.scope, () => tangentsOf(rules, e, get)) );',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'Every other kind has returned, or has no data operands and no moving ones.',
    mutants: [
      'tangentsOf: if ({rule.kind === "bilinear" => true}) return [ sum( moving.map( (i) => rebind( e, e.inputs.map((x, k) => k === i ? full(i) : x) )[0] ) ) ];',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'The operands that a linear rule leaves out of `data` are indices, which are i32 (infer.ts), and `all` holds floats only.',
    mutants: [
      'dataOperands: if ({rule.kind === "linear" => false}) { const { data } = rule; return data === "all" ? all : all.filter((i) => data.includes(i)); }',
      'dataOperands: {data === "all" => true} ? all : all.filter((i) => data.includes(i))',
      'dataOperands: all.filter((i) => {data.includes(i) => true})',
      'dataOperands: data === "all" ? all : {all.filter((i) => data.includes(i)) => all}',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: 'Cotangents of inactive equations are skipped where they would be used, in the loop of `pullback`.',
    mutants: [
      'pullback.accumulate: {!active.has(x.eqn) => false} || !isFloat(x.dtype)',
    ],
  },
  {
    file: 'src/autodiff/transform.ts',
    proof: '`accumulate` keeps no cotangents of inactive equations.',
    mutants: [
      'pullback: ds === void 0 || {!active.has(e) => false}',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'd is a tangent or a cotangent: always a float.',
    mutants: [
      'scalarPartials: {isFloat(d.dtype) => true} && d.dtype === y.dtype',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Without partials an operation has no data operands (dataOperands in transform.ts), so its rule is never asked.',
    mutants: [
      'scalarPartials.partials: const partials = {record.partials?.(...args) ?? [] => record.partials?.(...args)};',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Only the condition of select has a null partial; it is a bool, so its factor is never asked for.',
    mutants: [
      'scalarPartials: if ({p === null => false}) throw new Error(`${fn}: a discrete operand has no derivative`);',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Each literal partial is 1, -1 or 0 (a property of its own says so): the product with another is never made.',
    mutants: [
      'scalarPartials: {p.value === 0 => true} ? b.zerosLike(d) : b.mul(d, p.value)',
      'scalarPartials: p.value === 0 ? b.zerosLike(d) : {b.mul(d, p.value) => b.div(d, p.value)}',
      'scalarPartials: p.value === 0 ? b.zerosLike(d) : {b.mul(d, p.value) => b.neg(b.mul(d, p.value))}',
      'scalarPartials: p.value === 0 ? b.zerosLike(d) : {b.mul(d, p.value) => d}',
      'scalarPartials: p.value === 0 ? b.zerosLike(d) : {b.mul(d, p.value) => p.value}',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Literals have returned before; of any expression but a select, chooseTimes makes the product that the next line makes.',
    mutants: [
      'scalarPartials: p.k === "op" && {p.fn === "select" => true}',
      'scalarPartials: if ({p.k === "op" && p.fn === "select" => true}) return b.applyEx(chooseTimes(p, { k: "arg", i: args.length, dtype: d.dtype }), [...e.inputs, y, d]);',
      'scalarPartials: {p.k === "op" => true} && p.fn === "select"',
      'scalarPartials: if ({p.k === "op" && p.fn === "select" => (p.k === "op") || (p.fn === "select")}) return b.applyEx(chooseTimes(p, { k: "arg", i: args.length, dtype: d.dtype }), [...e.inputs, y, d]);',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Only an operation has a field fn.',
    mutants: [
      'chooseTimes: {p.k === "op" => true} && p.fn === "select"',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'Only a literal has a field value: for any other expression both comparisons fail, and the product is that of the next line.',
    mutants: [
      'chooseTimes: if ({p.k === "lit" => true}) return p.value === 0 ? lit(0, d.dtype) : p.value === 1 ? d : s.mul(d, p);',
    ],
  },
  {
    file: 'src/autodiff/vjp.ts',
    proof: 'b.select broadcasts its operands itself.',
    mutants: [
      'productPartials.others: b.select(diagonal, b.full(square, 1, x.dtype), {b.broadcastTo(rows, square) => rows})',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: 'Nothing but the truth of `batched` is asked: undefined is as good as false.',
    mutants: [
      'batchTensors.get: known.get(t.eqn)?.[t.output] ?? {{ x: t, batched: false } => { x: t }}',
      'batchTensors: bind( e.op, e.params, xs.map((v) => v.x) ).map((x) => ({{ x, batched: false } => { x }}))',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: '`batched` is asked for its truth only, and every entry after the inputs\' is true (a tensor is as true).',
    mutants: [
      'batchRules.call.lifted.vjp.given: mapBatch((...t) => vjp(t.slice(0, x.length), t.slice(x.length, x.length + y.length), t.slice(x.length + y.length)), [...x, ...y, ...dy], {[...batched, ...y.map(() => true), ...dy.map(() => true)] => [...batched, ...dy.map(() => true), ...y.map(() => true)]}, n)',
      'batchRules.call.lifted.vjp.given: [...batched, ...y.map(() => true), ...{dy.map(() => true) => dy}]',
      'batchRules.call.lifted.vjp.given: [...batched, ...{y.map(() => true) => y}, ...dy.map(() => true)]',
      'batchRules.call.lifted.jvp: [...batched, ...{y.map(() => true) => y}, ...batched]',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: 'A map that changes no element: it tells the compiler that none is null.',
    mutants: [
      'batchRules.call.lifted.jvp: (x, y, dx) => {mapBatch((...t) => jvp(t.slice(0, x.length), t.slice(x.length, x.length + y.length), t.slice(x.length + y.length)), [...x, ...y, ...dx], [...batched, ...y.map(() => true), ...batched], n).map((d) => d) => mapBatch((...t) => jvp(t.slice(0, x.length), t.slice(x.length, x.length + y.length), t.slice(x.length + y.length)), [...x, ...y, ...dx], [...batched, ...y.map(() => true), ...batched], n)}',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: 'b.select broadcasts its operands itself, and the extents of 1 are where broadcastTo repeats.',
    mutants: [
      'batchRules.cond: b.select({b.broadcastTo(b.reshape(c.x, [n, ...y.shape.slice(1).map(() => 1)]), y.shape) => b.reshape(c.x, [n, ...y.shape.slice(1).map(() => 1)])}, y, no[i])',
    ],
  },
  {
    file: 'src/backend/memory.ts',
    proof: 'Array.prototype.sort is stable (ECMAScript 2019): values of one size keep their order.',
    mutants: [
      'placeInArena.order: values[b].bytes - values[a].bytes || {a - b => false}',
    ],
  },
  {
    file: 'src/backend/memory.ts',
    proof: 'Each offset is assigned before it is read: `placed` holds assigned ones, and `order` holds all.',
    mutants: [
      'placeInArena.offsets: values.map(() => {0 => 1})',
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
]
