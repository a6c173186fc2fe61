/** Panel: where every head looks, with true weights. */

import { createElement } from "../common/dom.js";
import { formatPercent } from "../common/format.js";

const NUM_PLACES = 3;

/**
 * Return the places with the largest weights of a head.
 *
 * @param {NonNullable<import("./data.js").Overview["attention"]>} attention - The weights.
 * @param {number} tick - The tick, from 1.
 * @param {number} head - The head.
 * @returns {{place: number, weight: number}[]} The places, the largest weight first; none at a tick without attention.
 */
export function listTopPlaces({ heads, places, scale, data }, tick, head) {
  const row = (tick - 1) * heads + head;
  const weights = data.subarray(row * places, (row + 1) * places);
  return Array.from(weights.keys())
    .sort((a, b) => weights[b] - weights[a] || a - b)
    .slice(0, NUM_PLACES)
    .map((place) => ({ place, weight: weights[place] * scale[row] }))
    .filter(({ weight }) => weight > 1e-6);
}

/**
 * Name a place.
 *
 * @param {number[]} map - Shape of the map of places.
 * @param {number} place - The place.
 * @returns {string} Its name.
 */
export function describePlace(map, place) {
  const columns = map.slice(1).reduce((product, side) => product * side, 1);
  if (map.length === 1) return `place ${place + 1}`;
  return `row ${Math.floor(place / columns) + 1}, column ${(place % columns) + 1}`;
}

/** The panel. */
export class AttentionPanel {
  #table = createElement("div", { class: "inside-scroll" });

  /** @param {HTMLElement} body - Element of the panel. */
  constructor(body) {
    body.append(this.#table);
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   */
  draw({ tick }, { attention }) {
    if (!attention) {
      this.#table.replaceChildren(createElement("p", { class: "inside-caption" }, "This model has no attention."));
      return;
    }
    const rows = Array.from({ length: attention.heads }, (_, head) => {
      const cells = listTopPlaces(attention, tick, head).map(({ place, weight }) =>
        createElement("td", {}, `${formatPercent(weight, 0)} ${describePlace(attention.map, place)}`),
      );
      if (!cells.length) cells.push(createElement("td", { class: "inside-muted" }, "does not look at this tick"));
      return createElement("tr", {}, createElement("th", { scope: "row" }, `head ${head + 1}`), ...cells);
    });
    this.#table.replaceChildren(
      createElement(
        "table",
        {},
        createElement("caption", {}, `Largest weights at tick ${tick}`),
        createElement("tbody", {}, ...rows),
      ),
    );
  }
}
