/**
 * Keeping an editor and a text in step.
 *
 * An edit is written to a text, and the text reports it back somewhat later. Such an echo must not undo a newer edit.
 */

const MAX_PENDING = 100;

/** The texts that were sent and have not come back yet. */
export class EchoFilter {
  #latest = "";
  #pending = [];

  /** Forget everything, for another editor. */
  reset() {
    this.#latest = "";
    this.#pending = [];
  }

  /**
   * Note a text that the editor sends.
   *
   * @param {string} text - The text.
   * @returns {boolean} Whether it is new and must be sent.
   */
  send(text) {
    if (text === this.#latest) return false;
    this.#latest = text;
    this.#pending = [...this.#pending, text].slice(-MAX_PENDING);
    return true;
  }

  /**
   * Note a text that arrived.
   *
   * @param {string} text - The text.
   * @returns {boolean} Whether it was written elsewhere and must be shown.
   */
  receive(text) {
    const echo = this.#pending.lastIndexOf(text);
    this.#pending = this.#pending.slice(echo + 1);
    if (echo >= 0 || text === this.#latest) return false;
    this.#latest = text;
    this.#pending = [];
    return true;
  }
}
