/** What the overview draws: places of neurons, and lines between them. */

import { sortBySize } from "./arithmetic.js";
import { findNeuronPairs } from "./data.js";

export const MAX_LINES = 64;
const MAX_NEURON_LINES = 256;
const MAX_RING_NEURONS = 64;

/**
 * Return the places of the neurons: on a circle for a few, else those of the layout.
 *
 * @param {import("./data.js").Overview} overview - The overview.
 * @returns {Float32Array} Places, (D, 2).
 */
export function placeNeurons({ neurons, layout }) {
  if (neurons > MAX_RING_NEURONS) return layout.places;
  const places = new Float32Array(2 * neurons);
  layout.order.forEach((neuron, rank) => {
    const angle = (2 * Math.PI * rank) / neurons;
    places.set([Math.cos(angle), Math.sin(angle)], 2 * neuron);
  });
  return places;
}

/**
 * Choose the pairs that are drawn: those of the largest values, and those of the selected neuron.
 *
 * @param {import("./data.js").Pairs} pairs - The pairs.
 * @param {ArrayLike<number>} values - Value of each pair: contribution or synchronisation.
 * @param {number | null} neuron - The selected neuron.
 * @returns {{pair: number, left: number, right: number, share: number}[]} Lines, the smallest first; shares are signed, -1 to 1.
 */
export function chooseLines({ left, right, ...pairs }, values, neuron) {
  const order = sortBySize(values);
  const largest = Math.max(1e-12, Math.abs(values[order[0]] ?? 0));
  const chosen = new Set(order.subarray(0, MAX_LINES));
  if (neuron !== null) {
    const own = new Set(findNeuronPairs({ left, right, ...pairs }, neuron));
    for (const pair of order.filter((index) => own.has(index)).subarray(0, MAX_NEURON_LINES)) chosen.add(pair);
  }
  return Array.from(order)
    .filter((pair) => chosen.has(pair) && left[pair] !== right[pair])
    .reverse()
    .map((pair) => ({ pair, left: left[pair], right: right[pair], share: values[pair] / largest }));
}
