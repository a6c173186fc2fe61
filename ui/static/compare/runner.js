/** Runs what a prediction is compared with: in the browser where it can, else on the server. The newest request wins. */

import { predictLastInput, readLastInput } from "../ctm/page.js";

/** Runs of one component. */
export class ComparisonRunner {
  #ask;
  #onRow;
  #serial = 0;
  #abort = null;
  #manifests = new Map(); // by choice; null if only the server runs it
  #pending = null; // resolves with the answer of the server

  /**
   * @param {object} handlers - What the component does.
   * @param {(message: object) => void} handlers.ask - Sends a message to the server, see `ThinkTab._answer_comparison`.
   * @param {(value: string, row: object) => void} handlers.onRow - Shows the row of a choice.
   */
  constructor({ ask, onRow }) {
    this.#ask = ask;
    this.#onRow = onRow;
  }

  /** End what runs, and forget the files of the checkpoints: another checkpoint is selected. */
  reset() {
    this.stop();
    this.#manifests.clear();
  }

  /** End what runs. */
  stop() {
    this.#serial += 1;
    this.#abort?.abort();
    this.#pending?.({});
    this.#pending = null;
  }

  /**
   * Run choices on the last input of the page; each row is reported as soon as it is known.
   *
   * @param {string} checkpoint - Name of the selected checkpoint.
   * @param {import("./choices.js").Choice[]} choices - The choices.
   * @param {boolean} isFromBrowser - Whether the browser computed the prediction that they are compared with.
   */
  async run(checkpoint, choices, isFromBrowser) {
    this.stop();
    const serial = this.#serial;
    const input = await readLastInput(checkpoint);
    if (serial !== this.#serial || !input) return;
    if (isFromBrowser) await this.#loadManifests(checkpoint, choices);
    if (serial !== this.#serial) return;
    const canRun = (choice) => isFromBrowser && this.#manifests.get(choice.value);
    const forServer = choices.filter((choice) => !canRun(choice));
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    for (const choice of choices.filter(canRun)) {
      const row = await this.#runInBrowser(choice, signal);
      if (serial !== this.#serial) return;
      if (row) this.#onRow(choice.value, row);
      else forServer.push(choice);
    }
    if (!forServer.length) return;
    const { rows = {} } = await this.#request({ checkpoint, input, choices: forServer.map(({ value }) => value) });
    if (serial !== this.#serial) return;
    for (const { value } of forServer) this.#onRow(value, rows[value] ?? {});
  }

  /**
   * Take an answer of the server.
   *
   * @param {Record<string, unknown>} message - The answer.
   */
  receive(message) {
    if (message.serial !== this.#serial) return;
    this.#pending?.(message);
    this.#pending = null;
  }

  async #loadManifests(checkpoint, choices) {
    const missing = choices.map(({ value }) => value).filter((value) => !this.#manifests.has(value));
    if (!missing.length) return;
    const { manifests } = await this.#request({ checkpoint, manifests: missing });
    for (const value of manifests ? missing : []) this.#manifests.set(value, manifests[value] ?? null);
  }

  /** @returns {Promise<object | null>} The row; null if the server has to run it. */
  async #runInBrowser({ value, policy }, signal) {
    const outcome = await predictLastInput(this.#manifests.get(value), policy, signal);
    if (outcome.problem) return { problem: outcome.problem };
    return outcome.record ? buildRow(outcome.record) : null;
  }

  #request(message) {
    return new Promise((resolve) => {
      this.#pending = resolve;
      this.#ask({ serial: this.#serial, ...message });
    });
  }
}

/**
 * Return the row of a prediction. Mirrors `build_comparison_row`.
 *
 * @param {Record<string, any>} record - Record of the prediction.
 * @returns {Record<string, unknown>} The row.
 */
export function buildRow(record) {
  const { policy, ticks, iterations, answer_tick, certainty, milliseconds, verdict, labels_by_tick: answers } = record;
  return { policy, ticks, iterations, answer_tick, certainty, milliseconds, verdict, answers };
}
