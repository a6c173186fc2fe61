/** Lines of charts: where their points are on each horizontal axis, and how they are smoothed. Everything here is plain data. */

const MAX_HALF_WIDTH = 1 / 12; // of the points of a line, at the strongest smoothing
const MIN_POINTS_TO_SMOOTH = 12;
const TIME_UNITS = [
  ["hours", 3600, 3],
  ["minutes", 60, 3],
  ["seconds", 1, 0],
];

/**
 * @typedef {object} Line
 * @property {import("./parse.js").Run} run - Its run.
 * @property {{key: string, label: string, isNoisy: boolean}} series - Its series.
 * @property {number} seriesIndex - Place of the series in its chart.
 * @property {number[]} at - Steps, rising.
 * @property {number[]} value - Values.
 * @property {number[]} mean - Means around them.
 */

/**
 * List the lines of a chart that have points.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {import("./parse.js").Run[]} runs - The runs.
 * @returns {Line[]} The lines, series by series.
 */
export function listLines(chart, runs) {
  return chart.series.flatMap((series, seriesIndex) => {
    const present = runs.filter((run) => run.points.has(series.key));
    return present.map((run) => ({ run, series, seriesIndex, ...run.points.get(series.key) }));
  });
}

/**
 * Select the unit for times of training.
 *
 * @param {import("./parse.js").Run[]} runs - The runs.
 * @returns {{name: string, seconds: number}} Name and length of the unit, the same for all runs.
 */
export function selectTimeUnit(runs) {
  const longest = Math.max(0, ...runs.map(({ clock }) => clock?.value.at(-1) ?? 0));
  const [name, seconds] = TIME_UNITS.find(([, size, count]) => longest >= size * count);
  return { name, seconds };
}

/**
 * Return the seconds or the samples of training until a step.
 *
 * @param {import("./parse.js").Totals | null} totals - The totals of some steps, at least one.
 * @param {number} step - The step.
 * @returns {number | null} Interpolated, and beyond the ends continued with the nearest known slope; null without totals.
 */
export function getTotal(totals, step) {
  if (!totals) return null;
  const at = [0, ...totals.at.filter((known) => known > 0)];
  const value = [0, ...totals.value.slice(totals.value.length - (at.length - 1))];
  if (at.length < 2) return null;
  let index = at.findIndex((known) => known >= step);
  if (index < 1) index = index === 0 ? 1 : at.length - 1;
  const share = (step - at[index - 1]) / (at[index] - at[index - 1]);
  return value[index - 1] + share * (value[index] - value[index - 1]);
}

/**
 * Return where steps are on a horizontal axis.
 *
 * @param {import("./parse.js").Run} run - The run of the steps.
 * @param {number[]} steps - The steps.
 * @param {"step" | "time" | "samples"} axis - The axis.
 * @param {number} [unitSeconds] - Length of the unit of time.
 * @returns {(number | null)[]} The positions; null where the time or the number of samples is not known.
 */
export function getPositions({ clock, samples }, steps, axis, unitSeconds = 1) {
  if (axis === "samples") return steps.map((step) => getTotal(samples, step));
  if (axis === "step") return steps;
  return steps.map((step) => {
    const seconds = getTotal(clock, step);
    return seconds === null ? null : seconds / unitSeconds;
  });
}

/**
 * Smooth values twice by moving averages, which become narrower towards both ends.
 *
 * @param {number[]} values - The values.
 * @param {number} amount - 0 for none, 1 for the strongest.
 * @param {boolean} isLog - Whether to average logarithms, if all values are positive.
 * @returns {number[]} As many smoothed values; the values themselves if there are few.
 */
export function smoothValues(values, amount, isLog) {
  if (amount <= 0 || values.length < MIN_POINTS_TO_SMOOTH) return values;
  if (isLog && values.every((value) => value > 0)) {
    return smoothValues(values.map(Math.log), amount, false).map(Math.exp);
  }
  const half = Math.max(1, Math.round(amount * MAX_HALF_WIDTH * values.length));
  return averageAround(averageAround(values, half), half);
}

function averageAround(values, half) {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  return values.map((_, index) => {
    const reach = Math.min(half, index, values.length - 1 - index);
    return (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1);
  });
}
