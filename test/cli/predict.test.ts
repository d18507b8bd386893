/** Claims on `cotangent predict`: names, overlays, the legend, files that are broken. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { decode } from 'fast-png'
import jpeg from 'jpeg-js'
import { dataUrl, legendSvg, overlay } from '../../src/cli/segment/overlay.ts'
import { countsOf, occurring, predictPage } from '../../src/cli/segment/predict-page.ts'
import { encodePng } from '../../src/data/image.ts'
import type { Colour } from '../../src/data/sample.ts'
import { sceneClasses } from '../../src/data/synthetic.ts'
import { here, tinyTrain } from './in-process.ts'

const out = mkdtempSync(join(tmpdir(), 'predict-'))
after(() => rmSync(out, { recursive: true }))
const run = join(out, 'run')
const trained = (() => {
  let done: Promise<void> | undefined
  return (t: Parameters<typeof here>[0]): Promise<void> => {
    done ??= here(t, [
      'train',
      ...tinyTrain,
      '--set',
      'train.iterations=1',
      '--out',
      out,
      '--name',
      'run',
    ]).then(({ code, stderr }) => assert.equal(code, 0, stderr))
    return done
  }
})()
const noise = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 37) % 256)
const folderOf = (name: string, files: Readonly<Record<string, Uint8Array>>): string => {
  const folder = join(out, name)
  for (const [file, bytes] of Object.entries(files)) {
    mkdirSync(join(folder, file, '..'), { recursive: true })
    writeFileSync(join(folder, file), bytes)
  }
  return folder
}
const png = encodePng(noise(3 * 20 * 30), 20, 30)
const jpg = jpeg.encode({ data: noise(4 * 24 * 12), height: 24, width: 12 }, 90).data

test('overlays keep names, folders and sizes; broken files are named and skipped, and the exit code is 1 at the end', async t => {
  await trained(t)
  const images = folderOf('images', {
    'a.png': png,
    'deep/b.jpg': jpg,
    'c.jpg': jpg,
    'c.png': png,
    'empty.png': new Uint8Array(),
    'torn.jpg': jpg.subarray(0, 200),
    'notes.txt': noise(3),
  })
  const { code, stdout, stderr } = await here(t, ['predict', run, images, '--out', join(out, 'overlays')])
  assert.equal(code, 1)
  assert.match(stdout, /^4 images in \S+overlays, by \S+best\.safetensors, iteration 1$/m)
  assert.match(stderr, /2 of 6 images were skipped:\n +.*empty\.png.*empty.*\n +.*torn\.jpg.*truncated/)
  assert.match(stderr, /^predict +6\/6 \(100 %\)/m)
  const sizes = { 'a.png': [20, 30], 'deep/b.png': [24, 12], 'c.jpg.png': [24, 12], 'c.png.png': [20, 30] }
  for (const [name, size] of Object.entries(sizes)) {
    const { height, width, channels } = decode(readFileSync(join(out, 'overlays', name)))
    assert.deepEqual([height, width, channels], [...size, 3], name)
  }
  assert(!existsSync(join(out, 'overlays', 'empty.png')))
  const page = readFileSync(join(out, 'overlays', 'index.html'), 'utf8')
  const shown = [...page.matchAll(/<img loading="lazy" src="([^"]+)" alt="([^"]+)"/g)]
  assert.equal(shown.length, 8)
  for (const [, url] of shown) assert(existsSync(join(out, 'overlays', decodeURIComponent(url))), url)
  assert.deepEqual(
    shown.filter(([, , alt]) => alt.endsWith(' deep/b.png')).map(([, url]) => url),
    ['../images/deep/b.jpg', 'deep/b.png'],
  )
  const svg = readFileSync(join(out, 'overlays', 'legend.svg'), 'utf8')
  for (const name of sceneClasses)
    assert.equal(svg.includes(`>${name}<`), page.includes(`</i>${name}</li>`), name)
})

test('the page lists the classes that occur: all of them above, those of an image below it with their shares', () => {
  const map = (...classes: number[]) => countsOf(Uint8Array.from(classes), 4)
  assert.deepEqual(map(3, 1, 3), [0, 1, 0, 2])
  const images = [
    { original: join('in', 'a b#.jpg'), name: 'a b#.png', counts: map(3, 1, 3, 3) },
    { original: join('in', 'c.jpg'), name: 'c.png', counts: map(0, 0, 0, 0) },
  ]
  assert.deepEqual(occurring(images), [0, 1, 3])
  const palette = [1, 2, 3, 4].map((x): Colour => [x, x, x])
  const page = predictPage(images, 'out', { classes: ['road', 'a < b', 'sky', 'car'], palette, about: 'run' })
  const lists = [...page.matchAll(/<ul[^>]*>(.*?)<\/ul>/g)].map(([, list]) => list.replace(/<[^>]*>/g, '|'))
  assert.deepEqual(
    lists.map(list =>
      list
        .split('|')
        .filter(text => text.trim() !== '')
        .join(' '),
    ),
    ['road a &lt; b car', 'car  75.0 % a &lt; b  25.0 %', 'road  100.0 %'],
  )
  assert(page.includes('src="../in/a%20b%23.jpg"') && page.includes('src="a%20b%23.png"'))
  assert(!/<script|https?:/.test(page))
})

test('--labels writes class numbers as palette PNG; a whole folder without faults ends with 0', async t => {
  await trained(t)
  const images = folderOf('good', { 'a.png': png })
  const { code, stderr } = await here(t, [
    'predict',
    join(run, 'checkpoints', 'best.safetensors'),
    images,
    '--labels',
    '--out',
    join(out, 'labels'),
  ])
  assert.equal(code, 0, stderr)
  const label = decode(readFileSync(join(out, 'labels', 'a.png')))
  assert.deepEqual([label.height, label.width, label.channels, label.palette?.length], [20, 30, 1, 6])
  assert(label.data.every(c => c < 6))
})

test('with alpha 0 the overlay is the image, with 1 the palette', async t => {
  await trained(t)
  const images = folderOf('alpha', { 'a.png': png })
  const pixels = async (alpha: string) => {
    const folder = join(out, `alpha-${alpha}`)
    const { code, stderr } = await here(t, [
      'predict',
      run,
      join(images, 'a.png'),
      '--alpha',
      alpha,
      '--out',
      folder,
    ])
    assert.equal(code, 0, stderr)
    return decode(readFileSync(join(folder, 'a.png'))).data
  }
  assert.deepEqual(await pixels('0'), decode(png).data)
  const classes = new Set(Array.from({ length: 600 }, (_, p) => p))
  const full = await pixels('1')
  const colours = new Set([...classes].map(p => [...full.subarray(3 * p, 3 * p + 3)].join()))
  assert(colours.size <= 6)
})

test('an overlay lies between the image and the colour, and leaves void pixels as they are', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ min: 0, max: 1, noNaN: true }), { minLength: 12, maxLength: 12 }),
      fc.array(fc.constantFrom(0, 1, 255), { minLength: 4, maxLength: 4 }),
      fc.float({ min: 0, max: 1, noNaN: true }),
      (image, map, alpha) => {
        const palette: readonly Colour[] = [
          [0, 128, 255],
          [255, 1, 2],
        ]
        const got = overlay({ size: [2, 2], image }, map, palette, alpha)
        for (let p = 0; p < 4; p++)
          for (let c = 0; c < 3; c++) {
            const own = 255 * image[4 * c + p]
            const want = map[p] === 255 ? own : own + alpha * (palette[map[p]][c] - own)
            assert(Math.abs(got[3 * p + c] - want) <= 0.5 + 1e-9)
          }
      },
    ),
  )
})

test('pictures of reports are PNG where they are small and JPEG where they are not; a legend escapes names', () => {
  assert.match(dataUrl(new Uint8Array(12), [2, 2]), /^data:image\/png;base64,/)
  const large = dataUrl(new Uint8Array(3 * 200 * 10), [10, 200])
  assert.match(large, /^data:image\/jpeg;base64,/)
  assert.equal(jpeg.decode(Buffer.from(large.split(',')[1], 'base64')).width, 200)
  assert.match(
    legendSvg(
      ['a < b', 'c'],
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
    ),
    /a &lt; b[\s\S]*rgb\(4, 5, 6\)/,
  )
})

test('what predict cannot do is told in words', async t => {
  await trained(t)
  const good = folderOf('again', { 'a.png': png })
  folderOf('twice', { 'a.png': png })
  folderOf('nothing', { 'a.txt': noise(2) })
  const to = ['--out', join(out, 'never')]
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['predict', run, ...to], 2, /missing required argument 'images'/],
    [['predict', run, good], 2, /required option '--out <folder>'/],
    [['predict', run, join(out, 'gone'), ...to], 1, /there is no image and no folder .*gone/],
    [['predict', run, join(out, 'nothing'), ...to], 2, /there is no \.jpg, \.jpeg or \.png in .*nothing/],
    [['predict', run, good, join(out, 'twice'), ...to], 2, /two images are to become a\.png/],
    [['predict', run, good, '--alpha', '1.5', ...to], 2, /--alpha.*'1\.5'.*from 0 to 1/],
    [['predict', run, good, '--out', join(good, 'a.png')], 1, /cannot write/],
  ]
  for (const [args, code, message] of cases) {
    const finished = await here(t, args)
    assert.match(finished.stderr, message, args.join(' '))
    assert.equal(finished.code, code, finished.stderr)
    assert.doesNotMatch(finished.stderr, /^\s+at |defect/m)
  }
})
