import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import fc from 'fast-check'
import type { Backend } from '../../src/backend/backend.ts'
import { interpret } from '../../src/backend/cpu/reference.ts'
import { referenceBackend } from '../../src/backend/cpu/reference-backend.ts'
import { describeFuzzFailure, describeSummary } from '../../src/cli/fuzz.ts'
import type { Graph } from '../../src/dsl/graph.ts'
import { rewrite } from '../../src/dsl/graph.ts'
import { isTensor } from '../../src/dsl/trace.ts'
import { traceList } from '../../src/testing/check-grads.ts'
import { fuzz, programOf, replay } from '../../src/testing/fuzz.ts'
import { printCheck } from '../../src/testing/print.ts'
import { countOps, programArguments, programSteps, programs, runProgram } from '../../src/testing/programs.ts'
import { sizeCases } from '../../src/testing/sizes.ts'
import { cubeRule } from '../../src/testing/steps.ts'
import { closeAll, cpu, webgpu } from '../support/backends.ts'

after(closeAll)
const root = fileURLToPath(new URL('../../', import.meta.url))

test('random programs reach the whole registry, and their gradients are finite and mostly not 0', async t => {
  const { summary, failure } = await fuzz({ backend: await cpu(), seed: 700, programs: 250, seconds: 60 })
  assert.equal(failure, null)
  assert.equal(summary.programs, 250)
  assert.ok(summary.moving >= 0.8 * summary.programs, `${summary.moving} have a gradient`)
  assert.ok(summary.gradients >= 0.6 * summary.programs, `${summary.gradients} compared with differences`)
  // 1,000 in 100,000 programs are 1 in 100
  for (const name of Object.keys(programSteps))
    assert.ok((summary.ops.get(name) ?? 0) >= 1, `${name} was not reached`)
  t.diagnostic(describeSummary(summary).split('\n').slice(0, 3).join('; '))
})

test('a program is drawn again by its seed', () => {
  assert.deepEqual(programOf(5), programOf(5))
  assert.notDeepEqual(programOf(5), programOf(6))
})

/** The reference with a wrong flip: what the fuzzer must find. */
const broken = (): Backend => {
  const right = referenceBackend()
  const wrong = (g: Graph) => rewrite(g, (e, xs) => (e.op === 'flip' ? xs : null))
  return { ...right, compile: g => right.compile(wrong(g)) }
}

test('a defect is found, shrunk to a program of a step or two, printed, and replayed by seed and path', async () => {
  const backend = broken()
  const { failure } = await fuzz({ backend, seed: 0, programs: 500, seconds: 60 })
  assert.ok(failure, 'the wrong flip is found')
  assert.ok(failure.program.steps.length <= 2, JSON.stringify(failure.program))
  assert.ok(failure.program.steps.some(s => s.op === 'flip'))
  const again = await replay(backend, failure.seed, failure.path)
  assert.deepEqual(again?.program, failure.program)
  assert.equal(await replay(referenceBackend(), failure.seed), null)
  const text = describeFuzzFailure(failure, 'cpu')
  assert.match(text, /primitive\('flip', \{ axes: \[0\] \}/)
  assert.ok(text.includes(`--seed ${failure.seed} --programs 1 --path ${failure.path}`))
})

test('a printed program computes what the program computes', async () => {
  const folder = mkdtempSync(join(root, 'test/testing/printed-'))
  try {
    let n = 0
    await fc.assert(
      fc.asyncProperty(programs({ length: 6 }), async program => {
        const args = programArguments(program, 'f32')
        const graph = traceList(runProgram(program), args)
        const text = printCheck(graph, args, { rules: new Map([[cubeRule, 'cubeRule']]) })
          .replace("'cotangent'", `'${pathToFileURL(join(root, 'src/index.ts'))}'`)
          .replace("'cotangent/node'", `'${pathToFileURL(join(root, 'src/node.ts'))}'`)
          .replace("'cotangent/testing'", `'${pathToFileURL(join(root, 'src/testing/index.ts'))}'`)
        // The checks at its end run elsewhere: here its function and arguments are taken.
        const file = join(folder, `program${n++}.ts`)
        writeFileSync(file, `${text.slice(0, text.indexOf('const backend'))}\nexport { args, f }\n`)
        const made = await import(pathToFileURL(file).href)
        assert.deepEqual(made.args, args)
        const again = traceList(xs => made.f(...xs), args)
        assert.deepEqual(interpret(again, args), interpret(graph, args))
        assert.ok(again.outputs.every(isTensor))
        // the same primitives, but for numbers that need no line
        assert.equal(countOps(again.outputs).get('reduce'), countOps(graph.outputs).get('reduce'))
      }),
      { numRuns: 40, unbiased: true },
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the sizes around tiles, workgroups and limits agree on the CPU', async () => {
  const backend = await cpu()
  for (const c of sizeCases) await c.run(backend)
})

test('sizes around tiles and workgroups agree on WebGPU', async t => {
  const backend = await webgpu(t)
  // Every third: the command runs them all.
  for (const c of sizeCases.filter((_, i) => i % 3 === 0)) await c.run(backend)
})
