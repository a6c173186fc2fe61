/** Readout of a tick: answer logits, certainty and energy. Mirrors `ctm.modules.readout`. */

import { applyLinear, applySilu, sigmoid } from "./linear-algebra.js";

const NUM_CERTAINTY_FEATURES = 4;
const MAX_CERTAINTY_FEATURE = Math.fround(1 - 1e-6);
const { fround } = Math;

/** Output projection, certainty per position and energy head of a model. */
export class Readout {
  /**
   * @param {import("./config.js").Config} config - Checked config.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {string} name - Name of the output layer.
   * @param {number} latentSize - Size S of the readout input.
   * @param {number} neurons - Number D of neuron activations that the energy head may receive.
   */
  constructor(config, weights, name, latentSize, neurons) {
    this.positions = config.positions;
    this.classes = config.classes;
    this.output = weights.takeLayer(name, config.out_dims, latentSize);
    /** Answer logits of the last tick, (P * C). */
    this.logits = new Float32Array(config.out_dims);
    /** Certainty of every position, in [0, 1], (P). */
    this.certainty = new Float32Array(config.positions);
    /** Energy of the last tick; null without an energy head. */
    this.energy = null;
    this.head = null;
    this.logProbabilities = new Float32Array(config.classes);
    if (!config.energy_head_enabled) return;
    this.numNeurons = config.energy_sees_neurons ? neurons : 0;
    const numFeatures = config.energy_sees_certainty ? NUM_CERTAINTY_FEATURES : 0;
    this.features = new Float32Array(latentSize + this.numNeurons + numFeatures);
    this.featureStart = numFeatures ? latentSize + this.numNeurons : -1;
    const hidden = config.energy_hidden_dim;
    this.head = [
      weights.takeLayer("energy_proj.0", hidden, this.features.length),
      weights.takeLayer("energy_proj.2", 1, hidden),
    ];
    this.hidden = new Float32Array(hidden);
    this.energyOutput = new Float32Array(1);
  }

  /**
   * Compute logits, certainty and energy of a tick. Mirrors `TickModel._compute_readout`.
   *
   * @param {Float32Array} latent - Readout input, (S).
   * @param {Float32Array} neurons - Neuron activations, (D).
   */
  apply(latent, neurons) {
    applyLinear(this.output.weight, this.output.bias, latent, this.logits);
    for (let position = 0; position < this.positions; position++) {
      this.certainty[position] = computeCertainty(this.logits, position * this.classes, this.logProbabilities);
    }
    if (!this.head) return;
    this.features.set(latent);
    if (this.numNeurons) this.features.set(neurons, latent.length);
    if (this.featureStart >= 0) writeCertaintyFeatures(this.certainty, this.features, this.featureStart);
    const [first, second] = this.head;
    applyLinear(first.weight, first.bias, this.features, this.hidden);
    applySilu(this.hidden);
    applyLinear(second.weight, second.bias, this.hidden, this.energyOutput);
    this.energy = this.energyOutput[0];
  }

  /**
   * Return the gradient of the energy times the value, for every readout input. Mirrors `ctm.inside.compute_energy_gradient`.
   *
   * @param {Float32Array} latent - Readout input, (S).
   * @param {Float32Array} neurons - Neuron activations, (D).
   * @param {Float32Array} certainty - Certainty of every position, (P).
   * @returns {{values: Float32Array, bias: number, output: number}} Gradient times value of every readout input, the sum over the
   *   other inputs of the energy head, and the energy.
   */
  computeEnergyGradient(latent, neurons, certainty) {
    const features = new Float32Array(this.features.length);
    features.set(latent);
    if (this.numNeurons) features.set(neurons, latent.length);
    if (this.featureStart >= 0) writeCertaintyFeatures(certainty, features, this.featureStart);
    const [first, second] = this.head;
    const hidden = new Float32Array(first.bias.length);
    applyLinear(first.weight, first.bias, features, hidden);
    const gradient = new Float64Array(features.length);
    let output = second.bias[0];
    for (const [row, value] of hidden.entries()) {
      const gate = sigmoid(value);
      const slope = second.weight[row] * gate * (1 + value * (1 - gate)); // with the derivative of SiLU
      output += second.weight[row] * value * gate;
      const start = row * features.length;
      for (let index = 0; index < features.length; index++) gradient[index] += slope * first.weight[start + index];
    }
    const products = Float32Array.from(features, (value, index) => value * gradient[index]);
    const bias = products.subarray(latent.length).reduce((sum, value) => sum + value, 0);
    return { values: products.slice(0, latent.length), bias, output };
  }
}

/**
 * Write the logarithms of the class probabilities of one position, rounded to float32 at every step as PyTorch does.
 *
 * @param {Float32Array} logits - Logits of all positions.
 * @param {number} start - Index of the first class of the position.
 * @param {Float32Array} out - Logarithms, (C).
 */
export function writeLogProbabilities(logits, start, out) {
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < out.length; index++) largest = Math.max(largest, logits[start + index]);
  let total = 0;
  for (let index = 0; index < out.length; index++) {
    out[index] = logits[start + index] - largest;
    total = fround(total + fround(Math.exp(out[index])));
  }
  const logTotal = fround(Math.log(total));
  for (let index = 0; index < out.length; index++) out[index] -= logTotal;
}

/**
 * Return one minus the normalised entropy of one position (paper section 3.5). Float32 rounding decides what is left of the entropy
 * near certainty 1, and the energy head reads its logarithm; therefore every step is rounded as PyTorch does.
 *
 * @param {Float32Array} logits - Logits of all positions.
 * @param {number} start - Index of the first class of the position.
 * @param {Float32Array} scratch - Memory for the logarithms, (C).
 * @returns {number} Certainty in [0, 1].
 */
export function computeCertainty(logits, start, scratch) {
  writeLogProbabilities(logits, start, scratch);
  let sum = 0;
  for (let index = 0; index < scratch.length; index++) {
    sum = fround(sum + fround(fround(Math.exp(scratch[index])) * scratch[index]));
  }
  const certainty = fround(1 - fround(-sum / fround(Math.log(scratch.length))));
  return Math.min(1, Math.max(0, certainty));
}

/** Write the mean and the minimum of the certainty, and minus the logarithm of one minus each. */
function writeCertaintyFeatures(certainty, out, start) {
  const mean = computeMean(certainty, 0, certainty.length);
  let least = 1;
  for (let position = 0; position < certainty.length; position++) least = Math.min(least, certainty[position]);
  out[start] = mean;
  out[start + 1] = least;
  out[start + 2] = -Math.log1p(-Math.min(mean, MAX_CERTAINTY_FEATURE));
  out[start + 3] = -Math.log1p(-Math.min(least, MAX_CERTAINTY_FEATURE));
}

/**
 * Return the mean of a slice, rounded to float32.
 *
 * @param {Float32Array} values - Values.
 * @param {number} start - Start of the slice.
 * @param {number} size - Length of the slice.
 * @returns {number} The mean.
 */
export function computeMean(values, start, size) {
  let sum = 0;
  for (let index = 0; index < size; index++) sum += values[start + index];
  return fround(fround(sum) / size);
}
