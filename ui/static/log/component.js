/** A log that stays at its end, unless the visitor scrolled up to read. */

import { findParts } from "../common/dom.js";

const EMPTY_TEXT = "The output of the training appears here.";
const END_DISTANCE = 40; // pixels from the end that still count as the end

/**
 * Return whether an element is scrolled to its end.
 *
 * @param {{scrollTop: number, clientHeight: number, scrollHeight: number}} pane - The element.
 * @returns {boolean} Whether it is, or nearly.
 */
export function isAtEnd({ scrollTop, clientHeight, scrollHeight }) {
  return scrollTop + clientHeight > scrollHeight - END_DISTANCE;
}

/** One mounted component. */
export class LogComponent {
  #props;
  #pane;
  #isFollowing = true;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    this.#props = props;
    this.#pane = findParts(element, "log").pane;
    this.#pane.addEventListener("scroll", () => {
      this.#isFollowing = isAtEnd(this.#pane);
    });
    new ResizeObserver(() => this.#follow()).observe(this.#pane); // it has no height while its tab is hidden
  }

  /** Show the current value as text. */
  receive() {
    const { value } = this.#props;
    const text = typeof value === "string" ? value : "";
    const isEmpty = text.trim() === "";
    this.#pane.classList.toggle("log-empty", isEmpty);
    this.#pane.textContent = isEmpty ? EMPTY_TEXT : text;
    this.#follow();
  }

  #follow() {
    if (this.#isFollowing) this.#pane.scrollTop = this.#pane.scrollHeight;
  }
}
