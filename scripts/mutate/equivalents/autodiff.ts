// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code of mutants, as text
/** Equivalent mutants of derivative rules and transforms. */
import type { Equivalence } from './equivalence.ts'

// biome-ignore format: a table
export const autodiffEquivalents: readonly Equivalence[] = [
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
    file: 'src/autodiff/control.ts',
    proof: '`moving` lists the operands whose tangent is not null: the default is for the compiler of TypeScript.',
    mutants: [
      'condTangents.made: moving.map((i) => {zeroOr(dxs[i + 1], operands[i]) => dxs[i + 1]})',
      'callTangents: moving.map((i) => {zeroOr(dxs[i], e.inputs[i]) => dxs[i]})',
    ],
  },
  {
    file: 'src/autodiff/grad.ts',
    proof: '`valueAndGrad` reads the first of the two and nothing else.',
    mutants: [
      'valueAndGrad: (a, ...r) => {[f(a, ...r), null] => [f(a, ...r)]}',
    ],
  },
  {
    file: 'src/autodiff/reach.ts',
    proof: 'They become a set, whose order nothing reads.',
    mutants: [
      'condReach.branches: const branches = {[through(e.params.onTrue, to, of), through(e.params.onFalse, to, of)] => [through(e.params.onFalse, to, of), through(e.params.onTrue, to, of)]};',
      'condReach.depends: depends: /* @__PURE__ */ new Set({[0, ...depends] => [...depends, 0]})',
      'scanReach.grown: each((part) => {[ ...after[part], ...range(carries).filter((i) => reach[part].has(constants + i)) ] => [...range(carries).filter((i) => reach[part].has(constants + i)), ...after[part]]})',
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
      'scalarPartials: {isFloat(d.dtype) => d.dtype} && d.dtype === y.dtype',
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
    file: 'src/autodiff/vjp.ts',
    proof: 'An operation with partials takes and gives one float dtype (scalarType; cast has a rule of its own, a condition no partial): that of d, and of the literals among its partials.',
    mutants: [
      'chooseTimes: lit(0, {d => p}.dtype)',
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
    file: 'src/autodiff/vmap.ts',
    proof: '`from` are inputs, without operands and with nothing before them: going through them too changes nothing.',
    mutants: [
      'batchTensors: equations(outputs, {from => to})',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: 'An equation of one operand has a batch only if that operand has: `whole` gives it as it is, and does not ask for n.',
    mutants: [
      'batchRules.broadcast: [whole(v, {n => e})]',
      'batchRules.permute: [whole(v, {n => e})]',
      'batchRules.flip: [whole(v, {n => e})]',
      'batchRules.fold: b.fold(whole(v, {n => e}), { ...e.params.sliding, axes: up(e.params.sliding.axes) }, [n, ...e.params.shape])',
      'batchRules.reduce: [whole(v, {n => e})]',
      'batchRules.reshape: [whole(v, {n => e})]',
      'batchRules.unfold: b.unfold(whole(v, {n => e}), { ...e.params.sliding, axes: up(e.params.sliding.axes) })',
      'batchRules.pad: [whole(v, {n => p})]',
      'batchRules.slice: [whole(v, {n => p})]',
    ],
  },
  {
    file: 'src/autodiff/vmap.ts',
    proof: 'There is one cotangent per result (`full` in transposeEquation): y and dy are of one length.',
    mutants: [
      'batchRules.call.lifted.vjp.given: t.slice(x.length, x.length + {y => dy}.length)',
      'batchRules.call.lifted.vjp.given: {y => dy}.map(() => true)',
      'batchRules.call.lifted.vjp.given: t.slice(x.length + {y => dy}.length)',
    ],
  },
]
