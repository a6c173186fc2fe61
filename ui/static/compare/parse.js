/** Parsing a comparison: several policies or models on the same input. */

import { isNumber, readArray, readInteger, readObject, readShare, readText } from "../common/validate.js";

const MAX_TICKS = 1000;
const MAX_LABEL = 200; // characters
const UNKNOWN_PROBLEM = "It could not be run on this input.";

/**
 * @typedef {object} Entry
 * @property {string} name - Name of the policy or model.
 * @property {string} policy - Its halting policy as text.
 * @property {string} problem - Why there is no result; empty if there is one.
 * @property {number} ticks - Ticks that it used.
 * @property {number} iterations - Ticks that it could use.
 * @property {number[]} certainty - Certainty by tick, 0 to 1.
 * @property {string[]} answers - Answers by tick.
 * @property {number | null} milliseconds - How long it took.
 * @property {string} verdict - Verdict on its answer, such as "correct"; empty if it is not known.
 * @property {number} answerTick - The tick whose answer counts, from 1.
 */

/**
 * Parse a row of a comparison.
 *
 * @param {unknown} value - The row; see `buildRow`.
 * @returns {Entry} What is compared.
 */
export function parseEntry(value) {
  const entry = readObject(value);
  const certainty = readArray(entry.certainty, MAX_TICKS).map(readShare);
  const ticks = certainty.length;
  return {
    name: readText(entry.name, MAX_LABEL),
    policy: readText(entry.policy, MAX_LABEL),
    problem: ticks ? "" : readText(entry.problem) || UNKNOWN_PROBLEM,
    ticks,
    iterations: isNumber(entry.iterations) ? readInteger(entry.iterations, ticks, MAX_TICKS) : ticks,
    certainty,
    milliseconds: isNumber(entry.milliseconds) ? entry.milliseconds : null,
    verdict: readText(entry.verdict, MAX_LABEL).replace(/^unknown$/, ""),
    answers: readArray(entry.answers, MAX_TICKS).map((answer) => readText(answer, MAX_LABEL)),
    answerTick: isNumber(entry.answer_tick) ? readInteger(entry.answer_tick, 1, Math.max(1, ticks)) : ticks,
  };
}
