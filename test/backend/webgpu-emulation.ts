/**
 * Subgroup matrices played by any adapter. In: a shader that uses them. Out: a shader in which a matrix is an array in
 * every invocation of a "subgroup" (they all do the same), and what is done with matrices are functions. Staging,
 * offsets, edges and epilogues stay the text that a device with subgroup matrices gets.
 */
import type { MatrixShape } from '../../src/backend/kernel.ts'
import type { Device } from '../../src/backend/webgpu/device.ts'
import { MATRIX_FEATURE } from '../../src/backend/webgpu/matrix-feature.ts'

/** What may be wrong with an emulated driver: sums in f16, or operands that are taken for their transposes. */
export type Fault = 'f16 sums' | 'transposed'

/** What is played. */
export interface Emulated {
  readonly shapes: readonly MatrixShape[]
  /** Invocations of a subgroup: they are `min`, and may be up to `max`, for all that the shader knows. */
  readonly subgroup: { readonly min: number; readonly max: number }
  /** Bytes of workgroup memory. Default: what the adapter has. */
  readonly workgroupBytes?: number
  /** Default: nothing is wrong. */
  readonly fault?: Fault
}

/** A device that offers such matrices and computes them by functions. */
export function emulation(on: Device, { shapes, subgroup, workgroupBytes, fault }: Emulated): Device {
  const { limits } = on.info
  const maxComputeWorkgroupStorageSize = workgroupBytes ?? limits.maxComputeWorkgroupStorageSize
  const half = on.info.features.includes('shader-f16')
  const features = [...new Set([...on.info.features, 'shader-f16', MATRIX_FEATURE])]
  return {
    ...on,
    info: {
      ...on.info,
      // the real subgroups are other ones: what is known by the adapter's name does not hold
      name: 'emulated',
      limits: { ...limits, maxComputeWorkgroupStorageSize },
      features,
      subgroups: subgroup,
      matrices: shapes,
    },
    pipelines: sources =>
      on.pipelines(
        sources.map(s => ({
          ...s,
          wgsl: s.wgsl.includes('subgroupMatrix') ? emulated(s.wgsl, half, subgroup.min, fault) : s.wgsl,
        })),
      ),
  }
}

/**
 * @param half    whether shaders may use f16; where not, values are rounded to it and held as f32
 * @param lanes   invocations of a subgroup
 */
function emulated(wgsl: string, half: boolean, lanes: number, fault: Fault | undefined): string {
  const sizes = (type: string): readonly [columns: number, rows: number] => {
    const [, columns, rows] = wgsl.match(new RegExp(`alias ${type} = \\w+<f\\d\\d, (\\d+), (\\d+)>;`)) ?? []
    return [Number(columns), Number(rows)]
  }
  const element = { Left: 'f16', Right: 'f16', Sum: 'f32' } as const
  const [[k, m], [n]] = [sizes('Left'), sizes('Right')]
  const zero = wgsl.includes('var<uniform> ct_zero') ? ' + i32(ct_zero)' : ''
  const times = (i: string, count: number) => `for (var ${i} = 0; ${i} < ${count}${zero}; ${i}++)`
  const place = (order: string) => (order === 'col_major' ? 'at + stride * c + r' : 'at + stride * r + c')
  const load = (type: 'Left' | 'Right', order: string, memory: string) => {
    const [columns, rows] = sizes(type)
    const put = fault === 'transposed' ? `x[c * ${rows} + r]` : `x[r * ${columns} + c]`
    return `fn load_${type}_${order}_${memory}(first: u32, apart: u32) -> ${type} {
  let at = i32(first);
  let stride = i32(apart);
  var x: ${type};
  ${times('r', rows)} { ${times('c', columns)} { ${put} = ${memory}[${place(order)}]; } }
  return x;
}`
  }
  const sum = fault === 'f16 sums' ? (x: string) => `quantizeToF16(${x})` : (x: string) => x
  const prelude = [
    ...(['Left', 'Right', 'Sum'] as const).map(
      type => `alias ${type} = array<${element[type]}, ${sizes(type)[0] * sizes(type)[1]}>;`,
    ),
    ...(['Left', 'Right'] as const).flatMap(type =>
      ['col_major', 'row_major'].flatMap(order => ['tr', 'tc'].map(memory => load(type, order, memory))),
    ),
    `fn store_row_major_tm(first: u32, x: Sum, apart: u32) {
  let at = i32(first);
  let stride = i32(apart);
  var y = x;
  ${times('r', m)} { ${times('c', n)} { tm[${place('row_major')}] = y[r * ${n} + c]; } }
}`,
    `fn multiply_accumulate(left: Left, right: Right, sum: Sum) -> Sum {
  var x = left;
  var y = right;
  var z = sum;
  ${times('r', m)} { ${times('c', n)} { ${times('i', k)} {
    z[r * ${n} + c] = ${sum(`z[r * ${n} + c] + f32(x[r * ${k} + i]) * f32(y[i * ${n} + c])`)};
  } } }
  return z;
}`,
  ]
  const text = wgsl
    .replace(/enable (subgroups|chromium_experimental_subgroup_matrix);\n/g, '')
    .replace(/alias (Left|Right|Sum) = .*\n/g, '')
    .replace(', @builtin(subgroup_id) g: u32', '')
    .replace(/fn main\((.*)\) \{/, `fn main($1) {\n  let g = l / ${lanes}u;`)
    .replace(/subgroupMatrixLoad<(Left|Right), (\w+)>\(&(\w+), /g, 'load_$1_$2_$3(')
    .replace(/subgroupMatrixStore<row_major>\(&tm, /g, 'store_row_major_tm(')
    .replaceAll('subgroupMatrixMultiplyAccumulate(', 'multiply_accumulate(')
  const all = text.replace(/^@compute/m, `${prelude.join('\n')}\n@compute`)
  return half
    ? all
    : all
        .replace('enable f16;\n', '')
        .replace(/array<f16,/g, 'array<f32,')
        .replace(/\bf16\(/g, 'quantizeToF16(')
}
