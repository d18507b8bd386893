/** The table of networks: its counts agree with what is published, and bad options are errors. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeModels, modelsCommand } from '../../src/cli/models-command.ts'
import { comparisonOf, published } from '../../src/cli/published.ts'
import { zooNames } from '../../src/nn/zoo.ts'

for (const p of published)
  test(`${p.name} has ${p.parameters} parameters and ${p.multiplyAdds}e9 multiply-adds at ${p.side} x ${p.side}`, () => {
    const { counted, agrees } = comparisonOf(p)
    assert.equal(counted.parameters, p.parameters)
    assert.ok(agrees, `${counted.multiplyAdds} multiply-adds are counted`)
  })

test('a figure that differs in its last digit does not agree', () => {
  const [first] = published
  assert.ok(!comparisonOf({ ...first, multiplyAdds: '1.815' }).agrees)
  assert.ok(!comparisonOf({ ...first, parameters: first.parameters + 1 }).agrees)
})

test('the table has a line for every network, and half the width costs about a quarter', () => {
  const of = (width: number) =>
    new Map(
      describeModels([64, 64], { classes: 19, width })
        .split('\n')
        .map(line => line.trim().split(/ {2,}/))
        .filter(cells => cells.length === 3)
        .map(([name, parameters]) => [name, Number(parameters)]),
    )
  const [full, half] = [of(1), of(0.5)]
  for (const name of zooNames) {
    const ratio = (half.get(name) ?? 0) / (full.get(name) ?? 0)
    assert.ok(ratio > 0.2 && ratio < 0.36, `${name}: ${ratio}`)
  }
})

test('options that say nothing are errors that say what they take', async () => {
  for (const [given, message] of [
    [['--size', '5'], /HEIGHTxWIDTH/],
    [['--classes', '0'], /positive integer/],
    [['--width', 'wide'], /number above 0/],
    [['--output-stride', '12'], /8, 16 or 32/],
  ] as const) {
    const command = modelsCommand()
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
    await assert.rejects(command.parseAsync(['node', 'models', ...given]), message)
  }
})
