/**
 * `npm run build`: the package as it is published, in dist/: JavaScript in few files, declarations in types/, a
 * package.json of its own. The repository itself runs from source and needs no build.
 *
 *     npm run build && npm publish ./dist
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { writePackage } from './package.ts'

const out = 'dist'
rmSync(out, { recursive: true, force: true })
const declared = spawnSync('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' })
if (declared.status !== 0) process.exit(declared.status ?? 1)
await writePackage(out)
