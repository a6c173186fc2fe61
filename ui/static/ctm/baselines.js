/** Published baselines: an LSTM that attends at every tick, and a feed-forward network. Mirrors `ctm.models.baselines`. */

import { makeBackbone } from "./backbones.js";
import { InputEncoder, poolFeatures } from "./input-encoder.js";
import { applyLinear, sigmoid } from "./linear-algebra.js";
import { makePositions } from "./positions.js";
import { Readout } from "./readout.js";

/** LSTM whose hidden state gives the attention query at every tick. Mirrors `LSTMBaseline`; see `TickModel` in `models.js`. */
export class LstmBaseline {
  #tick = 0;

  /**
   * @param {import("./config.js").Config} config - Checked config.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   */
  constructor(config, weights) {
    const { d_model: width, num_layers: count } = config;
    this.config = config;
    this.startHidden = weights.take("start_hidden_state", count, width);
    this.startCell = weights.take("start_cell_state", count, width);
    this.encoder = new InputEncoder(config, weights, width);
    this.layers = Array.from({ length: count }, (_, layer) => {
      const inputSize = layer ? width : config.d_input;
      return {
        input: takeGates(weights, "ih", layer, width, inputSize),
        recurrent: takeGates(weights, "hh", layer, width, width),
        hidden: new Float32Array(width),
        cell: new Float32Array(width),
      };
    });
    this.gates = new Float32Array(4 * width);
    this.recurrentGates = new Float32Array(4 * width);
    this.hidden = this.layers.at(-1).hidden;
    this.readout = new Readout(config, weights, "output_projector.0", width, width);
    this.channels = {};
  }

  encode(values, shape) {
    return this.encoder.encode(values, shape);
  }

  start(encoded) {
    this.#tick = 0;
    this.encoder.start(encoded);
    const width = this.hidden.length;
    this.layers.forEach(({ hidden, cell }, layer) => {
      hidden.set(this.startHidden.subarray(layer * width, (layer + 1) * width));
      cell.set(this.startCell.subarray(layer * width, (layer + 1) * width));
    });
    this.channels = { post_activations: this.hidden, attention: this.encoder.attention.weights };
  }

  tick() {
    this.encoder.observe(this.#tick++, this.hidden);
    let input = this.encoder.observation;
    for (const layer of this.layers) {
      applyLinear(layer.input.weight, layer.input.bias, input, this.gates);
      applyLinear(layer.recurrent.weight, layer.recurrent.bias, layer.hidden, this.recurrentGates);
      updateCell(this.gates, this.recurrentGates, layer);
      input = layer.hidden;
    }
    this.readout.apply(this.hidden, this.layers.at(-1).cell);
  }
}

/** Take the weights of all gates of a layer, for its input or for its own hidden state. */
function takeGates(weights, kind, layer, width, inputSize) {
  const weight = weights.take(`lstm.weight_${kind}_l${layer}`, 4 * width, inputSize);
  return { weight, bias: weights.take(`lstm.bias_${kind}_l${layer}`, 4 * width) };
}

/** Update cell and hidden state of a layer from its input, forget, candidate and output gate. */
function updateCell(gates, recurrentGates, { cell, hidden }) {
  const width = cell.length;
  for (let index = 0; index < width; index++) {
    const inputGate = sigmoid(gates[index] + recurrentGates[index]);
    const forgetGate = sigmoid(gates[width + index] + recurrentGates[width + index]);
    const candidate = Math.tanh(gates[2 * width + index] + recurrentGates[2 * width + index]);
    const outputGate = sigmoid(gates[3 * width + index] + recurrentGates[3 * width + index]);
    cell[index] = forgetGate * cell[index] + inputGate * candidate;
    hidden[index] = outputGate * Math.tanh(cell[index]);
  }
}

/** One hidden layer on the mean of the backbone features, one tick. Mirrors `FFBaseline`; see `TickModel` in `models.js`. */
export class FeedForwardBaseline {
  #mean = null;

  /**
   * @param {import("./config.js").Config} config - Checked config.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   */
  constructor(config, weights) {
    this.config = config;
    this.backbone = makeBackbone(config, weights);
    this.addPositions = makePositions(config.positional_embedding_type, this.backbone.channels, weights);
    this.layer = weights.takeLayer("output_projector.3", config.d_model, this.backbone.channels);
    this.hidden = new Float32Array(config.d_model);
    this.readout = new Readout(config, weights, "output_projector.6", config.d_model, 0);
    this.channels = {};
  }

  encode(values, shape) {
    const features = this.backbone.encode(values, shape);
    const { channels } = this.backbone;
    const pooledFeatures = poolFeatures(features.data, channels);
    this.addPositions?.(features);
    const mean = new Float32Array(channels);
    for (let channel = 0; channel < channels; channel++) {
      let sum = 0;
      for (let index = channel; index < features.data.length; index += channels) sum += features.data[index];
      mean[channel] = (sum * channels) / features.data.length;
    }
    return { ticks: 1, inputTicks: 0, attentionMapShape: [], caches: [], codes: null, rawInput: mean, pooledFeatures };
  }

  start(encoded) {
    this.#mean = encoded.rawInput;
    this.channels = { post_activations: this.hidden };
  }

  tick() {
    applyLinear(this.layer.weight, this.layer.bias, this.#mean, this.hidden);
    for (let index = 0; index < this.hidden.length; index++) this.hidden[index] = Math.max(0, this.hidden[index]);
    this.readout.apply(this.hidden, this.hidden);
  }
}
