/** Arithmetic of the inside view. Mirrors parts of `ctm.inside`. */

import { decodeArray } from "./data.js";

const NORM_EPSILON = 1e-5;

/**
 * @typedef {object} NeuronModel
 * @property {{inputs: number, weight: Float32Array, bias: Float32Array, temperature: number, norm: Float32Array[] | null}[]} layers - Its
 *   layers.
 * @property {Float32Array} startTrace - History before the first tick, oldest first.
 * @property {Float32Array} preActivations - Its inputs by tick.
 * @property {Float32Array} activations - Its activations by tick.
 */

/**
 * Read the model of a neuron.
 *
 * @param {Record<string, any>} answer - Answer to the request "neuron".
 * @returns {NeuronModel} The model.
 */
export function readNeuronModel(answer) {
  return {
    layers: answer.layers.map((layer) => ({
      inputs: layer.inputs,
      weight: decodeArray(layer.weight),
      bias: decodeArray(layer.bias),
      temperature: layer.temperature,
      norm: layer.norm_weight ? [decodeArray(layer.norm_weight), decodeArray(layer.norm_bias)] : null,
    })),
    startTrace: decodeArray(answer.start_trace),
    preActivations: decodeArray(answer.pre_activations),
    activations: decodeArray(answer.activations),
  };
}

/**
 * Return the history that a neuron reads at a tick.
 *
 * @param {NeuronModel} model - The model.
 * @param {number} tick - The tick, from 1.
 * @returns {Float32Array} Its last M inputs, oldest first.
 */
export function buildWindow({ startTrace, preActivations }, tick) {
  const history = [...startTrace, ...preActivations.subarray(0, tick)];
  return Float32Array.from(history.slice(-startTrace.length));
}

/**
 * Compute values and gates of every layer of a neuron.
 *
 * @param {NeuronModel} model - The model.
 * @param {Float32Array} window - Its history.
 * @returns {{values: number[], gates: number[], outputs: number[]}[]} For each layer the linear values, the gates in [0, 1], and their
 *   products; the output of the last layer is the activation.
 */
export function runNeuronModel({ layers }, window) {
  let inputs = Array.from(window);
  return layers.map(({ weight, bias, norm }) => {
    const x = norm ? normalise(inputs, norm) : inputs;
    const sums = Array.from(bias, (offset, row) =>
      x.reduce((sum, value, column) => sum + value * weight[row * x.length + column], offset),
    );
    const half = sums.length / 2;
    const values = sums.slice(0, half);
    const gates = sums.slice(half).map((logit) => 1 / (1 + Math.exp(-logit)));
    inputs = values.map((value, index) => value * gates[index]);
    return { values, gates, outputs: inputs };
  });
}

function normalise(inputs, [weight, bias]) {
  const mean = inputs.reduce((sum, value) => sum + value, 0) / inputs.length;
  const variance = inputs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / inputs.length;
  return inputs.map(
    (value, index) => ((value - mean) / Math.sqrt(variance + NORM_EPSILON)) * weight[index] + bias[index],
  );
}

/**
 * Compute how a pair gets its synchronisation at a tick.
 *
 * The action synchronisation of a tick is computed before its activations, so it ends with those of the tick before.
 *
 * @param {{kind: string, decay: number, left: Float32Array, right: Float32Array}} pair - Activations from before the first tick.
 * @param {number} tick - The tick, from 1.
 * @returns {{weights: number[], products: number[], sum: number, norm: number, value: number}} Weight and product of every tick from
 *   before the first one, the weighted sum, its divisor, and the synchronisation.
 */
export function computePairTerms({ kind, decay, left, right }, tick) {
  const last = kind === "action" ? tick - 1 : tick;
  const weights = Array.from({ length: last + 1 }, (_, at) => Math.exp(-decay * (last - at)));
  const products = weights.map((_, at) => left[at] * right[at]);
  const sum = products.reduce((total, product, at) => total + weights[at] * product, 0);
  const norm = Math.sqrt(weights.reduce((total, weight) => total + weight, 0));
  return { weights, products, sum, norm, value: sum / norm };
}

/**
 * Sort pairs by the size of their contribution.
 *
 * @param {ArrayLike<number>} values - Contribution of each pair.
 * @returns {Int32Array} Indices of the pairs, the largest first.
 */
export function sortBySize(values) {
  return Int32Array.from({ length: values.length }, (_, index) => index).sort(
    (a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b,
  );
}

/**
 * Compute the share of all absolute contributions that the first pairs make.
 *
 * @param {ArrayLike<number>} values - Contribution of each pair.
 * @param {Int32Array} order - Result of `sortBySize`.
 * @returns {Float64Array} Share of the first 1, 2, ... pairs.
 */
export function accumulateShares(values, order) {
  const shares = new Float64Array(order.length);
  let sum = 0;
  for (const [rank, pair] of order.entries()) shares[rank] = sum += Math.abs(values[pair]);
  return sum ? shares.map((share) => share / sum) : shares;
}

/**
 * Count the pairs that make a share of all absolute contributions.
 *
 * @param {Float64Array} shares - Result of `accumulateShares`.
 * @param {number} share - The share.
 * @returns {number} The smallest number of pairs.
 */
export function countPairsForShare(shares, share) {
  const index = shares.findIndex((value) => value >= share - 1e-12);
  return index < 0 ? shares.length : index + 1;
}

/**
 * Sort neurons for the raster.
 *
 * @param {import("./data.js").Overview} overview - The overview.
 * @param {"index" | "phase" | "correlation"} key - By number, by place in the layout, or by correlation with a neuron.
 * @param {number} neuron - The neuron that others are compared with.
 * @returns {number[]} Neurons from top to bottom.
 */
export function sortNeurons({ neurons, ticks, activations, layout }, key, neuron) {
  const all = Array.from({ length: neurons }, (_, index) => index);
  if (key === "phase") return [...layout.order];
  if (key !== "correlation") return all;
  const correlations = all.map((other) => correlate(activations, neurons, ticks, neuron, other));
  return all.sort((a, b) => (b === neuron) - (a === neuron) || correlations[b] - correlations[a] || a - b);
}

/**
 * Return the correlation of two neurons over the unroll.
 *
 * @param {Float32Array} activations - Activations, (ticks, D).
 * @param {number} neurons - Number of neurons D.
 * @param {number} ticks - Number of ticks.
 * @param {number} a - First neuron.
 * @param {number} b - Second neuron.
 * @returns {number} From -1 to 1; 0 if a neuron is constant.
 */
export function correlate(activations, neurons, ticks, a, b) {
  const read = (neuron, tick) => activations[tick * neurons + neuron];
  let [meanA, meanB] = [0, 0];
  for (let tick = 0; tick < ticks; tick++) {
    meanA += read(a, tick) / ticks;
    meanB += read(b, tick) / ticks;
  }
  let [ab, aa, bb] = [0, 0, 0];
  for (let tick = 0; tick < ticks; tick++) {
    const [x, y] = [read(a, tick) - meanA, read(b, tick) - meanB];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa * bb > 1e-18 ? ab / Math.sqrt(aa * bb) : 0;
}
