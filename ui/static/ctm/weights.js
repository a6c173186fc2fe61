/** Weights of a checkpoint: strict reading of safetensors files, and of each tensor with the shape that a module expects. */

import { formatName } from "./python-format.js";

export const WEIGHTS_NAME = "model.safetensors";
const MAX_HEADER_BYTES = 100_000_000;
const ITEM_BYTES = { F32: 4, F16: 2, BF16: 2, I64: 8 };

/**
 * @typedef {object} StoredTensor
 * @property {string} dtype - F32, F16, BF16 or I64; other types are kept and rejected where they are used.
 * @property {number[]} shape - Sizes of the axes.
 * @property {Uint8Array} bytes - Little-endian values, row-major.
 */

/**
 * Read a safetensors file. Nothing is executed, and no value is copied. Mirrors `safetensors.safe_open`.
 *
 * @param {Uint8Array} file - Content of the file.
 * @param {string} [name] - Name of the file, for messages.
 * @returns {Map<string, StoredTensor>} Tensors by name.
 * @throws {Error} The file is damaged: the header, a size, or bytes that no tensor or two tensors use.
 */
export function parseSafetensors(file, name = WEIGHTS_NAME) {
  const fail = (problem) => {
    throw new Error(`${name} is not a whole safetensors file: ${problem}.`);
  };
  if (file.byteLength < 8) fail("it is too short for a header");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  if (headerBytes > Math.min(MAX_HEADER_BYTES, file.byteLength - 8)) fail("the header is cut off");
  const header = parseHeader(file.subarray(8, 8 + headerBytes), fail);
  const data = file.subarray(8 + headerBytes);
  const tensors = new Map();
  const ranges = [];
  for (const [key, entry] of Object.entries(header)) {
    if (key === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    const isList = (list, length) => Array.isArray(list) && list.every(isSize) && (!length || list.length === length);
    if (typeof dtype !== "string" || !isList(shape) || !isList(offsets, 2)) fail(`the entry of ${formatName(key)}`);
    const [begin, end] = offsets;
    const size = shape.reduce((product, axis) => product * axis, ITEM_BYTES[dtype] ?? Number.NaN);
    if (begin > end || end > data.length || end - begin !== (Number.isNaN(size) ? end - begin : size)) {
      fail(`the size of ${formatName(key)} is wrong`);
    }
    ranges.push([begin, end]);
    tensors.set(key, { dtype, shape, bytes: data.subarray(begin, end) });
  }
  let position = 0;
  for (const [begin, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (begin !== position) fail("tensors overlap or leave gaps");
    position = end;
  }
  if (position !== data.length) fail("bytes follow the last tensor, or are missing");
  return tensors;
}

/** Parse the JSON header of a file. */
function parseHeader(bytes, fail) {
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (header && typeof header === "object" && !Array.isArray(header)) return header;
  } catch {
    // Reported below.
  }
  return fail("the header is not valid JSON");
}

/** Return whether a value is a size or an offset. */
function isSize(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

/**
 * Convert stored floating-point values to float32.
 *
 * @param {StoredTensor} tensor - A tensor of type F32, F16 or BF16.
 * @returns {Float32Array} Its values; a view of the file where that is possible.
 */
export function decodeFloats({ dtype, bytes }) {
  if (dtype === "F32") {
    const aligned = bytes.byteOffset % 4 ? bytes.slice() : bytes;
    return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
  }
  const copy = bytes.slice();
  const halves = new Uint16Array(copy.buffer);
  if (dtype === "F16") return Float32Array.from(halves, decodeHalf);
  return new Float32Array(Uint32Array.from(halves, (bits) => bits << 16).buffer);
}

/** Return the value of the bits of a 16-bit IEEE 754 number. */
function decodeHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = (bits & 0x3ff) / 1024;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}

/**
 * Tensors of a checkpoint that modules take while they are built. Strict: every tensor is taken once, with the shape that the
 * config implies. Mirrors `ctm.checkpoint.weights.load_weights`.
 */
export class WeightReader {
  #tensors;
  #remaining;

  /** @param {Map<string, StoredTensor>} tensors - Tensors by name. */
  constructor(tensors) {
    this.#tensors = tensors;
    this.#remaining = new Set(tensors.keys());
  }

  /**
   * Return the shape of a tensor.
   *
   * @param {string} name - Its name.
   * @returns {number[] | null} Its shape; null if it is missing.
   */
  getShape(name) {
    return this.#tensors.get(name)?.shape ?? null;
  }

  /**
   * Take floating-point values.
   *
   * @param {string} name - Name of the tensor.
   * @param {number[]} shape - Shape that it must have.
   * @returns {Float32Array} Its values.
   * @throws {Error} It is missing, has another shape or type, or holds NaN or infinity.
   */
  take(name, ...shape) {
    const tensor = this.#check(name, shape);
    if (!["F32", "F16", "BF16"].includes(tensor.dtype))
      failToFit(`\`${name}\` should be torch.float32, is ${tensor.dtype}`);
    const values = decodeFloats(tensor);
    if (!values.every(Number.isFinite)) throw new Error(`${WEIGHTS_NAME} holds NaN or infinity in \`${name}\`.`);
    return values;
  }

  /**
   * Take whole numbers.
   *
   * @param {string} name - Name of the tensor.
   * @param {number[]} shape - Shape that it must have.
   * @returns {Int32Array} Its values, limited to 32 bits.
   * @throws {Error} It is missing, or has another shape or type.
   */
  takeIntegers(name, ...shape) {
    const tensor = this.#check(name, shape);
    if (tensor.dtype !== "I64") failToFit(`\`${name}\` should be torch.int64, is ${tensor.dtype}`);
    const copy = tensor.bytes.slice();
    const limit = 2n ** 31n - 1n;
    return Int32Array.from(new BigInt64Array(copy.buffer), (value) =>
      Number(value < -limit ? -limit : value > limit ? limit : value),
    );
  }

  /**
   * Take the weight and the bias of a layer.
   *
   * @param {string} prefix - Name of the layer.
   * @param {number[]} shape - Shape of the weight; the bias has the length of its first axis.
   * @returns {{weight: Float32Array, bias: Float32Array}} Both.
   */
  takeLayer(prefix, ...shape) {
    return { weight: this.take(`${prefix}.weight`, ...shape), bias: this.take(`${prefix}.bias`, shape[0]) };
  }

  /**
   * Check that no tensor is left over.
   *
   * @throws {Error} The file holds tensors that no module of the config has.
   */
  checkAllTaken() {
    const names = [...this.#remaining].sort();
    if (!names.length) return;
    const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
    failToFit(`not known: ${names.slice(0, 5).map(formatName).join(", ")}${more}`);
  }

  #check(name, shape) {
    const tensor = this.#tensors.get(name);
    if (!tensor) failToFit(`missing: ${name}`);
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis])) {
      failToFit(`\`${name}\` should be [${shape.join(", ")}], is [${tensor.shape.join(", ")}]`);
    }
    this.#remaining.delete(name);
    return tensor;
  }
}

/** Throw the error of weights that contradict the config. */
function failToFit(problem) {
  throw new Error(`${WEIGHTS_NAME} does not fit config.json: ${problem}.`);
}
