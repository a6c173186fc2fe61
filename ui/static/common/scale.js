/** Round numbers for axes: 1, 2 or 5 times a power of ten apart. */

import { clamp } from "./validate.js";

const MAX_AXIS_LABELS = 50;
const TICK_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const LARGEST_TICK_STEP = 5000;

/**
 * Return the smallest round step that is about as large as wanted.
 *
 * @param {number} size - The wanted step, above 0. A round step may be smaller by a thousandth.
 * @returns {number} 1, 2, 5 or 10 times a power of ten.
 */
export function findRoundStep(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= size * 0.999) ?? size;
}

/**
 * List the round numbers of a range.
 *
 * @param {number} first - Start of the range.
 * @param {number} last - End of the range.
 * @param {number} count - About how many numbers to list.
 * @param {number} [minStep] - Smallest distance between two numbers.
 * @returns {{step: number, values: number[]}} Their distance, and the numbers in rising order.
 */
export function listRoundNumbers(first, last, count, minStep = 0) {
  const step = findRoundStep(Math.max((last - first) / count, minStep, 1e-30));
  const start = Math.ceil(first / step - 1e-9);
  const length = clamp(Math.floor(last / step + 1e-9) - start + 1, 0, MAX_AXIS_LABELS);
  return { step, values: Array.from({ length }, (_, index) => (start + index) * step) };
}

/**
 * Return a distance between labels of an axis that counts ticks.
 *
 * @param {number} minStep - Fewest ticks between two labels.
 * @returns {number} A round number of ticks.
 */
export function findTickStep(minStep) {
  return TICK_STEPS.find((step) => step >= minStep) ?? LARGEST_TICK_STEP;
}
