/**
 * The interface of a panel, and what panels share.
 *
 * A panel is one module that exports one object of type `Panel`. It owns a canvas and texts in the page, which `findParts` finds by
 * its name: NAME-panel, NAME, NAME-legend, NAME-title and NAME-caption.
 *
 * @typedef {object} ThoughtView
 * @property {import("./parse-record.js").Thought} thought - What is shown.
 * @property {number} tick - The tick that is shown, from 1.
 * @property {boolean} isPlaying - Whether it is being played.
 * @property {import("./theme.js").ThoughtTheme} theme - Colours and font.
 * @property {Record<string, HTMLElement>} parts - Elements of the component.
 * @property {import("./images.js").ImageCache} images - Images of this record in this theme.
 *
 * @typedef {object} Panel
 * @property {string} name - Its name in the page.
 * @property {(thought: import("./parse-record.js").Thought) => unknown} select - Returns what it shows of a thought; nothing hides it.
 * @property {(view: ThoughtView, data: any) => void} [prepare] - Writes what does not depend on the tick: title, legend, caption.
 * @property {(view: ThoughtView, data: any) => void} draw - Draws its canvas at the tick that is shown.
 * @property {(view: ThoughtView, data: any) => string} describe - Returns what it draws in words, for screen readers.
 */

import { formatColour, getClassColour } from "../common/colour.js";
import { createElement } from "../common/dom.js";

const MAX_CLASS_KEYS = 12;

/**
 * Write the legend of a panel.
 *
 * @param {ThoughtView} view - What is shown.
 * @param {string} name - Name of the panel.
 * @param {(unknown[] | unknown)[]} keys - [colour or gradient, text, shape] each; the shape is "line", "band" or missing. Other items are left out.
 */
export function writeLegend({ parts }, name, keys) {
  const elements = keys.filter(Array.isArray).map(([colour, text, shape]) => {
    const swatch = createElement("span", {
      class: shape ? `thought-swatch thought-swatch-${shape}` : "thought-swatch",
    });
    swatch.style.background = colour;
    return createElement("span", { class: "thought-key" }, swatch, text);
  });
  const legend = parts[`${name}-legend`];
  const isEqual =
    elements.length === legend.children.length && elements.every((key, at) => key.isEqualNode(legend.children[at]));
  if (!isEqual) legend.replaceChildren(...elements); // a growing record writes it often
}

/**
 * List the colours of a few classes for a legend.
 *
 * @param {{labels: string[]}} answer - The answer.
 * @returns {string[][]} [colour, label] each; none if there are many classes.
 */
export function listClassKeys({ labels }) {
  if (labels.length > MAX_CLASS_KEYS) return [];
  return labels.map((label, index) => [formatColour(getClassColour(index)), label]);
}
