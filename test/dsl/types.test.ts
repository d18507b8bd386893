/**
 * What the compiler says about shapes: the sentences in its messages and its speed, by running it on small programs in
 * a temporary folder. The inferred types are in shapes.types.ts, which `tsc` checks with everything else.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const cache = join(here, '../../.cache')
mkdirSync(cache, { recursive: true })
const folder = mkdtempSync(join(cache, 'types-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')

const header = `
import { pipe } from 'fp-ts/lib/function.js'
import { conv2d } from '../../src/dsl/ops/conv.ts'
import { add } from '../../src/dsl/ops/elementwise.ts'
import { zeros } from '../../src/dsl/ops/index.ts'
import { einsum, matmul } from '../../src/dsl/ops/linalg.ts'
import { maxPool2d } from '../../src/dsl/ops/pool.ts'
import { sum } from '../../src/dsl/ops/reduce.ts'
import { concat, permute, reshape } from '../../src/dsl/ops/shape.ts'
import type { Tensor } from '../../src/dsl/tensor.ts'
export { add, concat, conv2d, einsum, matmul, maxPool2d, permute, pipe, reshape, sum, zeros }
declare const x: Tensor<readonly [8, 16, 32, 32], 'f32'>
declare const w: Tensor<readonly [64, 32, 3, 3], 'f32'>
declare const v: Tensor<readonly [16, 16, 3, 3], 'f32'>
declare const m: Tensor<readonly [8, 10], 'f32'>
`
/** The compiler's messages about a program, one per error, and how long it took. */
function check(program: string): { readonly errors: readonly string[]; readonly seconds: number } {
  writeFileSync(join(folder, 'program.ts'), header + program)
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.json',
      compilerOptions: { noUnusedLocals: false, noErrorTruncation: true },
      include: [],
      files: ['program.ts'],
    }),
  )
  const start = performance.now()
  const { stdout, error } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
    encoding: 'utf8',
  })
  if (error) throw error
  const seconds = (performance.now() - start) / 1000
  return { errors: stdout.split(/\n(?=\S)/).filter(e => e.trim() !== ''), seconds }
}

test('a sentence names both values, in nested calls and in pipes alike', () => {
  const cases: readonly (readonly [program: string, sentence: string])[] = [
    ['add(conv2d(x, w), 1)', 'conv2d: input has 16 channels, the kernel expects 32'],
    ['pipe(x, conv2d(v, { padding: 1 }), conv2d(w))', 'conv2d: input has 16 channels, the kernel expects 32'],
    ['conv2d(x, v, { groups: 2 })', 'conv2d: input has 16 channels, the kernel expects 32'],
    [
      'conv2d(zeros([1, 16, 2, 2]), v)',
      'conv2d: the kernel [16, 16, 3, 3] does not fit into the input [1, 16, 2, 2]',
    ],
    ['conv2d(m, v)', 'conv2d: the input has 2 axes, [8, 10], not 4'],
    ['sum(add(m, zeros([8])))', 'add: [8, 10] and [8] do not broadcast: 10 against 8 on axis -1'],
    ['pipe(m, add(zeros([9, 10])))', 'add: [8, 10] and [9, 10] do not broadcast: 8 against 9 on axis -2'],
    ["add(m, zeros([10], 'i32'))", 'add: the operands are f32 and i32; use cast'],
    ['pipe(m, matmul(m))', 'matmul: [8, 10] and [8, 10] do not fit: the inner extents are 10 and 8'],
    ["einsum('ij,jk->ik', m, zeros([11, 2]))", "einsum 'ij,jk->ik': index j is 10 and 11"],
    ['reshape(m, [9, 9])', 'reshape: [8, 10] has 80 elements, [9, 9] has 81'],
    ['pipe(m, permute([0, 2]))', 'permute: [8, 10] has no axis 2'],
    ['sum(m, { axes: [0, -3] })', 'sum: [8, 10] has no axis -3'],
    [
      'concat([m, zeros([8, 9])])',
      'concat: [8, 10] and [8, 9] must agree but on axis 0: 10 against 9 on axis 1',
    ],
    ['maxPool2d(x, 33)', 'maxPool2d: the window [33, 33] does not fit into the input [8, 16, 32, 32]'],
  ]
  const { errors } = check(cases.map(([program]) => program).join('\n'))
  const first = header.split('\n').length
  cases.forEach(([program, sentence], i) => {
    const here = errors.filter(e => e.includes(`program.ts(${first + i},`)).join('\n')
    assert.ok(here.includes(`ShapeMismatch<"${sentence}">`), `${program}: ${here || 'no error'}`)
  })
})

test('programs that fit give no message', () => {
  const { errors } = check(
    'declare const any: Tensor\nmatmul(add(conv2d(x, v), any), any)\nexport const t: Tensor = pipe(any, conv2d(w), add(m), sum)',
  )
  assert.deepEqual(errors, [])
})

test('what the compiler shows of a result is a literal shape', () => {
  const { errors } = check('const y: string = pipe(x, conv2d(v, { stride: 2, padding: 1 }), add(1))')
  assert.match(errors.join('\n'), /Type 'Tensor<readonly \[8, 16, 16, 16\], "f32">' is not assignable/)
})

test('a chain of 100 convolutions checks in a few seconds, and its last mistake is found', () => {
  const chain = Array.from({ length: 100 }, (_, i) => {
    const [from, to] = [16 + i, 17 + i]
    return `const y${i + 1} = conv2d(y${i}, zeros([${to}, ${from}, 3, 3]), { padding: 1 })`
  })
  const { errors, seconds } = check(
    ['const y0 = zeros([8, 16, 32, 32])', ...chain, 'matmul(y100, zeros([33, 4]))'].join('\n'),
  )
  assert.equal(errors.length, 1, errors.join('\n'))
  assert.match(
    errors[0],
    /matmul: \[8, 116, 32, 32\] and \[33, 4\] do not fit: the inner extents are 32 and 33/,
  )
  // 0.5 s on one core; the rest is for a busy machine.
  assert.ok(seconds < 10, `${seconds} s`)
  console.log(`100 convolutions: ${seconds.toFixed(2)} s`)
})
