/**
 * The interface of an editor, and what editors share.
 *
 * An editor lets a visitor build an input by hand. It fills an element, passes on what the visitor makes as a text, and takes over
 * a text that was written elsewhere.
 *
 * @typedef {object} Editor
 * @property {(value: string) => void} show - Takes over a value from elsewhere.
 *
 * @typedef {(root: HTMLElement, spec: Record<string, unknown>, onChange: (value: string) => void) => Editor} CreateEditor
 */

import { createElement } from "../common/dom.js";

const DIRECTIONS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * Return a random integer.
 *
 * @param {number} count - How many there are to choose from.
 * @returns {number} From 0 to `count` - 1.
 */
export function pickRandom(count) {
  return Math.floor(Math.random() * count);
}

/**
 * Return the direction of an arrow key.
 *
 * @param {{key: string}} event - A keyboard event.
 * @returns {number[] | null} [rows, columns]; null for other keys.
 */
export function getArrowDirection({ key }) {
  return Object.hasOwn(DIRECTIONS, key) ? DIRECTIONS[key] : null;
}

/**
 * Return where a pointer is in an element.
 *
 * @param {Element} element - The element.
 * @param {{clientX: number, clientY: number}} event - A pointer event.
 * @returns {number[]} From the top and from the left, 0 to 1 within the element.
 */
export function getRelativePosition(element, { clientX, clientY }) {
  const box = element.getBoundingClientRect();
  return [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
}

/**
 * Create a row of controls.
 *
 * @param {...(Node | string)} children - The controls.
 * @returns {HTMLElement} The row.
 */
export function createBar(...children) {
  return createElement("div", { class: "editor-bar" }, ...children);
}

/**
 * Create an element for a sentence on the input.
 *
 * @returns {HTMLElement} The element.
 */
export function createNote() {
  return createElement("p", { class: "editor-note", role: "status" });
}
