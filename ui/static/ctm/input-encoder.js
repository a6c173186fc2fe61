/** Input encoder: backbone, positional encoding, and what each tick observes. Mirrors `ctm.modules.input_encoder`. */

import { CrossAttention } from "./attention.js";
import { checkInputShape, MnistBackbone, makeBackbone } from "./backbones.js";
import { makePositions } from "./positions.js";
import { CodeTable, computeSchedule, IMAGE_CODE } from "./schedule.js";

const SCHEDULED_BACKBONE = "qamnist_backbone";
const IMAGE_SHAPE = [1, 32, 32];

/**
 * @typedef {object} EncodedInput
 * @property {number} ticks - Ticks of the unroll.
 * @property {number} inputTicks - Ticks before an answer counts; 0 if all ticks count.
 * @property {number[]} attentionMapShape - Shape of the places that attention covers; [] without attention.
 * @property {import("./attention.js").AttentionCache[]} caches - Keys and values: one for a constant input, one per image of an
 *   input schedule, none without attention.
 * @property {Int32Array | null} codes - Code of every tick of an input schedule.
 * @property {Float32Array | null} rawInput - Input that is observed without attention.
 * @property {Float32Array | null} pooledFeatures - Result of `poolFeatures`; null for an input schedule, and without a backbone.
 */

/** Input encoder of a model that iterates ticks. */
export class InputEncoder {
  #codeTable = null;
  #ticksPerImage = 0;

  /**
   * @param {import("./config.js").Config} config - Checked config of a CTM or an LSTM.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {number} querySize - Number of values that the attention query is computed from.
   */
  constructor(config, weights, querySize) {
    this.config = config;
    this.isScheduled = config.backbone_type === SCHEDULED_BACKBONE;
    this.attention = null;
    if (this.isScheduled) {
      this.backbone = new MnistBackbone(weights, "backbone_digit", config.d_input);
      this.#codeTable = new CodeTable(weights, config.d_input);
      this.#ticksPerImage = config.iterations_per_digit;
    } else if (config.heads) {
      this.backbone = makeBackbone(config, weights);
      this.addPositions = makePositions(config.positional_embedding_type, this.backbone.channels, weights);
    }
    if (config.heads) this.attention = new CrossAttention(config, weights, this.backbone.channels, querySize);
    const width = config.heads ? config.d_input : findRawWidth(config, weights);
    /** What the model observes at the current tick, (width). */
    this.observation = new Float32Array(width);
  }

  /**
   * Encode one row of the input.
   *
   * @param {Float32Array} values - Values of the row.
   * @param {number[]} shape - Shape of the row.
   * @returns {EncodedInput} What is constant over the unroll.
   * @throws {Error} The input does not fit the model.
   */
  encode(values, shape) {
    const constant = {
      ticks: this.config.iterations,
      inputTicks: 0,
      attentionMapShape: [],
      caches: [],
      codes: null,
      rawInput: null,
      pooledFeatures: null,
    };
    if (this.isScheduled) return this.#encodeSchedule(values, shape);
    if (!this.attention) {
      checkInputShape(values, shape, [this.observation.length]);
      return { ...constant, rawInput: values };
    }
    const features = this.backbone.encode(values, shape);
    const pooledFeatures = poolFeatures(features.data, this.backbone.channels);
    this.addPositions?.(features);
    const caches = [this.attention.buildCache(features.data)];
    return { ...constant, attentionMapShape: features.places, caches, pooledFeatures };
  }

  #encodeSchedule(values, shape) {
    const { codes, inputTicks, images } = computeSchedule(values, shape, this.config);
    const features = images.map((pixels) => this.backbone.encode(pixels, IMAGE_SHAPE));
    return {
      ticks: codes.length,
      inputTicks,
      attentionMapShape: features[0]?.places ?? [],
      caches: features.map(({ data }) => this.attention.buildCache(data)),
      codes,
      rawInput: null,
      pooledFeatures: null,
    };
  }

  /**
   * Prepare the memory of an unroll.
   *
   * @param {EncodedInput} encoded - Result of `encode`.
   */
  start(encoded) {
    this.encoded = encoded;
    this.attention?.reserve(encoded.caches[0]?.places ?? 0);
    if (encoded.rawInput) this.observation.set(encoded.rawInput);
  }

  /**
   * Update `observation` at a tick.
   *
   * @param {number} tick - Number of the tick, from 0.
   * @param {Float32Array} querySource - Values that the attention query is computed from.
   */
  observe(tick, querySource) {
    if (!this.attention) return;
    const { caches, codes } = this.encoded;
    const code = codes ? codes[tick] : IMAGE_CODE;
    if (code === IMAGE_CODE) {
      const cache = caches[codes ? Math.floor(tick / this.#ticksPerImage) : 0];
      this.attention.attend(querySource, cache, this.observation);
    } else {
      this.attention.weights.fill(0);
      this.#codeTable.write(code, this.observation);
    }
  }
}

/** Return the number of features of a raw input: what the first layer of the synapses leaves beside the neurons. */
function findRawWidth(config, weights) {
  const name = config.synapse_depth === 1 ? "synapses.1.weight" : "synapses.first_projection.0.weight";
  const width = (weights.getShape(name)?.[1] ?? 0) - config.d_model;
  if (width < 1) throw new Error(`\`${name}\` leaves no room for an input beside d_model=${config.d_model} neurons.`);
  return width;
}

/**
 * Return the mean and the standard deviation of the features of a backbone over the places. Mirrors `pool_features`.
 *
 * @param {Float32Array} data - Features without positions, (places, channels).
 * @param {number} channels - Number of channels.
 * @returns {Float32Array} Means, then standard deviations, (2 * channels).
 */
export function poolFeatures(data, channels) {
  const count = data.length / channels;
  const pooled = new Float32Array(2 * channels);
  for (let channel = 0; channel < channels; channel++) {
    let sum = 0;
    for (let index = channel; index < data.length; index += channels) sum += data[index];
    const mean = sum / count;
    let squares = 0;
    for (let index = channel; index < data.length; index += channels) squares += (data[index] - mean) ** 2;
    pooled[channel] = mean;
    pooled[channels + channel] = Math.sqrt(squares / count);
  }
  return pooled;
}
