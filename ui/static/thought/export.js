/** A thought as a table for download. */

import { findLargest, getLabel } from "./describe.js";

function listAnswers({ answer, emissions }, tick) {
  if (!answer) return [];
  if (answer.kind === "spoken") {
    const emitted = emissions?.all.filter((emission) => emission.tick === tick) ?? [];
    return [emitted.map((emission) => emission.text).join()];
  }
  if (answer.kind === "positions") return answer.chosen[tick - 1].map((index) => getLabel(answer, index));
  return [getLabel(answer, findLargest(answer.rows[tick - 1]))];
}

function formatCell(value) {
  const text = String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Format a thought as comma-separated values.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @returns {string} A heading, and one line a tick: energy, chance of being right, certainty, and the answer at each position.
 */
export function formatCsv(thought) {
  const { ticks, energy, chance, certainty } = thought;
  const names = listAnswers(thought, 1).map((_, index) => `answer_${index + 1}`);
  const rows = [["tick", "energy", "p_correct", "certainty", ...names]];
  for (let tick = 1; tick <= ticks; tick++) {
    const quantities = [energy?.[tick - 1] ?? "", chance?.[tick - 1] ?? "", certainty[tick - 1]];
    rows.push([tick, ...quantities, ...listAnswers(thought, tick)]);
  }
  return `${rows.map((row) => row.map(formatCell).join(",")).join("\n")}\n`;
}
