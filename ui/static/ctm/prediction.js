/** One prediction: read an input, run the engine, and build the record. Mirrors `training.pipeline` for one row. */

import { computeConfidenceLimit } from "./confidence.js";
import { Engine } from "./engine.js";
import { InsideView } from "./inside.js";
import { parsePolicy } from "./policy-parser.js";
import { buildContinuation, buildRecord } from "./record.js";
import { Recorder } from "./recorder.js";
import { formatRepr } from "./tasks/text.js";

const MAX_TEXT_CHARS = 1_000;

/**
 * A checkpoint with its task, as the engine's host keeps it.
 *
 * @typedef {object} TaskCheckpoint
 * @property {string} name - Name in records.
 * @property {import("./checkpoint.js").Checkpoint} checkpoint - The checkpoint.
 * @property {import("./tasks/task.js").Task} task - Its task.
 * @property {Record<string, number>} accuracies - Accuracy with the default policy, by held-out split.
 * @property {Record<string, string>} guarantees - Sentence about the guarantee of a policy, by its text.
 */

/** A prediction that is computed tick by tick. */
export class Prediction {
  #thought;
  #engine;
  #encoded;
  #result = null;
  #inside = null;
  #startTime = performance.now();

  /**
   * Parse the input and encode it.
   *
   * @param {TaskCheckpoint} source - The checkpoint.
   * @param {unknown} rawInput - A text, or pixels as `ImageData` holds them.
   * @param {string} policyText - Halting policy; empty for the default of the checkpoint.
   * @throws {Error} The input or the policy is invalid; one sentence.
   */
  constructor({ name, checkpoint, task, accuracies, guarantees }, rawInput, policyText) {
    const { model, halting, defaultPolicy } = checkpoint;
    checkInputType(task, rawInput, name);
    const input = task.parseInput(rawInput);
    const { ctcLength } = task.spec;
    const fullBudget = ctcLength ? `ticks=${model.config.iterations}` : defaultPolicy;
    const policy = parsePolicy(policyText?.trim() || (halting.policies.length ? defaultPolicy : fullBudget));
    checkPolicyFitsTask(policy, ctcLength);
    this.#engine = new Engine(model, policy, ctcLength ? "last" : "best");
    const shape = input.inputs.shape.slice(1); // without the batch
    const values = Float32Array.from(input.inputs.data);
    this.#encoded = model.encode(values, shape);
    const isCompared = task.hasNaturalInputs && halting.familiarity;
    const accuracy = input.shift?.split ? (accuracies[input.shift.split] ?? null) : null;
    const features = isCompared ? this.#encoded.pooledFeatures : null;
    const limit = computeConfidenceLimit(halting, features, input.shift !== null, accuracy);
    this.#thought = { name, checkpoint, task, input, policy, recorder: new Recorder(), limit, guarantees };
  }

  /**
   * Compute the ticks.
   *
   * @param {boolean} [continuesAfterHalt] - Whether the ticks after the halting tick are computed too, see `Engine.stream`.
   * @yields {import("./engine.js").TickEvent} One event per tick; the next tick overwrites it.
   */
  *run(continuesAfterHalt = false) {
    for (const event of this.#engine.stream(this.#encoded, continuesAfterHalt)) {
      this.#thought.recorder.record(event);
      yield event;
    }
  }

  /**
   * Describe the last tick while the prediction is running, for a live view.
   *
   * @param {import("./engine.js").TickEvent} event - The tick.
   * @returns {{tick: number, budget: number, label: string, energy: number | null, certainty: number}} The tick.
   */
  describeTick({ tick, budget, history }) {
    const { task, input } = this.#thought;
    const byTick = Array.from({ length: tick }, (_, index) => {
      const start = index * history.positions;
      return Array.from(history.choices.subarray(start, start + input.positions));
    });
    const answer = task.formatAnswer(input, task.decode(byTick)[tick - 1]);
    const energy = history.energy ? history.energy[tick - 1] : null;
    return { tick, budget, label: answer.label, energy, certainty: history.meanCertainty[tick - 1] };
  }

  /**
   * Build the record at the halting tick.
   *
   * @param {import("./engine.js").TickEvent} event - The halting tick.
   * @returns {Record<string, unknown>} The record, see `buildRecord`.
   */
  conclude(event) {
    const result = this.#engine.conclude(event);
    this.#result = result;
    return buildRecord({ ...this.#thought, result, durationMs: performance.now() - this.#startTime });
  }

  /**
   * Describe what the model would have answered if it had not halted.
   *
   * @param {import("./engine.js").TickEvent} event - The last tick of the budget.
   * @returns {Record<string, unknown>} The entries of the record that have one value per tick, for all ticks.
   */
  describeContinuation({ history }) {
    return buildContinuation(this.#thought, history);
  }

  /**
   * Answer a request about the inside of the unroll, after its last tick.
   *
   * @param {Record<string, unknown>} request - See `InsideView.answer`.
   * @returns {Record<string, unknown>} The answer.
   * @throws {Error} The model has no inside view, or the request is invalid; one sentence.
   */
  answerInside(request) {
    const unroll = { ...this.#thought, engine: this.#engine, encoded: this.#encoded, result: this.#result };
    this.#inside ??= new InsideView(unroll);
    return this.#inside.answer(request);
  }
}

/** Check that an input is a text for a task of texts, and pixels for a task of images. Mirrors `Pipeline.parse_input`. */
function checkInputType(task, rawInput, name) {
  const isText = typeof rawInput === "string";
  if (isText && [...rawInput].length > MAX_TEXT_CHARS) {
    throw new Error(`The text has ${[...rawInput].length.toLocaleString("en")} characters; the limit is 1,000.`);
  }
  if (isText !== (task.inputType === "text")) {
    throw new Error(`The checkpoint ${name.slice(0, 80)} needs ${task.inputType === "text" ? "a text" : "a picture"}.`);
  }
}

/** Check that a policy for emitted labels is only used with a CTC task. Mirrors `check_policy_fits_task`. */
function checkPolicyFitsTask(policy, ctcLength) {
  if (!policy.answersAtEnd || ctcLength) return;
  throw new Error(
    `${formatRepr(String(policy))} waits for labels that are emitted one after the other, but this model gives its whole answer ` +
      "at every tick: use another policy, such as certainty>0.9.",
  );
}
