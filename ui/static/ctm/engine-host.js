/** Requests of the page to the engine: what a Web Worker answers. It has no browser interface, so that tests can run it. */

import { loadCheckpoint } from "./checkpoint.js";
import { computeConfidence, computeConfidenceLimit, computeProbabilities, getTemperatures } from "./confidence.js";
import { Engine } from "./engine.js";
import { parsePolicy } from "./policy-parser.js";
import { Prediction } from "./prediction.js";
import { readDigitImages } from "./tasks/qamnist.js";
import { buildTask } from "./tasks/registry.js";
import { InputError } from "./tasks/text.js";

const MAX_BLOCK_MS = 12; // longest time without looking for a cancel request

/**
 * @typedef {object} ThinkRequest
 * @property {number} id - Repeated in every response.
 * @property {number} checkpoint - Id of the loaded checkpoint.
 * @property {Float32Array} values - Input of the model, one row.
 * @property {number[]} shape - Shape of the row.
 * @property {string} [policy] - Halting policy; empty for the default of the checkpoint.
 * @property {Partial<import("./confidence.js").AnswerFormat>} [answerFormat] - Positions of the answer.
 * @property {{isShifted?: boolean, shiftedAccuracy?: number | null, isNatural?: boolean}} [origin] - How the input differs from the
 *   training samples, and whether its features are compared with theirs.
 * @property {boolean} [recordsChannels] - Whether ticks carry the state of the model for an inside view.
 */

/**
 * Request that parses an input, runs it, and is answered with the record that the page draws.
 *
 * @typedef {object} PredictRequest
 * @property {number} id - Repeated in every response.
 * @property {number} checkpoint - Id of the loaded checkpoint.
 * @property {unknown} input - A text, or pixels as `ImageData` holds them.
 * @property {string} [policy] - Halting policy; empty for the default of the checkpoint.
 * @property {boolean} [reportsTicks] - Whether every tick is reported as it is computed.
 * @property {boolean} [continuesAfterHalt] - Whether the record has a `continuation`: the ticks after the halting tick.
 * @property {boolean} [isForInsideView] - Whether requests about the inside concern this prediction from now on; true by default.
 */

/**
 * Request about the inside of the last prediction of a checkpoint.
 *
 * @typedef {object} InsideRequest
 * @property {number} id - Repeated in the response.
 * @property {number} checkpoint - Id of the loaded checkpoint.
 * @property {string} record - Id of the record of the prediction.
 * @property {Record<string, unknown>} request - See `InsideView.answer`.
 */

/** Checkpoints that are loaded, and the thoughts that run. */
export class EngineHost {
  #checkpoints = new Map();
  #taskCheckpoints = new Map();
  #lastPredictions = new Map(); // by checkpoint: its last prediction that ended, and the id of its record
  #cancelled = new Set();
  #running = new Set();
  #queue = Promise.resolve();
  #post;

  /** @param {(message: object, transfer?: Transferable[]) => void} post - Sends a response to the page. */
  constructor(post) {
    this.#post = post;
  }

  /**
   * Answer a request; see `worker.js`.
   *
   * @param {{type: string, id: number}} request - The request.
   * @returns {Promise<void>} Resolves when the last response is sent.
   */
  async handle(request) {
    const { id, type } = request ?? {};
    try {
      if (type === "load") this.#load(request);
      else if (type === "think") await this.#enqueue(request, (thought) => this.#think(thought));
      else if (type === "predict") await this.#enqueue(request, (thought) => this.#predict(thought));
      else if (type === "inside") await this.#enqueue(request, (inside) => this.#answerInside(inside));
      else if (type === "cancel") this.#cancel(id);
      else if (type === "unload") this.#unload(request.checkpoint);
      else throw new Error(`The engine knows load, think, predict, inside, cancel and unload: got ${String(type)}.`);
    } catch (error) {
      this.#post({ type: "error", id, message: describeError(error) });
    }
  }

  /** Load a checkpoint from its files, an object or a map from names to bytes or JSON. */
  #load({ id, files, ...options }) {
    const checkpoint = loadCheckpoint(files instanceof Map ? files : new Map(Object.entries(files ?? {})));
    this.#checkpoints.set(id, checkpoint);
    this.#taskCheckpoints.set(id, buildTaskCheckpoint(checkpoint, options));
    const { model, halting, task, defaultPolicy } = checkpoint;
    const { positions, classes, modelType, iterations } = model.config;
    const policies = halting.policies.map(({ name, policy }) => ({ name, policy }));
    this.#post({
      type: "loaded",
      id,
      checkpoint: id,
      modelType,
      iterations,
      positions,
      classes,
      task,
      policies,
      defaultPolicy,
    });
  }

  #cancel(id) {
    if (this.#running.has(id)) this.#cancelled.add(id);
    else this.#post({ type: "cancelled", id });
  }

  #unload(checkpoint) {
    this.#checkpoints.delete(checkpoint);
    this.#taskCheckpoints.delete(checkpoint);
    this.#lastPredictions.delete(checkpoint);
  }

  /** Run a thought after those before it, because a model has one state. */
  async #enqueue(request, run) {
    const { id } = request;
    this.#running.add(id);
    const previous = this.#queue;
    let finish;
    this.#queue = new Promise((resolve) => {
      finish = resolve;
    });
    await previous;
    try {
      if (this.#cancelled.has(id)) this.#post({ type: "cancelled", id });
      else await run(request);
    } finally {
      finish();
      this.#running.delete(id);
      this.#cancelled.delete(id);
    }
  }

  /** Answer a `think` request. */
  async #think(request) {
    const { id } = request;
    const thought = this.#start(request);
    await this.#consume(id, thought.engine.stream(thought.encoded), (event) => {
      this.#post(buildTickMessage(id, event, request.recordsChannels));
      if (event.haltReason !== null)
        this.#post(buildResultMessage(id, thought, thought.engine.conclude(event), request));
    });
  }

  /** Answer a `predict` request. */
  async #predict({ id, checkpoint, input, policy, reportsTicks, continuesAfterHalt, isForInsideView = true }) {
    const source = this.#taskCheckpoints.get(checkpoint);
    if (!source) throw new Error("This checkpoint is not loaded: load it first.");
    const prediction = new Prediction(source, input, policy ?? "");
    let record = null;
    await this.#consume(id, prediction.run(continuesAfterHalt), (event) => {
      if (reportsTicks && !event.isAfterHalt) this.#post({ type: "tick", id, ...prediction.describeTick(event) });
      if (event.haltReason !== null) record ??= prediction.conclude(event);
      if (event.isAfterHalt && event.tick === event.budget)
        record.continuation = prediction.describeContinuation(event);
    });
    if (!record || this.#cancelled.has(id)) return;
    if (isForInsideView) this.#lastPredictions.set(checkpoint, { recordId: record.id, prediction });
    this.#post({ type: "record", id, record });
  }

  /** Answer an `inside` request. */
  #answerInside({ id, checkpoint, record, request }) {
    const last = this.#lastPredictions.get(checkpoint);
    if (last?.recordId !== record)
      throw new Error("This answer is no longer in memory: run the model again to look inside.");
    this.#post({ type: "inside", id, answer: last.prediction.answerInside(request) });
  }

  /** Compute the ticks of a thought, and look for cancel requests between them. */
  async #consume(id, events, onTick) {
    let blockedSince = performance.now();
    for (const event of events) {
      onTick(event);
      if (performance.now() - blockedSince < MAX_BLOCK_MS || isLastTick(event)) continue;
      await waitForMessages();
      blockedSince = performance.now();
      if (!this.#cancelled.has(id)) continue;
      this.#post({ type: "cancelled", id });
      return;
    }
  }

  /** Check a request and encode its input. */
  #start({ checkpoint: checkpointId, values, shape, policy, origin = {} }) {
    const checkpoint = this.#checkpoints.get(checkpointId);
    if (!checkpoint) throw new Error("This checkpoint is not loaded: load it first.");
    if (!(values instanceof Float32Array) || !Array.isArray(shape)) throw new Error("An input is numbers and a shape.");
    const { model, halting, defaultPolicy } = checkpoint;
    const halts = parsePolicy(policy?.trim() ? policy : defaultPolicy);
    const engine = new Engine(model, halts);
    const encoded = model.encode(values, shape);
    const features = origin.isNatural && halting.familiarity ? encoded.pooledFeatures : null;
    const limit = computeConfidenceLimit(halting, features, Boolean(origin.isShifted), origin.shiftedAccuracy ?? null);
    return { checkpoint, engine, encoded, limit };
  }
}

/** Add its task to a checkpoint; null if the browser has no such task, so that only `think` requests are possible. */
function buildTaskCheckpoint(checkpoint, { name = "", digitImages = null, accuracies = {}, guarantees = {} }) {
  if (!checkpoint.task.task) return null;
  const task = buildTask(checkpoint.task, { digitImages: digitImages ? readDigitImages(digitImages) : null });
  return { name, checkpoint, task, accuracies, guarantees };
}

/** Build the message of a tick: copies of its outputs, and of the state of the model if it is recorded. */
function buildTickMessage(id, { tick, history, channels, haltReason, budget, attentionMapShape }, recordsChannels) {
  const copy = (values, size) => values.slice((tick - 1) * size, tick * size);
  return {
    type: "tick",
    id,
    tick,
    budget,
    haltReason,
    bestTick: history.bestTick,
    logits: copy(history.logits, history.size),
    certainty: copy(history.certainty, history.positions),
    choices: copy(history.choices, history.positions),
    energy: history.energy ? history.energy[tick - 1] : null,
    attentionMapShape,
    channels: recordsChannels
      ? Object.fromEntries(Object.entries(channels).map(([name, values]) => [name, values.slice()]))
      : {},
  };
}

/** Build the message of a thought that ended: the halting decision, and probabilities and confidence at every tick. */
function buildResultMessage(id, { checkpoint, engine, encoded, limit }, result, { answerFormat = {} }) {
  const { history, ticks, answerTick, haltedBy } = result;
  const { positions } = checkpoint.model.config;
  const format = { scoredPositions: null, isCtc: false, lastPosition: positions - 1, ...answerFormat };
  const { policy } = engine;
  const isHalted = haltedBy !== "budget";
  return {
    type: "result",
    id,
    ticks,
    answerTick,
    haltedBy,
    policy: String(policy),
    inputTicks: encoded.inputTicks,
    reason: isHalted ? parsePolicy(haltedBy).explain(history) : null,
    chartLines: policy.getChartLines(),
    notes: policy.describeUnreachable(encoded.ticks),
    limit,
    confidence: computeConfidence(checkpoint.halting, format, history, limit),
    probabilities: computeProbabilities(history, getTemperatures(checkpoint.halting, ticks, limit)),
  };
}

/** Return whether a cancel request comes too late at a tick. */
function isLastTick({ haltReason, tick, budget }) {
  return haltReason !== null || tick === budget;
}

/** Let the event loop deliver the messages that wait. */
function waitForMessages() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Return an error as one sentence; a defect of the engine is named as such. */
function describeError(error) {
  const isExpected = error instanceof InputError || (error instanceof Error && error.constructor === Error);
  return isExpected ? error.message : `The engine failed: ${String(error?.message ?? error).split("\n")[0]}.`;
}
