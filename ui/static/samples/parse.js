/** Parsing the samples of a run. */

import { isNumber, readArray, readInteger, readObject, readText } from "../common/validate.js";
import { parseRecord } from "../thought/parse-record.js";

const MAX_STEPS = 10000;
const MAX_SAMPLES = 3;

/**
 * @typedef {object} Sample
 * @property {string} title - Its name.
 * @property {boolean} isCorrect - Whether the answer is correct.
 * @property {import("../thought/parse-record.js").Thought} thought - The answer by tick.
 */

/**
 * Parse the component's value. Samples without a valid record are left out.
 *
 * @param {unknown} value - The value.
 * @returns {{run: string, steps: number[], step: number | null, samples: Sample[]}} The run, the steps of all evaluations, the step that is shown, and its samples.
 */
export function parseSamples(value) {
  const { run, steps, step, samples } = readObject(value);
  const parsedSteps = readArray(steps, MAX_STEPS).filter(isNumber);
  const parsed = readArray(samples, MAX_SAMPLES).map((item, index) => {
    const { title, is_correct: isCorrect, record } = readObject(item);
    const name = readText(title, 200) || `Input ${index + 1}`;
    return { title: name, isCorrect: isCorrect === true, thought: parseRecord(record) };
  });
  const shown = isNumber(step) ? readInteger(step, 0, Number.MAX_SAFE_INTEGER) : null;
  return {
    run: readText(run, 300),
    steps: parsedSteps,
    step: parsedSteps.includes(shown) ? shown : null,
    samples: parsed.filter(({ thought }) => thought),
  };
}
