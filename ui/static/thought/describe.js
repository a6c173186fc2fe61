/** Texts for answers, quantities and durations. */

import {
  formatDecimal,
  formatDuration,
  formatInteger,
  formatMean,
  formatPercent,
  formatProbability,
} from "../common/format.js";
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
export function describeInterimAnswer({ labels, ticks }, tick) {
  const label = labels[tick - 1];
  if (!label) return "";
  return tick > ticks ? `Had it gone on to tick ${tick}: ${label}` : `At tick ${tick}: ${label}?`;
}

/**
 * Describe where a tick is in a thought.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @param {number} tick - The tick, from 1.
 * @returns {string} Such as "Tick 2 of 5 (limit 40)".
 */
export function describeTick({ ticks, iterations }, tick) {
  return tick > ticks ? `Tick ${tick}, after the stop at ${ticks}` : `Tick ${tick} of ${ticks} (limit ${iterations})`;
}

/**
 * Describe what a halting policy reaches on many samples.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @returns {string} One sentence; empty without an estimate.
 */
export function describeEstimate({ estimate, policy }) {
  if (!estimate) return "";
  const { accuracy, meanTicks, n } = estimate;
  const result = `about ${formatPercent(accuracy)} correct in ${formatMean(meanTicks)} ticks on average`;
  return `With ${policy}: ${result} (${formatInteger(n)} calibration samples).`;
}

/**
 * Return the text of a halting policy with another threshold.
 *
 * @param {string} policy - The policy as text.
 * @param {string} quantity - "energy" or "certainty".
 * @param {number} level - The threshold that is there.
 * @param {number} newLevel - The new one; it is written with four digits.
 * @returns {string | null} The new text; null if the policy does not contain the threshold.
 */
export function replaceThreshold(policy, quantity, level, newLevel) {
  const pattern = /(energy|certainty)(\.min)?([<>])(-?\d[\d.]*(?:e[+-]?\d+)?)/g;
  for (const match of policy.matchAll(pattern)) {
    const [text, name, suffix = "", sign, number] = match;
    if (name !== quantity || Math.abs(Number(number) - level) > 1e-9 * Math.max(1, Math.abs(level))) continue;
    const replacement = `${name}${suffix}${sign}${Number(newLevel.toPrecision(4))}`;
    return policy.slice(0, match.index) + replacement + policy.slice(match.index + text.length);
  }
  return null;
}

/**
 * Describe how long the computation took, and that the page replays it more slowly.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @returns {string} Such as "Computed in 6.4 ms in your browser, replayed in slow motion."; empty if there is nothing to say.
 */
export function describeDuration({ milliseconds, ticks, isFromBrowser, isPartial }) {
  if (isPartial) return "";
  if (milliseconds === null) return ticks > 1 ? "Replayed in slow motion." : "";
  const place = isFromBrowser ? "in your browser" : "on the server";
  return `Computed in ${formatDuration(milliseconds)} ${place}${ticks > 1 ? ", replayed in slow motion" : ""}.`;
}
