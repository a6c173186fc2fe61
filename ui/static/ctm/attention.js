/** Cross-attention over the encoded input (paper section 3.4, equation 5). Mirrors `ctm.modules.cross_attention`. */

import { applyLayerNorm, applyLinear, dot, multiplyTransposed } from "./linear-algebra.js";

/**
 * @typedef {object} AttentionCache
 * @property {Float32Array} keys - Keys of the N places, (N, E).
 * @property {Float32Array} values - Values of the N places, (N, E).
 * @property {number} places - Number of places N.
 */

/** Attention whose keys and values are computed once per input, and whose query is computed at every tick. */
export class CrossAttention {
  /**
   * @param {import("./config.js").Config} config - Checked config with at least one head.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {number} channels - Channels of the features.
   * @param {number} querySize - Number of values that the query is computed from.
   */
  constructor(config, weights, channels, querySize) {
    const width = config.d_input;
    this.width = width;
    this.heads = config.heads;
    this.channels = channels;
    this.featureLayer = weights.takeLayer("kv_proj.0", width, channels);
    this.featureNorm = weights.takeLayer("kv_proj.1", width);
    this.queryLayer = weights.takeLayer("q_proj", width, querySize);
    const weight = weights.take("attention.in_proj_weight", 3 * width, width);
    const bias = weights.take("attention.in_proj_bias", 3 * width);
    const part = (values, index, size) => values.subarray(index * size, (index + 1) * size);
    [this.query, this.key, this.value] = [0, 1, 2].map((index) => ({
      weight: part(weight, index, width * width),
      bias: part(bias, index, width),
    }));
    this.outputLayer = weights.takeLayer("attention.out_proj", width, width);
    this.queryInput = new Float32Array(width);
    this.queryVector = new Float32Array(width);
    this.summary = new Float32Array(width);
    /** Attention weights of the last tick, (H, N); empty before `reserve`. */
    this.weights = new Float32Array(0);
  }

  /**
   * Compute keys and values of all places. Mirrors `build_cross_attention_cache`.
   *
   * @param {Float32Array} features - Features of a backbone, (N, channels).
   * @returns {AttentionCache} Keys and values.
   */
  buildCache(features) {
    const places = features.length / this.channels;
    const { weight, bias } = this.featureLayer;
    const projected = multiplyTransposed(features, weight, bias, places, this.width, this.channels);
    for (let place = 0; place < places; place++)
      applyLayerNorm(projected, place * this.width, this.featureNorm, projected);
    const project = (layer) => multiplyTransposed(projected, layer.weight, layer.bias, places, this.width, this.width);
    return { keys: project(this.key), values: project(this.value), places };
  }

  /**
   * Allocate the attention weights of an input.
   *
   * @param {number} places - Number of places N.
   */
  reserve(places) {
    this.weights = new Float32Array(this.heads * places);
  }

  /**
   * Attend at one tick. The attention weights stay in `weights`.
   *
   * @param {Float32Array} source - Values that the query is computed from, such as the action synchronisation.
   * @param {AttentionCache} cache - Keys and values.
   * @param {Float32Array} observation - Output of the attention, (E).
   */
  attend(source, cache, observation) {
    applyLinear(this.queryLayer.weight, this.queryLayer.bias, source, this.queryInput);
    applyLinear(this.query.weight, this.query.bias, this.queryInput, this.queryVector);
    for (let head = 0; head < this.heads; head++) this.#attendHead(head, cache);
    applyLinear(this.outputLayer.weight, this.outputLayer.bias, this.summary, observation);
  }

  /** Compute the attention weights of a head, and the weighted sum of its values. */
  #attendHead(head, { keys, values, places }) {
    const size = this.width / this.heads;
    const start = head * size;
    const first = head * places;
    const scale = 1 / Math.sqrt(size);
    const { weights, summary } = this;
    let largest = Number.NEGATIVE_INFINITY;
    for (let place = 0; place < places; place++) {
      const score = scale * dot(this.queryVector, start, keys, place * this.width + start, size);
      weights[first + place] = score;
      if (score > largest) largest = score;
    }
    let total = 0;
    for (let place = 0; place < places; place++) {
      const weight = Math.exp(weights[first + place] - largest);
      weights[first + place] = weight;
      total += weight;
    }
    summary.fill(0, start, start + size);
    for (let place = 0; place < places; place++) {
      weights[first + place] /= total;
      const weight = weights[first + place];
      const source = place * this.width + start;
      for (let index = 0; index < size; index++) summary[start + index] += weight * values[source + index];
    }
  }
}
