/**
 * ONNX models as bytes. In: nodes in order, the names and shapes of inputs, the outputs' names. Out: a ModelProto,
 * written by hand: protobuf is a tag and a varint or a length before each field.
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
 */

const FLOAT = 1
const OPSET = 13

const varint = n => {
  const bytes = []
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128)
  return [...bytes, n]
}
const integer = (field, n) => [...varint(field * 8), ...varint(n)]
const bytes = (field, content) => [...varint(field * 8 + 2), ...varint(content.length), ...content]
const text = (field, s) => bytes(field, [...Buffer.from(s)])

const attribute = ([name, value]) =>
  Array.isArray(value)
    ? [...text(1, name), ...value.flatMap(v => integer(8, v)), ...integer(20, 7)]
    : [...text(1, name), ...integer(3, value), ...integer(20, 2)]
const node = ({ op, inputs, outputs, attributes = {} }) => [
  ...inputs.flatMap(i => text(1, i)),
  ...outputs.flatMap(o => text(2, o)),
  ...text(4, op),
  ...Object.entries(attributes).flatMap(a => bytes(5, attribute(a))),
]
const valueInfo = ({ name, shape }) => {
  const dims = (shape ?? []).flatMap(d => bytes(1, integer(1, d)))
  const tensor = [...integer(1, FLOAT), ...(shape ? bytes(2, dims) : [])]
  return [...text(1, name), ...bytes(2, bytes(1, tensor))]
}
const constant = ([name, value]) => [
  ...integer(2, FLOAT),
  ...text(8, name),
  ...bytes(9, [...new Uint8Array(Float32Array.of(value).buffer)]),
]

/**
 * The model of a graph; constants are scalars by name.
 * @example modelOf([{ op: 'MatMul', inputs: ['a', 'b'], outputs: ['y'] }], inputs, [{ name: 'y' }])
 */
export const modelOf = (nodes, inputs, outputs, constants = {}) =>
  Uint8Array.from([
    ...integer(1, 7),
    ...bytes(7, [
      ...nodes.flatMap(n => bytes(1, node(n))),
      ...text(2, 'bench'),
      ...Object.entries(constants).flatMap(c => bytes(5, constant(c))),
      ...inputs.flatMap(i => bytes(11, valueInfo(i))),
      ...outputs.flatMap(o => bytes(12, valueInfo(o))),
    ]),
    ...bytes(8, integer(2, OPSET)),
  ])
