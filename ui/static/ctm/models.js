/**
 * Models that iterate internal ticks, one row at a time. Mirrors `ctm.models`.
 *
 *     encoded = model.encode(values, shape)   once: the encoded input
 *     model.start(encoded)                    learned start state
 *     model.tick()                            one tick; then `readout` holds logits, certainty and energy
 *
 * A tick allocates no memory: it overwrites `readout` and the arrays of `channels`.
 */

import { FeedForwardBaseline, LstmBaseline } from "./baselines.js";
import { InputEncoder } from "./input-encoder.js";
import { makeSynapses, NeuronLevelModels, Synchronisation } from "./modules.js";
import { Readout } from "./readout.js";

/**
 * @typedef {object} TickModel
 * @property {import("./config.js").Config} config - Checked config.
 * @property {Readout} readout - Logits, certainty and energy of the last tick.
 * @property {Record<string, Float32Array>} channels - What a recorder may record after a tick, by name: pre_activations,
 *   post_activations, sync_out, sync_action, attention (H, N). A model has some of them. Valid after `start`.
 * @property {(values: Float32Array, shape: number[]) => import("./input-encoder.js").EncodedInput} encode - Encodes one row.
 * @property {(encoded: import("./input-encoder.js").EncodedInput) => void} start - Sets the start state.
 * @property {() => void} tick - Computes one tick.
 */

/**
 * Build the model of a config and take its weights. Mirrors `ctm.models.registry.build_model`.
 *
 * @param {import("./config.js").Config} config - Checked config.
 * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
 * @returns {TickModel} The model.
 * @throws {Error} The weights do not fit the config; one sentence.
 */
export function buildModel(config, weights) {
  const classes = { ctm: ContinuousThoughtMachine, lstm: LstmBaseline, ff: FeedForwardBaseline };
  const model = new classes[config.modelType](config, weights);
  weights.checkAllTaken();
  return model;
}

/** Continuous Thought Machine (Darlow et al. 2025, arXiv 2505.05522). Mirrors `ctm.models.ctm.ContinuousThoughtMachine`. */
export class ContinuousThoughtMachine {
  #tick = 0;

  /**
   * @param {import("./config.js").Config} config - Checked config.
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   */
  constructor(config, weights) {
    const { d_model: neurons, memory_length: memory } = config;
    this.config = config;
    this.startActivations = weights.take("start_activated_state", neurons);
    this.startTrace = weights.take("start_trace", neurons, memory);
    this.syncOut = new Synchronisation(config, weights, "out");
    this.syncAction = config.heads ? new Synchronisation(config, weights, "action") : null;
    this.encoder = new InputEncoder(config, weights, this.syncAction?.value.length ?? 0);
    this.synapseInput = new Float32Array(this.encoder.observation.length + neurons);
    this.synapses = makeSynapses(config, weights, this.synapseInput.length);
    this.neuronModels = new NeuronLevelModels(config, weights);
    this.activations = new Float32Array(neurons);
    this.readout = new Readout(config, weights, "output_projector.0", this.syncOut.value.length, neurons);
    this.channels = {};
    /** Neurons whose activation is held at 0, to see what they contribute. @type {number[]} */
    this.silencedNeurons = [];
  }

  encode(values, shape) {
    return this.encoder.encode(values, shape);
  }

  start(encoded) {
    this.#tick = 0;
    this.encoder.start(encoded);
    this.activations.set(this.startActivations);
    this.#silence();
    this.neuronModels.history.reset(this.startTrace);
    this.syncAction?.reset();
    this.syncOut.reset();
    this.syncOut.update(this.activations); // the published code counts the start activations
    this.channels = {
      pre_activations: this.synapses.output,
      post_activations: this.activations,
      sync_out: this.syncOut.value,
    };
    if (this.syncAction) {
      Object.assign(this.channels, { sync_action: this.syncAction.value, attention: this.encoder.attention.weights });
    }
  }

  tick() {
    this.syncAction?.update(this.activations);
    this.encoder.observe(this.#tick++, this.syncAction?.value);
    this.synapseInput.set(this.encoder.observation);
    this.synapseInput.set(this.activations, this.encoder.observation.length);
    this.synapses.apply(this.synapseInput);
    this.neuronModels.history.append(this.synapses.output);
    this.neuronModels.apply(this.activations);
    this.#silence();
    this.syncOut.update(this.activations);
    this.readout.apply(this.syncOut.value, this.activations);
  }

  #silence() {
    for (const neuron of this.silencedNeurons) this.activations[neuron] = 0;
  }
}
