/**
 * The inside of the last unroll: what "Look inside" shows. Mirrors `training.inside_view` and `ctm.inside`.
 *
 * Requests and answers have the same keys as in Python. Arrays are typed arrays here, because a worker can post them.
 */

import { Engine } from "./engine.js";

const MAX_OVERVIEW_BYTES = 12 * 2 ** 20;
const BYTES_PER_MB = 2 ** 20;
const REASONS_WITHOUT_VIEW = {
  lstm:
    "This model is an LSTM: it has no neurons with models of their own and no synchronisation, so there is nothing to " +
    "show here.",
  ff: "This model is a feed-forward network: it computes its answer in one step, without neurons that change over time.",
};

/**
 * What the inside of an unroll is built from.
 *
 * @typedef {object} FinishedUnroll
 * @property {import("./checkpoint.js").Checkpoint} checkpoint - The checkpoint.
 * @property {import("./tasks/task.js").Task} task - Its task.
 * @property {import("./tasks/task.js").TaskInput} input - The parsed input.
 * @property {import("./input-encoder.js").EncodedInput} encoded - The encoded input.
 * @property {Engine} engine - The engine that ran.
 * @property {import("./recorder.js").Recorder} recorder - States at every tick.
 * @property {import("./engine.js").EngineResult} result - Result of the engine.
 */

/** The inside of one unroll. */
export class InsideView {
  /**
   * @param {FinishedUnroll} unroll - The unroll.
   * @throws {Error} The model has no inside view, or one that is too large; one sentence.
   */
  constructor(unroll) {
    this.unroll = unroll;
    this.model = unroll.checkpoint.model;
    checkHasInside(unroll);
    this.ticks = unroll.recorder.ticks;
    this.sync = { out: this.#getChannel("sync_out") };
    if (this.model.syncAction) this.sync.action = this.#getChannel("sync_action");
  }

  /**
   * Answer a request.
   *
   * @param {Record<string, unknown>} request - See `training.inside_view`.
   * @returns {Record<string, unknown>} The answer.
   * @throws {Error} The request is invalid; one sentence.
   */
  answer(request) {
    const neurons = this.model.config.d_model;
    switch (request?.what) {
      case "overview":
        return this.buildOverview();
      case "neuron":
        return this.buildNeuron(readIndex(request, "neuron", neurons));
      case "pair": {
        const kind = request.kind === "action" && this.sync.action ? "action" : "out";
        return this.buildPair(kind, readIndex(request, "pair", this.sync[kind].width));
      }
      case "contributions":
        return this.#answerContributions(request);
      case "silence":
        return this.buildSilenced(readIndex(request, "neuron", neurons));
      default:
        throw new Error("A request must name one of overview, neuron, pair, contributions, silence.");
    }
  }

  /** @returns {Record<string, unknown>} Activations, synchronisation, logits and attention by tick, and what is constant. */
  buildOverview() {
    const { checkpoint, task, input, result, recorder } = this.unroll;
    const { config } = this.model;
    const { history } = result;
    const energy = history.energy ? Array.from(history.energy.subarray(0, this.ticks)) : null;
    return {
      neurons: config.d_model,
      ticks: this.ticks,
      answer_tick: result.answerTick,
      memory: config.memory_length,
      positions: Math.min(config.positions, input.positions),
      main_position: findMainPosition(task, input),
      classes: config.classes,
      labels: [...task.labels],
      has_energy: energy !== null,
      energy,
      certainty: Array.from(history.meanCertainty.subarray(0, this.ticks)),
      labels_by_tick: this.#formatAnswers(history),
      pre_activations: this.#getChannel("pre_activations").values.slice(),
      activations: this.#getChannel("post_activations").values.slice(),
      start_activations: this.model.startActivations.slice(),
      sync_out: this.sync.out.values.slice(),
      sync_action: this.sync.action?.values.slice() ?? null,
      logits: history.logits.slice(0, this.ticks * history.size),
      pairs: buildPairs(this.model.syncOut),
      action_pairs: this.model.syncAction ? buildPairs(this.model.syncAction) : null,
      attention: buildAttention(recorder, this.model.encoder.attention?.heads ?? 0),
      layout: checkpoint.layout,
    };
  }

  /**
   * Return the model of a neuron and its activations.
   *
   * @param {number} neuron - Index of the neuron.
   * @returns {Record<string, unknown>} Layers, start values and activations.
   */
  buildNeuron(neuron) {
    const { memory_length: memory } = this.model.config;
    const activations = this.#getChannel("post_activations");
    const preActivations = this.#getChannel("pre_activations");
    return {
      neuron,
      layers: this.model.neuronModels.layers.map((layer) => buildLayer(layer, neuron)),
      start_trace: this.model.startTrace.slice(neuron * memory, (neuron + 1) * memory),
      start_activation: this.model.startActivations[neuron],
      pre_activations: selectColumn(preActivations, neuron),
      activations: selectColumn(activations, neuron),
    };
  }

  /**
   * Return the activations of both neurons of a pair, from before the first tick, and its synchronisation.
   *
   * @param {"out" | "action"} kind - Which synchronisation.
   * @param {number} pair - Index of the pair.
   * @returns {Record<string, unknown>} The pair.
   */
  buildPair(kind, pair) {
    const table = kind === "action" ? this.model.syncAction : this.model.syncOut;
    const activations = this.#getChannel("post_activations");
    const [left, right] = [table.left[pair], table.right[pair]];
    const withStart = (neuron) =>
      Float32Array.of(this.model.startActivations[neuron], ...selectColumn(activations, neuron));
    return {
      kind,
      pair,
      left,
      right,
      decay: computeDecay(table.retention[pair]),
      left_activations: withStart(left),
      right_activations: withStart(right),
      sync: selectColumn(this.sync[kind], pair),
    };
  }

  #answerContributions(request) {
    const tick = readIndex(request, "tick", this.ticks, 1) - 1;
    const { width, values } = this.sync.out;
    const sync = values.subarray(tick * width, (tick + 1) * width);
    if (request.of === "energy") {
      if (!this.model.readout.head) throw new Error("This model has no energy head.");
      const { history } = this.unroll.result;
      const activations = this.#getChannel("post_activations");
      const neurons = activations.values.subarray(tick * activations.width, (tick + 1) * activations.width);
      const certainty = history.certainty.subarray(tick * history.positions, (tick + 1) * history.positions);
      const gradient = this.model.readout.computeEnergyGradient(sync, neurons, certainty);
      return { ...gradient, is_exact: false, weights: null, tick: tick + 1 };
    }
    const { output } = this.model.readout;
    const size = output.bias.length;
    const target = readIndex(request, "target", size);
    const against =
      request.against === null || request.against === undefined ? null : readIndex(request, "against", size);
    return { ...computeContributions(output, sync, target, against), is_exact: true, tick: tick + 1 };
  }

  /**
   * Run the model again with the activation of a neuron held at 0.
   *
   * @param {number} neuron - Index of the neuron.
   * @returns {Record<string, unknown>} Answers, certainty and energy by tick.
   */
  buildSilenced(neuron) {
    const { engine, encoded } = this.unroll;
    this.model.silencedNeurons = [neuron];
    let result;
    try {
      result = new Engine(this.model, engine.policy, engine.fallback).run(encoded);
    } finally {
      this.model.silencedNeurons = [];
    }
    const { history, ticks } = result;
    return {
      neuron,
      ticks,
      answer_tick: result.answerTick,
      certainty: Array.from(history.meanCertainty.subarray(0, ticks)),
      energy: history.energy ? Array.from(history.energy.subarray(0, ticks)) : null,
      labels_by_tick: this.#formatAnswers(history),
      logits: history.logits.slice(0, ticks * history.size),
    };
  }

  /** Return the answer at every tick as text. */
  #formatAnswers({ choices, positions, ticks }) {
    const { task, input } = this.unroll;
    const byTick = Array.from({ length: ticks }, (_, tick) =>
      Array.from(choices.subarray(tick * positions, tick * positions + input.positions)),
    );
    return task.decode(byTick).map((answer) => task.formatAnswer(input, answer).label);
  }

  #getChannel(name) {
    return this.unroll.recorder.getChannel(name);
  }
}

/** Return the position that is explained first: the first one that decides whether the answer is correct. */
function findMainPosition({ spec }, { positions }) {
  return spec.scoredPositions ? Math.max(0, positions - spec.scoredPositions) : 0;
}

/** Check that a model has an inside view, and that all of it was recorded and is small enough. */
function checkHasInside({ checkpoint, recorder, encoded }) {
  const { model } = checkpoint;
  const { config } = model;
  if (config.modelType !== "ctm") {
    throw new Error(REASONS_WITHOUT_VIEW[config.modelType] ?? "This kind of model has no inside view.");
  }
  const sizes = [config.d_model, config.d_model, model.syncOut.left.length, model.syncAction?.left.length ?? 0];
  const bytes = encoded.ticks * (2 * sizes.reduce((sum, size) => sum + size, 0) + 4 * config.out_dims);
  const names = ["pre_activations", "post_activations", "sync_out", "sync_action"];
  const isRecorded = names.every((name, index) => (recorder.getChannel(name)?.width ?? 0) === sizes[index]);
  if (bytes <= MAX_OVERVIEW_BYTES && isRecorded) return;
  const [size, limit] = [bytes, MAX_OVERVIEW_BYTES].map((count) => Math.round(count / BYTES_PER_MB));
  throw new Error(
    `The inside of this model is too large to show: ${size} MB for one answer, and at most ${limit} MB are sent.`,
  );
}

/** Return the contributions of all pairs to a logit, or to its margin over another one. Mirrors `compute_contributions`. */
function computeContributions({ weight, bias }, sync, target, against) {
  const values = new Float32Array(sync.length);
  const weights = new Float32Array(sync.length);
  let sum = 0;
  for (let pair = 0; pair < sync.length; pair++) {
    const other = against === null ? 0 : weight[against * sync.length + pair];
    const difference = weight[target * sync.length + pair] - other;
    weights[pair] = difference;
    values[pair] = difference * sync[pair];
    sum += difference * sync[pair];
  }
  const offset = bias[target] - (against === null ? 0 : bias[against]);
  return { values, bias: offset, output: offset + sum, weights };
}

/** Return an index of a request. Mirrors `read_index`. */
function readIndex(request, name, count, first = 0) {
  const value = request[name];
  if (Number.isInteger(value) && value >= first && value < first + count) return value;
  const last = (first + count - 1).toLocaleString("en");
  throw new Error(`${name} must be a whole number from ${first} to ${last}.`);
}

/** Return one entry of a channel at every tick. */
function selectColumn({ values, width }, index) {
  return Float32Array.from({ length: values.length / width }, (_, tick) => values[tick * width + index]);
}

function computeDecay(retention) {
  return Math.max(0, -Math.log(retention));
}

function buildPairs({ left, right, retention }) {
  return { left: left.slice(), right: right.slice(), decay: Float32Array.from(retention, computeDecay) };
}

/** Return the part of a layer of the neuron-level models that belongs to one neuron. */
function buildLayer({ weight, bias, input, hidden, norm, temperature }, neuron) {
  const rows = hidden.length;
  return {
    inputs: input,
    weight: weight.slice(neuron * rows * input, (neuron + 1) * rows * input),
    bias: bias.slice(neuron * rows, (neuron + 1) * rows),
    temperature,
    norm_weight: norm?.weight.slice() ?? null,
    norm_bias: norm?.bias.slice() ?? null,
  };
}

/** Return attention weights as bytes, and a scale per tick and head. Mirrors `encode_attention`. */
function buildAttention(recorder, heads) {
  const channel = recorder.getChannel("attention");
  if (!channel || !heads) return null;
  const { values, width } = channel;
  const places = width / heads;
  const scale = new Float32Array(values.length / places);
  const data = new Uint8Array(values.length);
  for (let row = 0; row < scale.length; row++) {
    let largest = 1e-9;
    for (let index = row * places; index < (row + 1) * places; index++) largest = Math.max(largest, values[index]);
    scale[row] = largest / 255;
    for (let index = row * places; index < (row + 1) * places; index++) {
      data[index] = Math.min(255, Math.round((values[index] / largest) * 255));
    }
  }
  return { heads, map: [...recorder.attentionMapShape], scale, data };
}
