/** Predictions in the page, computed by a Web Worker. Mirrors `training.pipeline`. */

/**
 * What a pipeline is loaded from.
 *
 * @typedef {object} PipelineSource
 * @property {string} name - Name of the checkpoint in records.
 * @property {Map<string, Uint8Array | object>} files - Files of the checkpoint directory, by name.
 * @property {() => Worker} createWorker - Starts the worker of `worker.js`.
 * @property {Uint8Array} [digitImages] - Digits of the task `qamnist`, see `readDigitImages`.
 * @property {Record<string, number>} [accuracies] - Accuracy with the default policy, by held-out split.
 * @property {Record<string, string>} [guarantees] - Sentence about the guarantee of a policy, by its text.
 * @property {(metadata: Record<string, unknown>) => import("./tasks/task.js").Task} [buildTask] - Builds the task from `task.json`, for a
 *   page that needs it as well; the worker has its own.
 */

const CHECKPOINT_ID = 0; // a worker has one checkpoint

/** A loaded checkpoint. Predictions are computed one after the other. */
export class BrowserPipeline {
  #worker;
  #pending = new Map();
  #nextId = CHECKPOINT_ID + 1;

  /**
   * Load a checkpoint.
   *
   * @param {PipelineSource} source - Its files and what belongs to it.
   * @returns {Promise<BrowserPipeline>} The pipeline.
   * @throws {Error} A file is missing or invalid, or the worker cannot start; one sentence.
   */
  static async load({ name, files, createWorker, digitImages = null, accuracies = {}, guarantees = {}, buildTask }) {
    const pipeline = new BrowserPipeline(createWorker());
    try {
      const content = Object.fromEntries(files);
      const options = { files: content, name, digitImages, accuracies, guarantees };
      const loaded = await pipeline.#request(CHECKPOINT_ID, "load", options);
      Object.assign(pipeline, {
        name,
        iterations: loaded.iterations,
        policies: loaded.policies,
        defaultPolicy: loaded.defaultPolicy,
        task: buildTask?.(loaded.task) ?? null,
      });
    } catch (error) {
      pipeline.close();
      throw error;
    }
    return pipeline;
  }

  /** @param {Worker} worker - The worker. */
  constructor(worker) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("error", (event) => this.#failAll(event.message || "the worker cannot start"));
  }

  /**
   * Run the model on an input until the halting policy stops it.
   *
   * @param {unknown} input - A text, or pixels as `ImageData` holds them.
   * @param {string} [policy] - Halting policy; empty for the default of the checkpoint.
   * @param {object} [options] - How it runs.
   * @param {(tick: object) => void} [options.onTick] - Called with every tick.
   * @param {AbortSignal} [options.signal] - Ends the prediction early.
   * @param {boolean} [options.continuesAfterHalt] - Whether the record has a `continuation`: the ticks after the halting tick.
   * @param {boolean} [options.isForInsideView] - Whether `inspect` answers about this prediction from now on.
   * @returns {Promise<Record<string, unknown>>} The record, see `buildRecord`.
   * @throws {Error} The input or the policy is invalid; one sentence. An `AbortError` if the signal ended the prediction.
   */
  run(input, policy = "", { onTick, signal, continuesAfterHalt = false, isForInsideView = true } = {}) {
    if (signal?.aborted) return Promise.reject(signal.reason); // it would follow, and replace, a newer prediction
    const id = this.#nextId++;
    const cancel = () => this.#worker.postMessage({ type: "cancel", id });
    signal?.addEventListener("abort", cancel, { once: true });
    const reportsTicks = Boolean(onTick);
    const request = { checkpoint: CHECKPOINT_ID, input, policy, reportsTicks, continuesAfterHalt, isForInsideView };
    const promise = this.#request(id, "predict", request, onTick).then(({ record }) => record);
    return promise.finally(() => signal?.removeEventListener("abort", cancel));
  }

  /**
   * Answer a request about the inside of the last prediction.
   *
   * @param {string} recordId - Id of its record.
   * @param {Record<string, unknown>} request - See `InsideView.answer`.
   * @returns {Promise<Record<string, unknown>>} The answer.
   * @throws {Error} Another prediction followed, the model has no inside view, or the request is invalid; one sentence.
   */
  inspect(recordId, request) {
    const message = { checkpoint: CHECKPOINT_ID, record: recordId, request };
    return this.#request(this.#nextId++, "inside", message).then(({ answer }) => answer);
  }

  /** End the worker; predictions that run fail. */
  close() {
    this.#worker.terminate();
    this.#failAll("the worker was closed");
  }

  #request(id, type, rest, onTick) {
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onTick });
      this.#worker.postMessage({ type, id, ...rest });
    });
  }

  #receive(message) {
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    if (message.type === "tick") {
      pending.onTick?.(message);
      return;
    }
    this.#pending.delete(message.id);
    if (message.type === "error") pending.reject(new Error(message.message));
    else if (message.type === "cancelled")
      pending.reject(new DOMException("The prediction was cancelled.", "AbortError"));
    else pending.resolve(message);
  }

  #failAll(reason) {
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) reject(new Error(`The engine of this browser failed: ${reason}.`));
  }
}
