/** What charts show as tables, for readers of the page and as CSV. */

import { createElement } from "../common/dom.js";
import { formatAxisPercent, formatInteger, formatPercent, formatSignificant } from "../common/format.js";
import { getTotal, listLines } from "./lines.js";

/** Format a value of a chart. */
function formatValue({ percent, unit }, value) {
  return percent ? formatPercent(value) : `${formatSignificant(value)}${unit ? ` ${unit}` : ""}`;
}

/**
 * List what a chart of lines shows: one row a line.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {import("./parse.js").Run[]} runs - The runs.
 * @returns {string[][]} A heading, then the rows.
 */
export function listLineRows(chart, runs) {
  const rows = listLines(chart, runs).map(({ run, series, at, value }) => [
    run.name,
    series.label,
    formatValue(chart, value[0]),
    formatValue(chart, Math.min(...value)),
    formatValue(chart, Math.max(...value)),
    formatValue(chart, value.at(-1)),
    formatInteger(at.at(-1)),
  ]);
  return [["run", "line", "first", "smallest", "largest", "last", "at step"], ...rows];
}

/**
 * List what the heat map shows: one row an evaluation.
 *
 * @param {import("./parse.js").HeatMap} heatMap - The accuracies.
 * @returns {string[][]} A heading, then the rows.
 */
export function listHeatMapRows({ steps, ticks, rows }) {
  const format = (value) => (value === null ? "" : formatPercent(value));
  const body = steps.map((step, index) => {
    const known = rows[index].filter((value) => value !== null);
    const best = Math.max(...known, 0);
    return [
      formatInteger(step),
      format(rows[index][0]),
      format(best),
      String(ticks[rows[index].indexOf(best)] ?? ""),
      format(rows[index].at(-1)),
    ];
  });
  return [["step", "first tick", "best tick", "number of the best tick", "last tick"], ...body];
}

/**
 * Create a table.
 *
 * @param {string[][]} rows - A heading, then the rows.
 * @param {string} caption - Its caption for screen readers.
 * @returns {HTMLElement} The table.
 */
export function createTable([heading, ...rows], caption) {
  const createRow = (cells, tag, scope) =>
    createElement("tr", {}, ...cells.map((cell) => createElement(tag, scope ? { scope } : {}, cell)));
  return createElement(
    "table",
    { "aria-label": caption },
    createElement("thead", {}, createRow(heading, "th", "col")),
    createElement("tbody", {}, ...rows.map((cells) => createRow(cells, "td"))),
  );
}

/**
 * Write all points of a chart of lines as CSV.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {import("./parse.js").Run[]} runs - The runs.
 * @returns {string} Run, series, step, seconds, samples and value a line.
 */
export function formatLinesCsv(chart, runs) {
  const rows = listLines(chart, runs).flatMap(({ run, series, at, value }) =>
    at.map((step, index) => {
      const seconds = getTotal(run.clock, step);
      const samples = getTotal(run.samples, step);
      return [
        run.name,
        series.key,
        step,
        seconds === null ? "" : seconds.toFixed(1),
        samples === null ? "" : Math.round(samples),
        value[index],
      ];
    }),
  );
  return joinCsv([["run", "series", "step", "seconds", "samples", "value"], ...rows]);
}

/**
 * Write the heat map as CSV.
 *
 * @param {import("./parse.js").HeatMap} heatMap - The accuracies.
 * @returns {string} Run, step, tick and accuracy a line.
 */
export function formatHeatMapCsv({ name, steps, ticks, rows }) {
  const lines = steps.flatMap((step, row) => ticks.map((tick, column) => [name, step, tick, rows[row][column] ?? ""]));
  return joinCsv([["run", "step", "tick", "accuracy"], ...lines]);
}

function joinCsv(rows) {
  const quote = (cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
  return `${rows.map((row) => row.map(quote).join(",")).join("\n")}\n`;
}

/**
 * Describe a chart of lines by its last values, for screen readers.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {import("./parse.js").Run[]} runs - The runs.
 * @returns {string} One sentence a line.
 */
export function describeLines(chart, runs) {
  const lines = listLines(chart, runs).map(({ run, series, at, value }) => {
    const name = runs.length > 1 ? `${run.name}, ${series.label}` : series.label;
    return `${name}: ${formatValue(chart, value.at(-1))} at step ${formatInteger(at.at(-1))}`;
  });
  return `${chart.title}. ${lines.join("; ")}.`;
}

/**
 * Describe the heat map by its last evaluation, for screen readers.
 *
 * @param {import("./parse.js").HeatMap} heatMap - The accuracies.
 * @returns {string} One sentence.
 */
export function describeHeatMap({ name, steps, ticks, rows }) {
  const last = rows.at(-1);
  const best = Math.max(...last.map((value) => value ?? 0));
  const tick = ticks[last.indexOf(best)] ?? ticks.at(-1);
  return `Accuracy by tick of ${name}: ${formatAxisPercent(best)} at tick ${tick} in the evaluation at step ${formatInteger(steps.at(-1))}.`;
}
