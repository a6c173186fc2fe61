/** Records that grow: the server sends one that has few ticks, then the same one with more of them, and at last the complete one. */

/**
 * Return whether the unroll of a record still runs.
 *
 * @param {Record<string, unknown>} record - The record.
 * @returns {boolean} Whether more ticks will come.
 */
export function isGrowing(record) {
  return record.is_complete === false && record.is_stopped !== true;
}

/** Tells updates of the record that is shown from new records and from late updates of former ones. */
export class LiveRecord {
  /** Whether the newest tick is shown. The visitor ends this by a choice of another tick, and starts it again with the newest. */
  isFollowing = true;
  #id = ""; // of the record that grows or has grown; empty if the shown record came whole
  #isGrowing = false;
  #former = new Set();

  /**
   * Receive a record.
   *
   * @param {Record<string, unknown>} record - The record, or another value of the component.
   * @returns {"new" | "update" | "outdated"} Whether it is another record, more ticks of the last one, or to be ignored.
   */
  receive(record) {
    if (this.#former.has(record.id) || (this.#id && record.id === this.#id && !this.#isGrowing)) return "outdated";
    const isUpdate = this.#id !== "" && record.id === this.#id;
    this.#isGrowing = isGrowing(record);
    if (isUpdate) return "update";
    if (this.#id) this.#former.add(this.#id);
    this.#id = record.is_complete === false && typeof record.id === "string" ? record.id : "";
    this.isFollowing = true;
    return "new";
  }
}
