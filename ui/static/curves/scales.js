/** How values of a chart become heights and texts. */

import { formatAdaptivePercent, formatAxisPercent, formatCompact, UNKNOWN } from "../common/format.js";
import { listRoundNumbers } from "../common/scale.js";
import { isNumber } from "../common/validate.js";

const LABELS = 5;
const MIN_RELATIVE_RANGE = 0.02; // values that are nearly equal must not look far apart

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} toShare - Height of a value: 0 at the bottom, 1 at the top.
 * @property {number[]} labels - The values that are labelled.
 * @property {number} min - Value at the bottom.
 * @property {number} max - Value at the top.
 */

/**
 * Format a value of a chart.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {unknown} value - The value.
 * @returns {string} The value with its unit; a dash if there is none.
 */
export function formatValue(chart, value) {
  if (!isNumber(value)) return UNKNOWN;
  if (chart.percent) return formatAdaptivePercent(value);
  return `${formatCompact(value)}${chart.unit ? `\u00a0${chart.unit}` : ""}`;
}

/**
 * Format a label at the left of a chart.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {number} value - The value.
 * @returns {string} The value without its unit.
 */
export function formatLabel(chart, value) {
  return chart.percent ? formatAxisPercent(value) : formatCompact(value);
}

/**
 * Build the scale of a chart.
 *
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {number[] | null} extent - Least and largest value in sight; null if there is none.
 * @param {boolean} isZoomed - Whether only a part of the steps is in sight; then percentages need not span 0 to 1.
 * @returns {Scale} The scale.
 */
export function buildScale(chart, extent, isZoomed) {
  const [min, max] = extent ?? [0, 1];
  return chart.log && min > 0 ? buildLogScale(min, max) : buildLinearScale(chart, min, max, isZoomed);
}

function buildLinearScale(chart, lowest, highest, isZoomed) {
  let [min, max] = [lowest, highest];
  const areShares = chart.percent && min >= 0 && max <= 1;
  if (areShares && !isZoomed) [min, max] = [0, 1];
  if (chart.zero) [min, max] = [Math.min(0, min), Math.max(0, max)];
  const minRange = Math.max(Math.abs(min), Math.abs(max), chart.percent ? 0.01 : 1e-12) * MIN_RELATIVE_RANGE;
  if (max - min < minRange) [min, max] = [min - minRange / 2, max + minRange / 2];
  const { step } = listRoundNumbers(min, max, LABELS);
  let [bottom, top] = [Math.floor(min / step + 1e-9) * step, Math.ceil(max / step - 1e-9) * step];
  if (chart.percent && min >= 0 && max <= 1) [bottom, top] = [Math.max(0, bottom), Math.min(1, top)];
  const { values } = listRoundNumbers(bottom, top, LABELS);
  return { toShare: (value) => (value - bottom) / (top - bottom), labels: values, min: bottom, max: top };
}

function buildLogScale(lowest, highest) {
  const middle = (Math.log10(lowest) + Math.log10(highest)) / 2;
  const half = Math.max((Math.log10(highest) - Math.log10(lowest)) * 0.53, 0.02);
  const [min, max] = [10 ** (middle - half), 10 ** (middle + half)];
  const toShare = (value) => (Math.log10(value) - middle + half) / (2 * half);
  return { toShare, labels: listLogLabels(min, max), min, max };
}

/**
 * List labels of a logarithmic scale: powers of ten, with as many numbers between them as it takes for three labels.
 *
 * @param {number} min - Value at the bottom, above 0.
 * @param {number} max - Value at the top.
 * @returns {number[]} The labels; round numbers where the range is narrow.
 */
export function listLogLabels(min, max) {
  const first = Math.floor(Math.log10(min));
  const last = Math.ceil(Math.log10(max));
  const stride = Math.max(1, Math.ceil((last - first) / 6));
  for (const digits of [[1], [1, 3], [1, 2, 5]]) {
    const labels = [];
    for (let power = first; power <= last; power += stride) labels.push(...digits.map((digit) => digit * 10 ** power));
    const inside = labels.filter((label) => label >= min && label <= max);
    if (inside.length >= 3) return inside;
  }
  return listRoundNumbers(min, max, 4).values;
}
