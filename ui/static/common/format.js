/** Numbers as text. */

import { isNumber } from "./validate.js";

const MINUS_SIGN = "\u2212";

/** Text for a number that is not known. */
export const UNKNOWN = "\u2013";

/**
 * Replace hyphens by minus signs.
 *
 * @param {string} text - Formatted numbers.
 * @returns {string} The text with typographic minus signs.
 */
export function replaceHyphens(text) {
  return text.replaceAll("-", MINUS_SIGN);
}

/**
 * Return the singular or the plural of a noun.
 *
 * @param {number} count - How many there are.
 * @param {string} noun - The singular of a noun with a regular plural.
 * @returns {string} The noun.
 */
export function pluralize(count, noun) {
  return count === 1 ? noun : `${noun}s`;
}

/**
 * Format a count with its noun, such as "1,200 ticks".
 *
 * @param {number} count - How many there are.
 * @param {string} noun - The singular of a noun with a regular plural.
 * @returns {string} The count with thousands separators, and the noun.
 */
export function formatCount(count, noun) {
  return `${formatInteger(count)} ${pluralize(count, noun)}`;
}

/**
 * Format an integer with thousands separators.
 *
 * @param {number} value - The integer.
 * @returns {string} Such as "1,200".
 */
export function formatInteger(value) {
  return value.toLocaleString("en");
}

/**
 * Format a number with two decimals.
 *
 * @param {unknown} value - The number.
 * @returns {string} Such as "−0.50"; "unknown" if it is no number.
 */
export function formatDecimal(value) {
  return isNumber(value) ? formatFixed(value, 2) : "unknown";
}

/**
 * Format a number with a fixed number of decimals. A number that rounds to zero has no sign.
 *
 * @param {number} value - The number.
 * @param {number} decimals - Decimals.
 * @returns {string} Such as "−0.50" or "0.00".
 */
export function formatFixed(value, decimals) {
  const text = value.toFixed(decimals);
  return replaceHyphens(Number(text) === 0 ? text.replace("-", "") : text);
}

/**
 * Format a mean: with one decimal, or none where it is whole.
 *
 * @param {number} value - The mean.
 * @returns {string} Such as "4.1" or "1".
 */
export function formatMean(value) {
  return formatFixed(value, 1).replace(/\.0$/, "");
}

/**
 * Format a number with limited precision and without trailing zeros.
 *
 * @param {number} value - The number.
 * @param {number} [digits] - Significant digits.
 * @returns {string} Such as "−0.05".
 */
export function formatSignificant(value, digits = 4) {
  return replaceHyphens(String(Number(value.toPrecision(digits))));
}

/**
 * Format a number as short as possible, with a unit prefix or an exponent where that helps.
 *
 * @param {number} value - The number.
 * @param {number} [digits] - Significant digits.
 * @returns {string} Such as "1k", "2.5M", "0.05" or "1e−4".
 */
export function formatCompact(value, digits = 4) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e12 || size < 1e-3) {
    const rounded = Number(value.toPrecision(Math.min(digits, 3)));
    return replaceHyphens(rounded.toExponential().replace("e+", "e"));
  }
  for (const [unit, prefix] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (size >= unit) return formatSignificant(value / unit, digits) + prefix;
  }
  return formatSignificant(value, digits);
}

/**
 * Format a probability: it is never "0%" or "100%", because it arrives rounded. The server formats it alike.
 *
 * @param {number} value - A share of one.
 * @returns {string} Such as "94%", "0.4%" or "<0.1%".
 */
export function formatProbability(value) {
  if (value < 0.001 || value > 0.999) return value < 0.5 ? "<0.1%" : ">99.9%";
  return `${toFixedHalfEven(value * 100, value > 0.95 || value < 0.05 ? 1 : 0)}%`;
}

/** Format a number as `toFixed` does, but a number in the middle of two as the even one, as Python does. */
function toFixedHalfEven(value, decimals) {
  const scaled = value * 10 ** decimals;
  const isHalf = Number.isInteger(value * 2 ** (decimals + 1)) && scaled % 1 === 0.5;
  if (isHalf && Math.floor(scaled) % 2 === 0) return (Math.floor(scaled) / 10 ** decimals).toFixed(decimals);
  return value.toFixed(decimals);
}

/**
 * Format a share of one as percent with a fixed number of decimals, of which one becomes two where it would round up to 100%.
 *
 * @param {number} value - A share of one.
 * @param {number} [decimals] - Decimals of the percentage.
 * @returns {string} Such as "97.0%"; "99.95%" for 0.9995, as `format_accuracy` in Python.
 */
export function formatPercent(value, decimals = 1) {
  if (decimals === 1 && value >= 0.9995 && value < 1) return `${(Math.floor(value * 1e4) / 100).toFixed(2)}%`;
  return `${formatFixed(100 * value, decimals)}%`;
}

/**
 * Format a share of one as percent, with more decimals near 0 and 1, and without trailing zeros.
 *
 * @param {number} value - A share of one.
 * @returns {string} Such as "50%", "0.25%" or "99.95%".
 */
export function formatAdaptivePercent(value) {
  const decimals = Math.abs(value) < 0.1 || (value > 0.99 && value < 1) ? 2 : 1;
  return replaceHyphens(`${Number((value * 100).toFixed(decimals))}%`);
}

/**
 * Format a share of one as the percentage of an axis label.
 *
 * @param {number} value - A share of one.
 * @returns {string} Such as "25%".
 */
export function formatAxisPercent(value) {
  return replaceHyphens(`${Number((value * 100).toPrecision(4))}%`);
}

/**
 * Format a position on an axis.
 *
 * @param {number} value - The position.
 * @returns {string} Such as "1,200" or "20k".
 */
export function formatAxisNumber(value) {
  const isShort = Number.isInteger(value) && Math.abs(value) < 1e4;
  return isShort ? replaceHyphens(formatInteger(value)) : formatCompact(value, 6);
}

/**
 * Format a position in full.
 *
 * @param {number} value - The position.
 * @returns {string} Such as "12,345.5".
 */
export function formatExact(value) {
  return replaceHyphens(formatInteger(Number(value.toPrecision(9))));
}

/**
 * Format a duration.
 *
 * @param {number} milliseconds - The duration in milliseconds.
 * @returns {string} Such as "4.2 ms", "120 ms" or "1.3 s".
 */
export function formatDuration(milliseconds) {
  if (milliseconds < 10) return `${Number(milliseconds.toFixed(1))} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
