/** Recurrent modules of a Continuous Thought Machine. All memory is allocated when a module is built. */

import { applyGlu, applyLayerNorm, applyLinear, applyLinearSlice, applySilu } from "./linear-algebra.js";

const BOTTLENECK_WIDTH = 16;
const MAX_DECAY = 15;

/**
 * Build the synapses, which compute the next pre-activations (paper section 3.2, equation 1). Mirrors
 * `ctm.modules.synapses.make_synapses`.
 *
 * @param {import("./config.js").Config} config - Checked config of a CTM.
 * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
 * @param {number} inputSize - Width of (observation, activations).
 * @returns {SynapseLayer | SynapseUNet} Synapses: `apply(input)` writes `output`, (D).
 */
export function makeSynapses(config, weights, inputSize) {
  const { d_model: neurons, synapse_depth: depth } = config;
  return depth === 1
    ? new SynapseLayer(weights, inputSize, neurons)
    : new SynapseUNet(weights, inputSize, neurons, depth);
}

/** Linear layer, gated linear unit, layer norm. */
class SynapseLayer {
  constructor(weights, inputSize, neurons) {
    this.layer = weights.takeLayer("synapses.1", 2 * neurons, inputSize);
    this.norm = weights.takeLayer("synapses.3", neurons);
    this.hidden = new Float32Array(2 * neurons);
    this.output = new Float32Array(neurons);
  }

  apply(input) {
    applyLinear(this.layer.weight, this.layer.bias, input, this.hidden);
    applyGlu(this.hidden, this.output);
    applyLayerNorm(this.output, 0, this.norm, this.output);
  }
}

/** U-Net whose widths fall evenly from D to 16 and rise again, with a normalised skip connection at every level. */
class SynapseUNet {
  constructor(weights, inputSize, neurons, depth) {
    const step = (BOTTLENECK_WIDTH - neurons) / (depth - 1);
    const widths = Array.from({ length: depth - 1 }, (_, level) => Math.trunc(neurons + step * level));
    widths.push(BOTTLENECK_WIDTH);
    this.first = makeBlock(weights, "synapses.first_projection", 0, inputSize, neurons);
    const levels = widths.slice(1).map((narrow, level) => ({ level, wide: widths[level], narrow }));
    this.down = levels.map(({ level, wide, narrow }) =>
      makeBlock(weights, `synapses.down_projections.${level}`, 1, wide, narrow),
    );
    this.up = levels.map(({ level, wide, narrow }) =>
      makeBlock(weights, `synapses.up_projections.${level}`, 1, narrow, wide),
    );
    this.norms = levels.map(({ level, wide }) => weights.takeLayer(`synapses.skip_lns.${level}`, wide));
    this.output = this.up[0].output;
  }

  apply(input) {
    applyBlock(this.first, input);
    for (let level = 0; level < this.down.length; level++) {
      applyBlock(this.down[level], level ? this.down[level - 1].output : this.first.output);
    }
    for (let level = this.up.length - 1; level >= 0; level--) {
      const { output } = this.up[level];
      applyBlock(this.up[level], level + 1 < this.up.length ? this.up[level + 1].output : this.down[level].output);
      const skipped = level ? this.down[level - 1].output : this.first.output;
      for (let index = 0; index < output.length; index++) output[index] += skipped[index];
      applyLayerNorm(output, 0, this.norms[level], output);
    }
  }
}

/** Build a block of the U-Net: linear layer, layer norm, SiLU. */
function makeBlock(weights, name, first, inputSize, outputSize) {
  const layer = weights.takeLayer(`${name}.${first}`, outputSize, inputSize);
  const norm = weights.takeLayer(`${name}.${first + 1}`, outputSize);
  return { layer, norm, output: new Float32Array(outputSize) };
}

/** Apply a block of the U-Net; the result is its `output`. */
function applyBlock({ layer, norm, output }, input) {
  applyLinear(layer.weight, layer.bias, input, output);
  applyLayerNorm(output, 0, norm, output);
  applySilu(output);
}

/** Last M pre-activations of every neuron. The window of each neuron is contiguous and slides over a longer buffer. */
class PreActivationHistory {
  constructor(neurons, length) {
    Object.assign(this, { neurons, length, capacity: 2 * length, start: 0 });
    this.buffer = new Float32Array(neurons * this.capacity);
  }

  /** Set the window to the learned start history, (D, M). */
  reset(trace) {
    this.start = 0;
    for (let neuron = 0; neuron < this.neurons; neuron++) {
      this.buffer.set(trace.subarray(neuron * this.length, (neuron + 1) * this.length), neuron * this.capacity);
    }
  }

  /** Append the pre-activations of a tick, (D), and drop the oldest ones. */
  append(values) {
    const { buffer, capacity, length } = this;
    if (this.start === length) {
      for (let row = 0; row < buffer.length; row += capacity) buffer.copyWithin(row, row + length, row + capacity);
      this.start = 0;
    }
    for (let neuron = 0; neuron < this.neurons; neuron++)
      buffer[neuron * capacity + this.start + length] = values[neuron];
    this.start++;
  }
}

/**
 * Neuron-level models: every neuron computes its activation from its own history (paper section 3.3, equation 3). Mirrors
 * `ctm.modules.neuron_level_models`: one linear map per neuron, or a network per neuron with one gated hidden layer.
 */
export class NeuronLevelModels {
  /**
   * @param {import("./config.js").Config} config - Checked config of a CTM.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   */
  constructor(config, weights) {
    const {
      d_model: neurons,
      memory_length: memory,
      memory_hidden_dims: hidden,
      do_layernorm_nlm: normalises,
    } = config;
    const take = (layer, input, output) =>
      takeNeuronLayer(weights, `trace_processor.0.${layer}`, neurons, input, output, normalises);
    this.layers = config.deep_nlms ? [take(0, memory, 2 * hidden), take(2, hidden, 2)] : [take(0, memory, 2)];
    this.history = new PreActivationHistory(neurons, memory);
  }

  /**
   * Compute the activations of all neurons from their histories.
   *
   * @param {Float32Array} activations - Post-activations, (D); written.
   */
  apply(activations) {
    const { buffer, capacity, start } = this.history;
    const [first, second] = this.layers;
    for (let neuron = 0; neuron < activations.length; neuron++) {
      applyNeuronLayer(first, neuron, buffer, neuron * capacity + start);
      if (second) applyNeuronLayer(second, neuron, first.output, 0);
      activations[neuron] = (second ?? first).output[0];
    }
  }
}

/** Take the weights of a linear map per neuron, neuron-major and divided by its temperature. */
function takeNeuronLayer(weights, name, neurons, input, output, normalises) {
  const stored = weights.take(`${name}.w1`, input, output, neurons);
  const temperature = weights.take(`${name}.T`, 1)[0];
  const bias = weights.take(`${name}.b1`, 1, neurons, output).map((value) => value / temperature);
  const weight = new Float32Array(stored.length); // (D, output, input)
  for (let index = 0; index < stored.length; index++) {
    const neuron = index % neurons;
    const row = Math.floor(index / neurons) % output;
    const column = Math.floor(index / (neurons * output));
    weight[(neuron * output + row) * input + column] = stored[index] / temperature;
  }
  const norm = normalises ? weights.takeLayer(`${name}.layernorm`, input) : null;
  const normalised = normalises ? new Float32Array(input) : null;
  return {
    weight,
    bias,
    norm,
    normalised,
    input,
    temperature,
    hidden: new Float32Array(output),
    output: new Float32Array(output / 2),
  };
}

/** Apply the linear map of a neuron and a gated linear unit; the result is the `output` of the layer. */
function applyNeuronLayer(layer, neuron, x, start) {
  const { weight, bias, input, hidden, output, norm, normalised } = layer;
  if (norm) applyLayerNorm(x, start, norm, normalised, 0);
  applyLinearSlice(weight, bias, neuron * hidden.length, norm ? normalised : x, norm ? 0 : start, input, hidden);
  applyGlu(hidden, output);
}

/**
 * Synchronisation of neuron pairs over the unroll (paper section 3.4, equations 6 to 10), from two running sums. Mirrors
 * `ctm.modules.synchronisation`.
 */
export class Synchronisation {
  /**
   * @param {import("./config.js").Config} config - Checked config of a CTM.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {"out" | "action"} type - Which synchronisation.
   */
  constructor(config, weights, type) {
    const { d_model: neurons, neuron_select_type: kind } = config;
    const count = type === "out" ? config.n_synch_out : config.n_synch_action;
    const indices = ["left", "right"].map((side) => {
      const name = `${type}_neuron_indices_${side}`;
      const values = weights.takeIntegers(name, count);
      if (values.some((index) => index < 0 || index >= neurons)) {
        throw new Error(`model.safetensors names neurons beyond d_model=${neurons} in \`${name}\`.`);
      }
      const first = type === "out" ? 0 : neurons - count;
      return kind === "first-last" ? values.map((_, index) => first + index) : values; // the published code ignores the buffers
    });
    /** Neuron indices of every pair, (S). */
    [this.left, this.right] = kind === "random-pairing" ? indices : expandPairs(...indices);
    const size = this.left.length;
    this.retention = Float64Array.from(weights.take(`decay_params_${type}`, size), (decay) =>
      Math.exp(-Math.min(MAX_DECAY, Math.max(0, decay))),
    );
    this.products = new Float64Array(size);
    this.counts = new Float64Array(size);
    /** Synchronisation of every pair, (S). */
    this.value = new Float32Array(size);
  }

  /** Forget all ticks. */
  reset() {
    this.products.fill(0);
    this.counts.fill(0);
    this.value.fill(0);
  }

  /**
   * Add a tick.
   *
   * @param {Float32Array} activations - Post-activations, (D).
   */
  update(activations) {
    const { left, right, retention, products, counts, value } = this;
    for (let pair = 0; pair < value.length; pair++) {
      products[pair] = retention[pair] * products[pair] + activations[left[pair]] * activations[right[pair]];
      counts[pair] = retention[pair] * counts[pair] + 1;
      value[pair] = products[pair] / Math.sqrt(counts[pair]);
    }
  }
}

/** Pair each left index with the right indices of the same and of all later positions. */
function expandPairs(left, right) {
  const size = (left.length * (left.length + 1)) / 2;
  const pairs = [new Int32Array(size), new Int32Array(size)];
  let pair = 0;
  for (let i = 0; i < left.length; i++) {
    for (let j = i; j < right.length; j++, pair++) {
      pairs[0][pair] = left[i];
      pairs[1][pair] = right[j];
    }
  }
  return pairs;
}
