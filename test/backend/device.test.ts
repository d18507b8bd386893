/**
 * The WebGPU device on whichever adapter this machine has (Linux x64 always has SwiftShader after `npm ci`).
 * Without any adapter these tests fail: a missing GPU must not pass for success.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import * as E from 'fp-ts/lib/Either.js'
import { describe as describeAdapter, openAdapter } from '../../src/backend/webgpu/dawn.ts'
import { type Device, openDevice } from '../../src/backend/webgpu/device.ts'
import { napUntil } from '../../src/backend/webgpu/wait.ts'
import { DeviceError } from '../../src/dsl/errors.ts'

const open = async (options = {}): Promise<Device> => {
  const opened = await openDevice(options)()
  if (E.isLeft(opened)) throw opened.left
  return opened.right
}

const DOUBLE = `
  @group(0) @binding(0) var<storage, read_write> x: array<f32>;
  @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < arrayLength(&x)) { x[id.x] = 2 * x[id.x]; }
  }`

/** Doubles each number of the buffer on the device. */
const double = async (device: Device, buffer: GPUBuffer): Promise<void> => {
  const [pipeline] = await device.pipelines([{ label: 'double', wgsl: DOUBLE }])
  await device.guard('double', () => {
    const entries = [{ binding: 0, resource: { buffer } }]
    const group = device.gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
    const encoder = device.gpu.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(Math.ceil(buffer.size / 4 / 64))
    pass.end()
    device.queue.submit([encoder.finish()])
  })
}

/** A `DeviceError` whose message has this in it. */
const saying = (pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof DeviceError, `no DeviceError but ${e}`)
  assert.match(e.message, pattern)
  return true
}

describe('the WebGPU device', () => {
  let device: Device
  before(async () => {
    device = await open()
    console.log(`  adapter: ${describeAdapter(device.info)}`)
  })
  after(() => device.close())

  it('runs a kernel and reads back what it wrote', async () => {
    const x = Float32Array.from({ length: 1000 }, (_, i) => i - 0.5)
    const buffer = await device.createBuffer(x.byteLength, 'x')
    device.write(buffer, 0, x)
    await double(device, buffer)
    const doubled = new Float32Array(await device.read(buffer, 0, buffer.size))
    assert.deepEqual(
      doubled,
      x.map(v => 2 * v),
    )
    device.release(buffer)
  })

  it('reads any range of what was written', async () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i * 7)
    const buffer = await device.createBuffer(bytes.length, 'bytes')
    device.write(buffer, 0, bytes)
    const range = fc.tuple(fc.nat(1000), fc.nat(1000)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)])
    await fc.assert(
      fc.asyncProperty(range, async ([from, to]) => {
        const read = await device.read(buffer, from, to - from)
        assert.deepEqual(new Uint8Array(read), bytes.subarray(from, to))
      }),
      { numRuns: 50 },
    )
    device.release(buffer)
  })

  it('pads a written last word with zeros', async () => {
    const buffer = await device.createBuffer(8, 'padded')
    device.write(buffer, 0, Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9))
    device.write(buffer, 0, Uint8Array.of(1, 2, 3, 4, 5))
    assert.deepEqual([...new Uint8Array(await device.read(buffer, 0, 8))], [1, 2, 3, 4, 5, 0, 0, 0])
    device.release(buffer)
  })

  it('reads many buffers at once', async () => {
    const buffers = await Promise.all(Array.from({ length: 20 }, (_, i) => device.createBuffer(64, `b${i}`)))
    for (const [i, buffer] of buffers.entries()) device.write(buffer, 0, new Uint32Array(16).fill(i))
    const reads = await Promise.all(buffers.map(buffer => device.read(buffer, 0, 64)))
    assert.deepEqual(
      reads.map(read => new Uint32Array(read)[15]),
      buffers.map((_, i) => i),
    )
    for (const buffer of buffers) device.release(buffer)
  })

  it('refuses to read beyond a buffer', async () => {
    const buffer = await device.createBuffer(16, 'short')
    await assert.rejects(device.read(buffer, 8, 12), saying(/bytes 8 to 20: buffer "short" has 16/))
    device.release(buffer)
  })

  it('counts buffers and bytes until they are released, once', async () => {
    const before = device.usage()
    const a = await device.createBuffer(100, 'a')
    const b = await device.createBuffer(5, 'b')
    assert.equal(device.usage().buffers, before.buffers + 2)
    // 5 bytes round up to 8.
    assert.equal(device.usage().bytes, before.bytes + 108)
    device.release(a)
    device.release(a)
    device.release(b)
    assert.deepEqual(device.usage(), before)
  })

  it('keeps no more staging memory for a hundred reads than for one', async () => {
    const buffer = await device.createBuffer(4096, 'staged')
    await device.read(buffer, 0, 4096)
    const { staging } = device.usage()
    for (let i = 0; i < 100; i++) await device.read(buffer, 0, 4096)
    assert.equal(device.usage().staging, staging)
    device.release(buffer)
  })

  it('compiles equal text once, in whatever order and however often it is asked', async () => {
    const wgsl = DOUBLE.replace('2 *', '3 *')
    const before = device.usage().pipelines
    const [a, other, b] = await device.pipelines([
      { label: 'a', wgsl },
      { label: 'other', wgsl: DOUBLE },
      { label: 'b', wgsl },
    ])
    const [again] = await device.pipelines([{ label: 'again', wgsl }])
    assert.equal(a, b)
    assert.equal(a, again)
    assert.notEqual(a, other)
    assert.ok(device.usage().pipelines <= before + 2)
  })

  it("reports a shader that does not compile in the compiler's words, and goes on", async () => {
    const wgsl = DOUBLE.replace('2 *', 'twice *')
    const compile = () => device.pipelines([{ label: 'broken', wgsl }])
    await assert.rejects(compile, saying(/shader "broken".*unresolved value 'twice'/s))
    await assert.rejects(compile, saying(/unresolved value 'twice'/))
    device.check()
  })

  it('reports an entry point that is not there', async () => {
    const source = { label: 'lost', wgsl: DOUBLE, entryPoint: 'nowhere' }
    await assert.rejects(device.pipelines([source]), saying(/pipeline "lost".*nowhere/s))
    device.check()
  })

  it('reports a buffer beyond the limits as an error value, and goes on', async () => {
    const before = device.usage()
    const { maxBufferSize } = device.info.limits
    await assert.rejects(device.createBuffer(2 * maxBufferSize, 'huge'), saying(/"huge".*limit/))
    assert.deepEqual(device.usage(), before)
  })

  it('ties a mistake to the guard it was made in, and keeps an unguarded one for the next read', async () => {
    const buffer = await device.createBuffer(16, 'victim')
    const mistake = () => {
      const encoder = device.gpu.createCommandEncoder()
      encoder.copyBufferToBuffer(buffer, 0, buffer, 4096, 16)
      device.queue.submit([encoder.finish()])
    }
    await assert.rejects(device.guard('my step', mistake), saying(/my step: .*"victim"/s))
    device.check()
    mistake()
    await assert.rejects(device.read(buffer, 0, 16), saying(/"victim"/))
    assert.equal((await device.read(buffer, 0, 16)).byteLength, 16)
    device.release(buffer)
  })

  it("grants the adapter's own limits", async () => {
    const adapter = await openAdapter()()
    assert.ok(E.isRight(adapter))
    assert.deepEqual(device.info.limits, adapter.right.info.limits)
  })
})

describe('choosing an adapter', () => {
  it('names what it tried and found when no adapter has the name', async () => {
    const opened = await openDevice({ adapter: 'Voodoo 2' })()
    assert.ok(E.isLeft(opened))
    assert.ok(opened.left instanceof DeviceError)
    assert.match(opened.left.message, /no adapter has a name with "Voodoo 2" in it\n {2}tried .*/)
  })

  it('finds an adapter by part of its printed name, in any case', async () => {
    const any = await open()
    const named = await open({ adapter: any.info.name.slice(1).toUpperCase() })
    assert.equal(named.info.name, any.info.name)
    named.close()
    any.close()
  })

  it('never passes a software adapter for a GPU, nor the reverse', async () => {
    const any = await open()
    any.close()
    const same = await open({ software: any.info.software })
    assert.equal(same.info.software, any.info.software)
    same.close()
    const other = await openDevice({ software: !any.info.software })()
    if (E.isRight(other)) {
      assert.equal(other.right.info.software, !any.info.software)
      other.right.close()
    } else assert.match(other.left.message, /no (software|hardware) adapter found/)
  })
})

describe('waiting', () => {
  /** Turns of the event loop while `task` runs, under a poller like Dawn's. */
  const turnsOf = async (task: Promise<unknown>): Promise<number> => {
    let turns = 0
    let polling = true
    const poll = () => {
      turns++
      if (polling) setImmediate(poll)
    }
    setImmediate(poll)
    await task
    polling = false
    return turns
  }
  const delay = (ms: number) => new Promise<string>(resolve => setTimeout(resolve, ms, 'done'))

  it('naps between the turns of the event loop, also when many wait', async () => {
    // 32 eager turns for each wait, then naps of at least 0.2 ms: at most 1,000 in 200 ms. Busy: over 10,000.
    const turns = await turnsOf(Promise.all(Array.from({ length: 10 }, () => napUntil(delay(200)))))
    assert.ok(turns < 1500, `${turns} turns in 200 ms`)
  })

  it('gives the promise back as it ends', async () => {
    assert.equal(await napUntil(delay(1)), 'done')
    await assert.rejects(napUntil(Promise.reject(new Error('as it was'))), /as it was/)
  })
})

describe('the end of a device', () => {
  it('comes once, however often it is closed, and later calls say so', async () => {
    const device = await open()
    const buffer = await device.createBuffer(16, 'x')
    device.close()
    device.close()
    assert.equal(device.usage().buffers, 0)
    assert.equal(device.usage().bytes, 0)
    assert.throws(() => device.check(), saying(/closed/))
    await assert.rejects(device.read(buffer, 0, 16), saying(/closed/))
    await assert.rejects(device.createBuffer(16, 'y'), saying(/closed/))
  })

  it('is an error value when the driver brings it', async () => {
    const device = await open()
    const buffer = await device.createBuffer(16, 'x')
    // The only loss that can be had on purpose; the device has not been told.
    device.gpu.destroy()
    assert.match((await device.lost).message, /the device was lost/)
    assert.throws(() => device.check(), saying(/lost/))
    await assert.rejects(device.read(buffer, 0, 16), saying(/lost/))
    await assert.rejects(
      device.guard('step', () => 0),
      saying(/lost/),
    )
    device.close()
  })

  it('rejects a read in flight instead of hanging', async () => {
    const device = await open()
    const buffer = await device.createBuffer(2 ** 20, 'x')
    const read = assert.rejects(device.read(buffer, 0, buffer.size), DeviceError)
    device.close()
    await read
  })

  it('is not needed for the process to end', () => {
    const script = `
      import { openDevice } from ${JSON.stringify(new URL('../../src/backend/webgpu/device.ts', import.meta.url).href)}
      const { right: device } = await openDevice()()
      const buffer = await device.createBuffer(1024, 'x')
      await device.read(buffer, 0, 1024)
      console.log('read')`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
    const child = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 })
    assert.equal(child.stdout, 'read\n', child.stderr)
    assert.equal(child.status, 0, `signal ${child.signal}, ${child.stderr}`)
  })
})
