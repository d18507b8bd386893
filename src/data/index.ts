/**
 * What reads and writes files: datasets, transforms, batches, scores, weights. In Node:
 * `import { batches, syntheticScenes, loadWeights } from 'cotangent/data'`.
 */
export * from './boundary.ts'
export * from './datasets/ade20k.ts'
export * from './datasets/camvid.ts'
export * from './datasets/cityscapes.ts'
export * from './datasets/coco-stuff.ts'
export * from './datasets/named.ts'
export * from './datasets/voc.ts'
export { listedFolder, pairedFolders } from './folder.ts'
export { decodeImage, decodeLabel, encodePng } from './image.ts'
export * from './loader.ts'
export * from './metrics.ts'
export { pairDataset } from './pairs.ts'
export { remade } from './recipe.ts'
export { encode, openSafetensors, readSafetensors, writeSafetensors } from './safetensors.ts'
export * from './sample.ts'
export * from './synthetic.ts'
export * from './transforms/augmentation.ts'
export * from './transforms/crop.ts'
export * from './transforms/flip.ts'
export * from './transforms/normalise.ts'
export * from './transforms/photometric.ts'
export * from './transforms/rotation.ts'
export * from './transforms/transform.ts'
export { flattenTree, unflattenTree } from './tree-io.ts'
export * from './views.ts'
export {
  fitWeights,
  fromStateDict,
  type LoadReport,
  loadWeights,
  saveWeights,
  stateDict,
} from './weights.ts'
export { withWeights } from './weights-file.ts'
export * from './windows.ts'
