/** Tables and sentences of the halting view. */

import { createButton, createElement } from "../common/dom.js";
import { formatInteger, formatMean, formatPercent, UNKNOWN } from "../common/format.js";
import { getCurveColour, isDashed } from "./chart.js";
import { findBestAccuracy, findCorner, isWithin } from "./parse.js";

function formatPoints(share) {
  const points = formatMean(100 * share);
  return `${points} ${points === "1" ? "point" : "points"}`;
}

/**
 * Compute what a curve gives within a budget, as texts.
 *
 * @param {import("./parse.js").Curve} curve - The curve.
 * @param {number} budget - Mean ticks.
 * @param {number} best - Accuracy to compare with, the same for all curves; see `findBestAccuracy`.
 * @returns {{accuracy: string, loss: string, ticks: string, policy: string}} Accuracy, what is lost against the best one, ticks, and the policy; empty if it has none.
 */
export function describeLevel(curve, budget, best) {
  const [ticks, accuracy, threshold] = findCorner(curve, budget);
  return {
    accuracy: formatPercent(accuracy),
    loss: best > accuracy ? formatPoints(best - accuracy) : "nothing",
    ticks: isWithin(ticks, budget) ? formatMean(ticks) : `needs at least ${formatMean(ticks)}`,
    policy: curve.form && `${curve.form}${Number(threshold.toPrecision(5))}`,
  };
}

/** Create a cell; on a phone its name stands before it. */
function createCell(name, ...children) {
  return createElement("td", { "data-name": name }, ...children);
}

/** Create a button that uses a policy; its text alone where there is nothing to use it for. */
function createUseButton(policy, onUse) {
  if (!onUse) return createElement("code", {}, policy);
  const attributes = { class: "component-pill", title: "Use this rule" };
  return createButton(createElement("code", {}, policy), () => onUse(policy), attributes);
}

/**
 * Create the key of a curve.
 *
 * @param {import("./parse.js").Curve} curve - The curve.
 * @returns {HTMLElement} Its colour and label.
 */
export function createKey({ name, label }) {
  const dash = isDashed(name) ? { "data-dash": "" } : {};
  const swatch = createElement("span", { class: "halting-swatch", ...dash });
  swatch.style.color = getCurveColour(name);
  return createElement("span", { class: "halting-key" }, swatch, label);
}

/**
 * Create the row of a curve within a budget.
 *
 * @param {import("./parse.js").Curve} curve - The curve.
 * @param {number} budget - Mean ticks.
 * @param {number} best - Accuracy to compare with.
 * @param {((policy: string) => void) | null} onUse - Called with the policy that is chosen.
 * @returns {HTMLElement} The row.
 */
export function createLevelRow(curve, budget, best, onUse) {
  const { accuracy, loss, ticks, policy } = describeLevel(curve, budget, best);
  return createElement(
    "tr",
    {},
    createElement("td", {}, createKey(curve)),
    createCell("accuracy", accuracy),
    createCell("loss", loss),
    createCell("ticks", ticks),
    createElement("td", {}, policy ? createUseButton(policy, onUse) : ""),
  );
}

/**
 * Create the row of a policy.
 *
 * @param {import("./parse.js").Policy} policy - The policy.
 * @param {number} number - Its number in the chart.
 * @param {((policy: string) => void) | null} onUse - Called with the policy that is chosen.
 * @returns {HTMLElement} The row.
 */
export function createPolicyRow(policy, number, onUse) {
  const { label, text, description, isDefault, ticks, accuracy, heldOut } = policy;
  const help = createElement("div", { class: "halting-muted" }, description);
  const measured = heldOut ? `${formatPercent(heldOut.accuracy)} in ${formatMean(heldOut.mean_ticks)}` : UNKNOWN;
  return createElement(
    "tr",
    {},
    createElement("td", {}, createElement("span", { class: "halting-dot" }, String(number))),
    createElement("td", {}, createElement("strong", {}, label), isDefault ? " (default)" : "", help),
    createCell("accuracy", formatPercent(accuracy)),
    createCell("ticks", formatMean(ticks)),
    createCell("held out", measured),
    createCell("lost", heldOut ? formatPercent(heldOut.lost) : UNKNOWN),
    createElement("td", {}, createUseButton(text, onUse)),
  );
}

/**
 * Describe the chart of curves.
 *
 * @param {import("./parse.js").HaltingView} view - What is known.
 * @returns {string} Some sentences.
 */
export function describeCurves({ samples, split, curves }) {
  const count = samples === null ? "some" : formatInteger(samples);
  return (
    `Accuracy (vertical) for an average number of ticks (horizontal), on ${count} ${split} samples. ` +
    "Click in the chart or move the slider to choose a budget. Numbers mark the rules below. " +
    `The loss of every row is against ${formatPercent(findBestAccuracy(curves))}, the best that any rule reaches.`
  );
}

/**
 * Describe the chart of reliability by its largest bin.
 *
 * @param {import("./parse.js").HaltingView} view - What is known, with at least one bin.
 * @returns {string} Some sentences.
 */
export function describeReliability({ bins, calibrationError, heldOutSamples }) {
  const [confidence, accuracy, count] = bins.reduce((best, bin) => (bin[2] > best[2] ? bin : best));
  const total = heldOutSamples === null ? "all" : formatInteger(heldOutSamples);
  const gap = calibrationError === null ? "" : ` Average gap (ECE): ${formatPoints(calibrationError)}.`;
  return (
    "Each dot groups answers by stated confidence; size = number of answers. On the dashed line, confidence matches accuracy. " +
    `Largest group: ${formatInteger(count)} of ${total} answers at ${formatPercent(confidence)} confidence, ` +
    `${formatPercent(accuracy)} correct.${gap}`
  );
}
