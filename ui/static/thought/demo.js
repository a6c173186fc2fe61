/** The landing page plays recorded unrolls, one after the other, until the visitor does something. */

import { readArray, readObject, readText } from "../common/validate.js";

const PAUSE_MS = 2200; // after the last tick of an unroll
const MAX_ENTRIES = 8;
const VISITOR_EVENTS = ["pointerdown", "keydown", "input"];

/** Recorded unrolls and their order. */
export class Demo {
  #entries = [];
  #next = 0;
  #timer = 0;
  #isRunning = false;
  #show;
  #onVisitor = ({ isTrusted }) => {
    if (isTrusted) this.stop();
  };

  /** @param {(record: object, title: string) => void} show - Shows a record. */
  constructor(show) {
    this.#show = show;
  }

  /** Whether it goes on by itself. */
  get isRunning() {
    return this.#isRunning;
  }

  /**
   * Play recorded unrolls.
   *
   * @param {unknown} entries - A list of {title, record}; the record is an address relative to the page.
   */
  start(entries) {
    this.#entries = readArray(entries, MAX_ENTRIES)
      .map(readObject)
      .map(({ title, record }) => ({ title: readText(title), url: readText(record) }))
      .filter(({ url }) => url);
    if (!this.#entries.length) return;
    this.#isRunning = true;
    this.#next = 0;
    for (const name of VISITOR_EVENTS) document.addEventListener(name, this.#onVisitor, { capture: true });
    this.#load();
  }

  /** Go on with the next unroll after a pause: the one that is shown has ended. */
  proceed() {
    if (!this.#isRunning || this.#entries.length < 2) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), PAUSE_MS);
  }

  /** End it; what is shown stays. */
  stop() {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    for (const name of VISITOR_EVENTS) document.removeEventListener(name, this.#onVisitor, { capture: true });
  }

  async #load() {
    const { title, url } = this.#entries[this.#next];
    this.#next = (this.#next + 1) % this.#entries.length;
    try {
      const response = await fetch(new URL(url, document.baseURI));
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const record = await response.json();
      if (this.#isRunning) this.#show(record, title);
    } catch {
      this.stop(); // the invitation stays
    }
  }
}
