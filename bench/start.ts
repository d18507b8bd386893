/**
 * The time from a process's start to its first result: opens a backend, multiplies two matrices, prints a number. An
 * application's program: it imports Cotangent by name, and so the built package where that is installed (install.ts).
 */
import * as ct from 'cotangent'
import { type BackendName, openBackend } from 'cotangent/node'

const [name, adapter] = process.argv.slice(2)
// contenders.ts names the backend
const backend = await ct.unwrap(openBackend(name as BackendName, adapter ? { adapter } : {}))
const side = 256
const ones = ct.array([side, side], 'f32', new Float32Array(side * side).fill(1))
type Matrix = ct.Tensor<readonly [256, 256], 'f32'>
const exe = await ct.unwrap(ct.compile((a: Matrix, b: Matrix) => ct.matmul(a, b), [ones, ones], backend))
console.log((await exe(ones, ones)).data[0])
process.exit(0)
