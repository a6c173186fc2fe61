/** Texts for answers, quantities and durations. */

import { formatDecimal, formatDuration, formatProbability } from "../common/format.js";
import { isNumber } from "../common/validate.js";

/**
 * Return the name of a class.
 *
 * @param {{labels: string[]}} answer - The answer.
 * @param {number} index - Number of the class.
 * @returns {string} Its label; its number if it has none.
 */
export function getLabel(answer, index) {
  return answer.labels[index] || String(index);
}

/**
 * Return the place of the largest number.
 *
 * @param {number[]} values - Some numbers.
 * @returns {number} The first place where it is; -1 for none.
 */
export function findLargest(values) {
  return values.indexOf(Math.max(...values));
}

/**
 * Describe the verdict on an answer.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @returns {string} Such as "Gave up, unfamiliar input"; empty if there is nothing to say.
 */
export function describeVerdict({ verdict, isUnfamiliar }) {
  const text = [verdict, isUnfamiliar ? "unfamiliar input" : ""].filter(Boolean).join(", ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * Describe what the chart shows at a tick.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @param {number} tick - The tick, from 1.
 * @returns {string[]} One text a quantity.
 */
export function describeQuantities({ energy, chance, certainty }, tick) {
  const lines = [];
  if (energy) lines.push(`energy ${formatDecimal(energy[tick - 1])}`);
  lines.push(`certainty ${formatDecimal(certainty[tick - 1])}`);
  if (chance && isNumber(chance[tick - 1])) lines.push(`confidence ${formatProbability(chance[tick - 1])}`);
  return lines;
}

/**
 * Describe the answer of a tick, which is not final.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @param {number} tick - The tick, from 1.
 * @returns {string} Such as "At tick 1: 3?"; empty if the record has no answers by tick.
 */
export function describeInterimAnswer({ labels }, tick) {
  const label = labels[tick - 1];
  return label ? `At tick ${tick}: ${label}?` : "";
}

/**
 * Describe how long the computation took, and that the page replays it more slowly.
 *
 * @param {number | null} milliseconds - The duration; null if it is unknown.
 * @param {number} ticks - Ticks that were used.
 * @param {boolean} isFromBrowser - Whether this browser computed it, and not the server.
 * @returns {string} Such as "Computed in 6.4 ms in your browser, replayed in slow motion."; empty if there is nothing to say.
 */
export function describeDuration(milliseconds, ticks, isFromBrowser) {
  if (milliseconds === null) return ticks > 1 ? "Replayed in slow motion." : "";
  const place = isFromBrowser ? "in your browser" : "on the server";
  return `Computed in ${formatDuration(milliseconds)} ${place}${ticks > 1 ? ", replayed in slow motion" : ""}.`;
}
