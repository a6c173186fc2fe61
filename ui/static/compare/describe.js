/** Texts of a comparison. */

import { formatDuration, pluralize } from "../common/format.js";

/**
 * Describe an entry at a tick: what it answers now, or what it stopped with.
 *
 * @param {import("./parse.js").Entry} entry - The entry.
 * @param {number} tick - The tick, from 1.
 * @returns {string} The description.
 */
export function describeEntry({ problem, ticks, iterations, answers, answerTick, milliseconds, verdict }, tick) {
  if (problem) return problem;
  if (tick < ticks) return `tick ${tick}: ${answers[tick - 1] ?? ""}`;
  const source = answerTick === ticks ? "" : ` with the answer of tick ${answerTick}`;
  const end = iterations === 1 ? "one pass, no ticks" : `stopped after ${ticks} of ${iterations} ticks${source}`;
  const notes = [verdict, milliseconds === null ? "" : formatDuration(milliseconds)].filter(Boolean).join(", ");
  return `${end}: ${answers[answerTick - 1] ?? ""}${notes && ` (${notes})`}`;
}

const MARKS = {
  correct: { symbol: "\u2713", kind: "right" },
  wrong: { symbol: "\u2717", kind: "wrong" },
};
const NO_MARK = { symbol: "", kind: "" };

/**
 * Return the mark of a verdict.
 *
 * @param {import("./parse.js").Entry} entry - The entry.
 * @returns {{symbol: string, kind: string}} A tick or a cross; empty if the verdict is another one.
 */
export function getMark({ verdict }) {
  return MARKS[verdict] ?? NO_MARK;
}

/**
 * Describe which entry stopped first.
 *
 * @param {import("./parse.js").Entry[]} entries - What is compared.
 * @returns {string} A sentence; empty if fewer than two have ticks and a result.
 */
export function describeResult(entries) {
  const finished = entries.filter((entry) => !entry.problem && entry.iterations > 1);
  if (finished.length < 2) return "";
  const fewest = Math.min(...finished.map((entry) => entry.ticks));
  const first = finished.filter((entry) => entry.ticks === fewest);
  const ticks = `${fewest} ${pluralize(fewest, "tick")}`;
  if (first.length === finished.length) return `All stopped after ${ticks}.`;
  const names = first.map((entry) => entry.name).join(" and ");
  return `First to stop: ${names}, after ${ticks}.`;
}
