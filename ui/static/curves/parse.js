/** Parsing what the charts show: charts, and the points of each run. */

import { clamp, isNumber, readArray, readObject, readText } from "../common/validate.js";

const MAX_CHARTS = 40;
const MAX_SERIES = 12;
const MAX_RUNS = 24;
const MAX_POINTS = 5000;
const MAX_MAGNITUDE = 1e30;
const MAX_SETTINGS = 400;
const MAX_TICKS = 200;
const EMPTY_NOTE = "Charts appear after the first steps.";

/**
 * @typedef {object} Chart
 * @property {string} id - Its name.
 * @property {string} title - Its heading.
 * @property {string} help - What the chart shows.
 * @property {string} unit - Unit of its values.
 * @property {boolean} log - Whether its scale is logarithmic at first.
 * @property {boolean} percent - Whether its values are shares of one.
 * @property {boolean} zero - Whether its scale begins at zero.
 * @property {boolean} isOpen - Whether it is unfolded at first.
 * @property {{key: string, label: string, isNoisy: boolean}[]} series - Its lines.
 *
 * @typedef {object} Points
 * @property {number[]} at - Steps, rising.
 * @property {number[]} value - Values.
 * @property {number[]} mean - Means around them, which are smoothed; the values themselves where no point was left out.
 *
 * @typedef {{at: number[], value: number[]}} Totals - Totals of the training until some steps.
 *
 * @typedef {object} Run
 * @property {string} name - Its name.
 * @property {Totals | null} samples - Training samples.
 * @property {Totals | null} clock - Seconds of training.
 * @property {Map<string, Points>} points - Points by key of the series.
 *
 * @typedef {object} HeatMap
 * @property {string} name - Its run.
 * @property {number[]} steps - Steps of the evaluations.
 * @property {number[]} ticks - The ticks, from 1.
 * @property {(number | null)[][]} rows - Accuracy of each step and tick, 0 to 1.
 */

/**
 * Parse the component's value. Charts without a point in any run are left out.
 *
 * @param {unknown} value - The value.
 * @returns {{charts: Chart[], runs: Run[], heatMap: HeatMap | null, differences: string[][], note: string}} What to draw, the settings
 *   that differ between the runs (name, and a value for each run), and what to say while there is nothing to draw.
 */
export function parseCurves(value) {
  const curves = readObject(value);
  const known = keepDistinct(readArray(curves.charts, MAX_CHARTS).map(parseChart), (chart) => chart.id);
  const keys = new Set(known.flatMap((chart) => chart.series.map((series) => series.key)));
  const runs = keepDistinct(
    readArray(curves.runs, MAX_RUNS).map((run) => parseRun(run, keys)),
    (run) => run.name,
  );
  const charts = known.filter((chart) => chart.series.some(({ key }) => runs.some((run) => run.points.has(key))));
  const differences = readArray(curves.differences, MAX_SETTINGS).map((row) =>
    readArray(row, MAX_RUNS + 1).map((cell) => readText(cell, 300)),
  );
  const heatMap = parseHeatMap(readObject(curves.heatmap));
  return { charts, runs, heatMap, differences, note: readText(curves.note) || EMPTY_NOTE };
}

/**
 * Keep the first of the items that share a name.
 *
 * @template T
 * @param {T[]} items - Some items.
 * @param {(item: T) => string} getName - Returns the name of an item; an item without a name is dropped.
 * @returns {T[]} Items with distinct names.
 */
export function keepDistinct(items, getName) {
  const seen = new Set();
  return items.filter((item) => {
    const name = getName(item);
    if (!name || seen.has(name)) return false;
    seen.add(name);
    return true;
  });
}

function isPlottable(value) {
  return isNumber(value) && Math.abs(value) <= MAX_MAGNITUDE;
}

function parseChart(value) {
  const chart = readObject(value);
  const series = readArray(chart.series, MAX_SERIES).map((item) => {
    const { key, label, noisy } = readObject(item);
    return { key: readText(key, 300), label: readText(label, 300) || readText(key, 300), isNoisy: noisy === true };
  });
  return {
    id: readText(chart.id, 300),
    title: readText(chart.title, 300) || readText(chart.id, 300),
    help: readText(chart.help),
    unit: readText(chart.unit, 20),
    log: chart.log === true,
    percent: chart.percent === true,
    zero: chart.zero === true,
    isOpen: chart.is_open === true,
    series: keepDistinct(series, ({ key }) => key),
  };
}

function parseRun(value, keys) {
  const run = readObject(value);
  const columns = readObject(run.points);
  const points = new Map();
  for (const key of keys) {
    const parsed = Object.hasOwn(columns, key) ? parsePoints(columns[key]) : null;
    if (parsed) points.set(key, parsed);
  }
  return { name: readText(run.name, 300), samples: parseTotals(run.samples), clock: parseTotals(run.clock), points };
}

function parseTotals(columns) {
  const points = parsePoints(columns);
  return points && { at: points.at, value: points.value };
}

/**
 * Parse columns of steps, values and perhaps means. Rows without a step or a value are left out.
 *
 * @param {unknown} columns - The columns.
 * @returns {Points | null} The points in rising order; null if there is none. Means need one for every point.
 */
export function parsePoints(columns) {
  const [at, values, means] = readArray(columns, 3).map((column) => readArray(column, MAX_POINTS));
  const rows = (at ?? [])
    .map((position, index) => [position, values?.[index], means?.[index]])
    .filter(([position, value]) => isPlottable(position) && isPlottable(value))
    .sort((a, b) => a[0] - b[0]);
  if (!rows.length) return null;
  const value = rows.map((row) => row[1]);
  const mean = rows.every((row) => isPlottable(row[2])) ? rows.map((row) => row[2]) : value;
  return { at: rows.map((row) => row[0]), value, mean };
}

function parseHeatMap({ name, steps, ticks, rows }) {
  const parsedTicks = readArray(ticks, MAX_TICKS).filter(isNumber);
  const parsedRows = readArray(rows, MAX_POINTS).map((row) =>
    readArray(row, MAX_TICKS).map((value) => (isNumber(value) ? clamp(value / 1000, 0, 1) : null)),
  );
  const parsedSteps = readArray(steps, MAX_POINTS).filter(isNumber);
  const isWhole =
    parsedSteps.length > 0 &&
    parsedSteps.length === parsedRows.length &&
    parsedTicks.length > 1 &&
    parsedRows.every((row) => row.length === parsedTicks.length);
  return isWhole ? { name: readText(name, 300), steps: parsedSteps, ticks: parsedTicks, rows: parsedRows } : null;
}
