/**
 * Names of weights. In: the names in a file. Out: their family, and each name as torchvision has it, which are the
 * names of our own trees: a parameter's path joined by dots, `mean` and `variance` of a norm's state as
 * `running_mean` and `running_var`.
 *
 * The maps cover what the families share: residual networks and MobileNetV2 as backbones, the heads of FCN (one
 * convolution), PSPNet and the auxiliary one. What they do not know keeps its name, and is then unexpected.
 * MobileNetV3 is not mapped: mmsegmentation pads it as TensorFlow does and timm's norms have another epsilon, so that
 * the same weights give other outputs.
 * @see mmseg/models/backbones/{resnet,mobilenet_v2}.py, decode_heads/{fcn,psp}_head.py;
 *   timm/models/{resnet,_efficientnet_blocks}.py; torchvision/models/{resnet,mobilenetv2}.py
 */

/** Who chose the names in a file. `other` names are taken as they are. */
export type NameFamily = 'torchvision' | 'mmsegmentation' | 'timm' | 'other'

/** A name in a file to the name in our trees. */
export type NameMap = (name: string) => string

type Names = ReadonlyArray<string>
type Rule = readonly [pattern: RegExp, replacement: string | ((...groups: string[]) => string)]

/**
 * Whose names these are.
 * @example familyOf(['backbone.layer1.0.conv1.weight', 'decode_head.conv_seg.weight']) // 'mmsegmentation'
 */
export function familyOf(names: Names): NameFamily {
  const some = (pattern: RegExp): boolean => names.some(name => pattern.test(name))
  if (some(/^(decode_head|auxiliary_head)\.|^backbone\.conv1\.conv\.weight$/)) return 'mmsegmentation'
  if (some(/(^|\.)(conv_stem\.weight|conv1\.0\.weight|blocks\.0\.0\.conv_dw\.weight)$/)) return 'timm'
  if (some(/(^|\.)(layer1\.0\.conv1|features\.0\.0|(classifier|aux_classifier)\.\d+)\.weight$/))
    return 'torchvision'
  return 'other'
}

/**
 * The map from a family's names to torchvision's.
 * @param names  all names of the file: which head it is follows from them
 * @example namesOf('mmsegmentation', names)('auxiliary_head.conv_seg.bias') // 'aux_classifier.4.bias'
 */
export function nameMap(family: NameFamily, names: Names): NameMap {
  if (family === 'mmsegmentation') return mapped(mmsegmentation(names))
  if (family === 'timm') return mapped(timm(names))
  return name => name
}

/** Applies the first rule that matches. */
const mapped =
  (rules: readonly Rule[]): NameMap =>
  name => {
    for (const [pattern, replacement] of rules) {
      const groups = pattern.exec(name)
      if (groups)
        return typeof replacement === 'string'
          ? name.replace(pattern, replacement)
          : replacement(...groups.slice(1).map(group => group ?? ''))
    }
    return name
  }

/** The first inverted residual of each of MobileNetV2's seven groups, as torchvision counts its `features`. */
const firstBlocks = [1, 2, 4, 7, 11, 14, 17]
const blockAt = (group: number, block: string): number => firstBlocks[group] + Number(block)

function mmsegmentation(names: Names): readonly Rule[] {
  const pyramid = names.some(name => name.startsWith('decode_head.psp_modules.'))
  const scales = [1, 2, 3, 6]
  return [
    // MobileNetV2: ConvModules with the children conv and bn.
    [/^backbone\.conv1\.(conv|bn)\.(.+)$/, (part, rest) => `backbone.0.${part === 'conv' ? 0 : 1}.${rest}`],
    [
      /^backbone\.layer([1-7])\.(\d+)\.conv\.(\d)\.(conv|bn)\.(.+)$/,
      (layer, block, step, part, rest) => {
        const last = layer === '1' ? 1 : 2
        const at = part === 'conv' ? 0 : 1
        const inside = Number(step) === last ? `${last + at}` : `${step}.${at}`
        return `backbone.${blockAt(Number(layer) - 1, block)}.conv.${inside}.${rest}`
      },
    ],
    // PSPNet, in our own names: torchvision has none.
    ...(pyramid
      ? ([
          [
            /^decode_head\.psp_modules\.([0-3])\.1\.(.+)$/,
            (i, rest) => `pyramid.pool${scales[Number(i)]}.${rest}`,
          ],
          [/^decode_head\.bottleneck\./, 'neck.'],
          [/^decode_head\.conv_seg\./, 'classifier.1.'],
        ] satisfies Rule[])
      : headRules(names, 'decode_head', 'classifier')),
    ...headRules(names, 'auxiliary_head', 'aux_classifier'),
  ]
}

/** The head of an FCN, if it is one and has one convolution. With more of them, which torchvision has not, names stay. */
const headRules = (names: Names, from: string, to: string): readonly Rule[] =>
  names.some(name => name.startsWith(`${from}.convs.0.conv.`)) &&
  !names.some(name => name.startsWith(`${from}.convs.1.`))
    ? [
        [new RegExp(`^${from}\\.convs\\.0\\.conv\\.`), `${to}.0.`],
        [new RegExp(`^${from}\\.convs\\.0\\.bn\\.`), `${to}.1.`],
        [new RegExp(`^${from}\\.conv_seg\\.`), `${to}.4.`],
      ]
    : []

function timm(names: Names): readonly Rule[] {
  if (names.some(name => /^conv1\.0\.weight$/.test(name)))
    // A residual network with three convolutions in front: conv1.0 to conv1.6, and bn1 behind them.
    return [
      [/^conv1\.(\d)\./, 'stem.$1.'],
      [/^bn1\./, 'stem.7.'],
    ]
  // Squeeze and excitation: MobileNetV3 or EfficientNet, not V2.
  if (names.some(name => name.includes('.se.'))) return []
  const child = (stage: string, part: string): string | undefined =>
    new Map(Object.entries(stage === '0' ? separable : inverted)).get(part)
  return [
    [/^conv_stem\./, 'features.0.0.'],
    [/^bn1\./, 'features.0.1.'],
    [
      /^blocks\.([0-6])\.(\d)\.(\w+)\.(.+)$/,
      (stage, block, part, rest) =>
        `features.${blockAt(Number(stage), block)}.conv.${child(stage, part) ?? part}.${rest}`,
    ],
    [/^conv_head\./, 'features.18.0.'],
    [/^bn2\./, 'features.18.1.'],
    [/^classifier\./, 'classifier.1.'],
  ]
}

/** timm's children of the first block and of the others, at torchvision's positions. */
const separable = { conv_dw: '0.0', bn1: '0.1', conv_pw: '1', bn2: '2' } as const
const inverted = {
  conv_pw: '0.0',
  bn1: '0.1',
  conv_dw: '1.0',
  bn2: '1.1',
  conv_pwl: '2',
  bn3: '3',
} as const

/**
 * Whether any of the globs takes a name: `*` is any text, `?` one character, all else itself.
 * @example globs(['classifier.*'])('classifier.4.bias') // true
 */
export function globs(patterns: readonly string[]): (name: string) => boolean {
  const all = patterns.map(
    pattern =>
      new RegExp(
        `^${pattern
          .replace(/\*+/g, '*')
          .replace(/[.+^${}()|[\]\\]/g, '\\$&')
          .replace(/\*/g, '.*')
          .replace(/\?/g, '.')}$`,
        's',
      ),
  )
  return name => all.some(pattern => pattern.test(name))
}
