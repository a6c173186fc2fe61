/** Data of the inside view: decoding of arrays, and the overview of an unroll. */

import { decodeBytes, isNumber, readArray, readInteger, readObject, readText } from "../common/validate.js";
import { computeLayout } from "./layout.js";

const MAX_NEURONS = 65_536;
const MAX_TICKS = 100_000;
const MAX_BASE64_CHARS = 64 * 2 ** 20;
const ARRAY_TYPES = { float16: 2, float32: 4, uint16: 2, uint8: 1 };
const DAMAGED = "The data of this view is incomplete: run the model again.";

/**
 * Decode an array: a typed array of a worker, or `{type, data}` with base64 from the server.
 *
 * @param {unknown} value - Anything.
 * @returns {Float32Array | Int32Array | Uint16Array | Uint8Array | null} The array; null if it is none.
 */
export function decodeArray(value) {
  if (ArrayBuffer.isView(value)) return value;
  const { type, data } = readObject(value);
  if (!Object.hasOwn(ARRAY_TYPES, type) || typeof data !== "string" || data.length > MAX_BASE64_CHARS) return null;
  const padding = data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0;
  const bytes = decodeBytes(data, (data.length / 4) * 3 - padding);
  if (!bytes || bytes.length % ARRAY_TYPES[type]) return null;
  if (type === "uint8") return bytes;
  const view = new DataView(bytes.buffer);
  const length = bytes.length / ARRAY_TYPES[type];
  if (type === "uint16") return Uint16Array.from({ length }, (_, index) => view.getUint16(2 * index, true));
  if (type === "float32") return Float32Array.from({ length }, (_, index) => view.getFloat32(4 * index, true));
  return Float32Array.from({ length }, (_, index) => decodeHalf(view.getUint16(2 * index, true)));
}

/**
 * Decode a half-precision number.
 *
 * @param {number} bits - Its 16 bits.
 * @returns {number} The number.
 */
export function decodeHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/**
 * @typedef {object} Pairs
 * @property {ArrayLike<number>} left - First neuron of each pair.
 * @property {ArrayLike<number>} right - Second neuron of each pair.
 * @property {ArrayLike<number>} decay - Decay rate of each pair.
 * @property {Float32Array} sync - Synchronisation, (ticks, pairs).
 * @property {number} count - Number of pairs.
 *
 * @typedef {object} Overview
 * @property {number} neurons - Number of neurons D.
 * @property {number} ticks - Ticks that ran.
 * @property {number} answerTick - Tick whose answer counts, from 1.
 * @property {number} memory - Length M of the history of a neuron.
 * @property {number} positions - Positions of the answer.
 * @property {number} classes - Classes per position.
 * @property {string[]} labels - Label of every class.
 * @property {boolean} hasEnergy - Whether the model has an energy.
 * @property {number[] | null} energy - Energy by tick.
 * @property {number[]} certainty - Mean certainty by tick.
 * @property {string[]} labelsByTick - Answer by tick.
 * @property {Float32Array} preActivations - Inputs of the neurons, (ticks, D).
 * @property {Float32Array} activations - Activations, (ticks, D).
 * @property {Float32Array} logits - Logits, (ticks, all positions and classes).
 * @property {{out: Pairs, action: Pairs | null}} pairs - Pairs by synchronisation.
 * @property {{heads: number, map: number[], places: number, scale: Float32Array, data: Uint8Array} | null} attention - Attention weights.
 * @property {{order: number[], places: Float32Array, isStored: boolean}} layout - Order of the neurons, their places (D, 2), and whether
 *   the checkpoint has them.
 * @property {number} mainPosition - Position of the answer that is explained first.
 * @property {number} largest - Absolute activation with the strongest colour.
 */

/**
 * Read an overview.
 *
 * @param {unknown} answer - Answer to the request "overview".
 * @returns {Overview} The overview.
 * @throws {Error} A part is missing or does not fit; one sentence.
 */
export function readOverview(answer) {
  const value = readObject(answer);
  const neurons = readInteger(value.neurons, 1, MAX_NEURONS);
  const ticks = readInteger(value.ticks, 1, MAX_TICKS);
  const activations = readSized(value.activations, ticks * neurons);
  const logits = decodeArray(value.logits);
  const classes = readInteger(value.classes, 1, MAX_NEURONS);
  if (!logits || logits.length % ticks || logits.length < ticks * classes) throw new Error(DAMAGED);
  const positions = readInteger(value.positions, 1, logits.length / ticks / classes);
  const labels = readArray(value.labels, classes).map((label) => readText(label, 60));
  const energy = readArray(value.energy, ticks).filter(isNumber);
  return {
    neurons,
    ticks,
    answerTick: readInteger(value.answer_tick, 1, ticks),
    memory: readInteger(value.memory, 1, MAX_NEURONS),
    positions,
    classes,
    mainPosition: readInteger(value.main_position, 0, positions - 1),
    labels: Array.from({ length: classes }, (_, index) => labels[index] ?? `class ${index}`),
    hasEnergy: value.has_energy === true && energy.length === ticks,
    energy: energy.length === ticks ? energy : null,
    certainty: readArray(value.certainty, ticks).filter(isNumber),
    labelsByTick: readArray(value.labels_by_tick, ticks).map((label) => readText(label)),
    preActivations: readSized(value.pre_activations, ticks * neurons),
    activations,
    logits,
    pairs: {
      out: readPairs(value.pairs, value.sync_out, neurons, ticks),
      action: value.action_pairs ? readPairs(value.action_pairs, value.sync_action, neurons, ticks) : null,
    },
    attention: readAttention(value.attention, ticks),
    layout: readLayout(value.layout, neurons) ?? { ...computeLayout(activations, neurons, ticks), isStored: false },
    largest: findLargest(activations),
  };
}

/** Return the absolute activation that only 2% exceed, so that a few neurons do not make all others pale. */
function findLargest(activations) {
  const sizes = Float32Array.from(activations, Math.abs).sort();
  return Math.max(1e-6, sizes[Math.floor(0.98 * (sizes.length - 1))]);
}

function readSized(value, length) {
  const array = decodeArray(value);
  if (array?.length !== length) throw new Error(DAMAGED);
  return array;
}

function readPairs(value, sync, neurons, ticks) {
  const [left, right, decay] = ["left", "right", "decay"].map((name) => decodeArray(readObject(value)[name]));
  const count = left?.length ?? 0;
  if (!count || right?.length !== count || decay?.length !== count) throw new Error(DAMAGED);
  if (left.some((neuron) => neuron >= neurons) || right.some((neuron) => neuron >= neurons)) throw new Error(DAMAGED);
  return { left, right, decay, sync: readSized(sync, ticks * count), count };
}

function readAttention(value, ticks) {
  const { heads: rawHeads, map: rawMap, ...rest } = readObject(value);
  const [scale, data] = [decodeArray(rest.scale), decodeArray(rest.data)];
  const heads = readInteger(rawHeads, 0, 1024);
  const map = readArray(rawMap, 4).map((side) => readInteger(side, 1, MAX_NEURONS));
  const places = map.reduce((product, side) => product * side, 1);
  if (!heads || scale?.length !== ticks * heads || data?.length !== ticks * heads * places) return null;
  return { heads, map, places, scale, data };
}

/** Read the layout of a checkpoint; null if there is none for this number of neurons. */
function readLayout(value, neurons) {
  const { order, x, y } = readObject(value);
  const isValid = [order, x, y].every((list) => Array.isArray(list) && list.length === neurons && list.every(isNumber));
  if (!isValid || new Set(order).size !== neurons || order.some((neuron) => !(neuron >= 0 && neuron < neurons)))
    return null;
  return {
    order,
    places: Float32Array.from({ length: 2 * neurons }, (_, at) => (at % 2 ? y : x)[at >> 1]),
    isStored: true,
  };
}

/**
 * Return the classes of a position by falling logit.
 *
 * @param {Overview} overview - The overview.
 * @param {number} tick - The tick, from 1.
 * @param {number} position - The position.
 * @returns {number[]} Indices of the classes.
 */
export function rankClasses({ logits, ticks, classes }, tick, position) {
  const start = (tick - 1) * (logits.length / ticks) + position * classes;
  const values = logits.subarray(start, start + classes);
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
}

/**
 * Return a column of values by tick.
 *
 * @param {Float32Array} values - Values, (ticks, width).
 * @param {number} width - Entries a tick.
 * @param {number} index - The entry.
 * @returns {Float32Array} Its value at every tick.
 */
export function selectColumn(values, width, index) {
  return Float32Array.from({ length: values.length / width }, (_, tick) => values[tick * width + index]);
}

/**
 * Return the pairs that a neuron belongs to.
 *
 * @param {Pairs} pairs - The pairs.
 * @param {number} neuron - The neuron.
 * @returns {number[]} Indices of the pairs.
 */
export function findNeuronPairs({ left, right, count }, neuron) {
  return Array.from({ length: count }, (_, pair) => pair).filter(
    (pair) => left[pair] === neuron || right[pair] === neuron,
  );
}
