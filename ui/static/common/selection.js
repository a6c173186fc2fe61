/** Results of a checkpoint that is no longer selected. */

import { readObject, readText } from "./validate.js";

/**
 * Remembers the selected checkpoint, and recognizes results of another one, which may arrive late.
 *
 * A value `{selected: NAME}` selects a checkpoint; a result names its own as `checkpoint`.
 */
export class CheckpointSelection {
  #selected = "";

  /**
   * Read a value of the component.
   *
   * @param {unknown} value - The value.
   * @returns {boolean} Whether it belongs to the selected checkpoint; a result without a checkpoint does.
   */
  accepts(value) {
    const { selected, checkpoint } = readObject(value);
    if (selected !== undefined) this.#selected = readText(selected, 400);
    return !checkpoint || !this.#selected || readText(checkpoint, 400) === this.#selected;
  }
}
