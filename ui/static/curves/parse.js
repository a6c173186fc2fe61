/** Parsing what the charts show: charts, and the points of each run. */

import { isNumber, readArray, readObject, readText } from "../common/validate.js";

const MAX_CHARTS = 40;
const MAX_SERIES = 12;
const MAX_RUNS = 24;
const MAX_POINTS = 5000;
const MAX_MAGNITUDE = 1e30;
const EMPTY_NOTE = "Charts appear after the first steps.";

/**
 * @typedef {object} Chart
 * @property {string} id - Its name.
 * @property {string} title - Its heading.
 * @property {string} help - What the chart shows.
 * @property {string} unit - Unit of its values.
 * @property {boolean} log - Whether its scale is logarithmic where all values are positive.
 * @property {boolean} percent - Whether its values are shares of one.
 * @property {boolean} zero - Whether its scale begins at zero.
 * @property {"step" | "tick"} axis - What is to the right.
 * @property {{key: string, label: string}[]} series - Its lines.
 *
 * @typedef {object} Points
 * @property {number[]} at - Steps or ticks, rising.
 * @property {number[]} value - Values.
 * @property {number[] | null} smooth - Smoothed values.
 *
 * @typedef {object} Run
 * @property {string} name - Its name.
 * @property {number | null} steps - Steps that are planned.
 * @property {number | null} evaluated - Step of the newest evaluation.
 * @property {Map<string, Points>} points - Points by key of the series.
 */

/**
 * Parse the component's value. Charts without a point in any run are left out.
 *
 * @param {unknown} value - The value.
 * @returns {{charts: Chart[], runs: Run[], note: string}} What to draw, and what to say while there is nothing to draw.
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
  return { charts, runs, note: readText(curves.note) || EMPTY_NOTE };
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
    const { key, label } = readObject(item);
    return { key: readText(key, 300), label: readText(label, 300) || readText(key, 300) };
  });
  return {
    id: readText(chart.id, 300),
    title: readText(chart.title, 300) || readText(chart.id, 300),
    help: readText(chart.help),
    unit: readText(chart.unit, 20),
    log: chart.log === true,
    percent: chart.percent === true,
    zero: chart.zero === true,
    axis: chart.axis === "tick" ? "tick" : "step",
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
  return {
    name: readText(run.name, 300),
    steps: isPlottable(run.steps) ? run.steps : null,
    evaluated: isPlottable(run.evaluated) ? run.evaluated : null,
    points,
  };
}

/**
 * Parse columns of positions, values and perhaps smoothed values. Rows without a position or a value are left out.
 *
 * @param {unknown} columns - The columns.
 * @returns {Points | null} The points in rising order; null if there is none. Smoothed values need one for every point.
 */
export function parsePoints(columns) {
  const [at, values, smooth] = readArray(columns, 3).map((column) => readArray(column, MAX_POINTS));
  const rows = (at ?? [])
    .map((position, index) => [position, values?.[index], smooth?.[index]])
    .filter(([position, value]) => isPlottable(position) && isPlottable(value))
    .sort((a, b) => a[0] - b[0]);
  if (!rows.length) return null;
  return {
    at: rows.map((row) => row[0]),
    value: rows.map((row) => row[1]),
    smooth: rows.every((row) => isPlottable(row[2])) ? rows.map((row) => row[2]) : null,
  };
}
