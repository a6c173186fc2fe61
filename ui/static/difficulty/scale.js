/** The measured accuracy by difficulty, and its texts. */

import { formatPercent } from "../common/format.js";
import { isNumber, readArray, readInteger, readObject, readShare, readText } from "../common/validate.js";

const MAX_LEVELS = 400;
const MAX_LEVEL = 100_000;
const MAX_SAMPLES = 1e9;

/**
 * @typedef {object} Level
 * @property {number} level - Difficulty.
 * @property {number} accuracy - Share of correct answers at it.
 * @property {number} samples - Samples that it was measured on.
 *
 * @typedef {object} Scale
 * @property {string} name - What the difficulty counts, such as "steps to the goal".
 * @property {string} noun - What the inputs are, such as "mazes".
 * @property {string} verb - What a correct answer does, such as "solved".
 * @property {Level[]} levels - Levels in ascending order; empty if there is nothing to choose.
 * @property {number} selected - Index of the selected level.
 */

/**
 * Parse the component's value.
 *
 * @param {unknown} value - The value.
 * @returns {Scale} The scale.
 */
export function parseScale(value) {
  const scale = readObject(value);
  const levels = readArray(scale.levels, MAX_LEVELS)
    .map(readObject)
    .filter(({ level, accuracy }) => isNumber(level) && isNumber(accuracy))
    .map(({ level, accuracy, samples }) => ({
      level: readInteger(level, 0, MAX_LEVEL),
      accuracy: readShare(accuracy),
      samples: readInteger(samples, 0, MAX_SAMPLES),
    }));
  return {
    name: readText(scale.name, 100),
    noun: readText(scale.noun, 40) || "inputs",
    verb: readText(scale.verb, 80) || "answered correctly",
    levels: levels.length > 1 ? levels : [],
    selected: readInteger(scale.selected, 0, Math.max(0, levels.length - 1)),
  };
}

/**
 * Describe the selected level.
 *
 * @param {Scale} scale - The scale.
 * @returns {{label: string, line: string}} Name of the slider with its value, and how often such inputs are answered correctly.
 */
export function describeLevel({ name, noun, verb, levels, selected }) {
  const { level, accuracy, samples } = levels[selected];
  const percent = accuracy > 0.995 && accuracy < 1 ? formatPercent(accuracy) : formatPercent(accuracy, 0);
  const count = samples.toLocaleString("en");
  return {
    label: `Difficulty of a random input: ${level} ${name}`,
    line: `${percent} of such ${noun} are ${verb} (n = ${count}).`,
  };
}
