/** Parsing what is known of a checkpoint's halting: curves, policies, and how reliable its confidence is. */

import { clamp, isNumber, readArray, readObject, readText } from "../common/validate.js";

const MAX_CURVES = 8;
const MAX_CORNERS = 2000;
const MAX_POLICIES = 30;
const MAX_BINS = 100;

/**
 * @typedef {object} Curve
 * @property {string} name - Name of what the policy looks at.
 * @property {string} label - Its name on screen.
 * @property {string} form - How its policy is written, up to the threshold; empty if it has none.
 * @property {number[][]} corners - [mean ticks, accuracy, threshold] each, by rising ticks.
 *
 * @typedef {object} Policy
 * @property {string} label - Its name on screen.
 * @property {string} text - The policy as text.
 * @property {string} description - What is known of it.
 * @property {boolean} isDefault - Whether it is used where none is chosen.
 * @property {number} ticks - Mean ticks on calibration samples.
 * @property {number} accuracy - Accuracy on calibration samples, 0 to 1.
 * @property {{accuracy: number, mean_ticks: number, lost: number} | null} heldOut - The same on held-out samples.
 *
 * @typedef {object} HaltingView
 * @property {number} iterations - Ticks that are possible.
 * @property {number | null} samples - How many calibration samples there were.
 * @property {string} split - Their split.
 * @property {Curve[]} curves - What every threshold gives.
 * @property {Policy[]} policies - The policies of the checkpoint.
 * @property {number | null} heldOutSamples - How many held-out samples there were.
 * @property {number | null} calibrationError - Expected calibration error, 0 to 1.
 * @property {number[][]} bins - [confidence, accuracy, count] each.
 */

/**
 * Parse the component's value.
 *
 * @param {unknown} value - The value.
 * @returns {HaltingView | null} What is known; null without a curve.
 */
export function parseHalting(value) {
  const view = readObject(value);
  const curves = readArray(view.curves, MAX_CURVES)
    .map(parseCurve)
    .filter((curve) => curve.corners.length);
  if (!curves.length || !isNumber(view.iterations)) return null;
  const reliability = readObject(view.reliability);
  const heldOut = readObject(view.held_out);
  return {
    iterations: Math.max(1, view.iterations),
    samples: isNumber(view.n) ? view.n : null,
    split: readText(view.split),
    curves,
    policies: readArray(view.rules, MAX_POLICIES).map(parsePolicy).filter(Boolean),
    heldOutSamples: isNumber(heldOut.n) ? heldOut.n : null,
    calibrationError: isNumber(reliability.ece) ? reliability.ece : null,
    bins: parseTriples(reliability.bins, MAX_BINS),
  };
}

function parseTriples(value, maxLength) {
  return readArray(value, maxLength)
    .map((row) => readArray(row, 3).filter(isNumber))
    .filter((row) => row.length === 3);
}

function parseCurve(value) {
  const curve = readObject(value);
  const corners = parseTriples(curve.corners, MAX_CORNERS).sort((a, b) => a[0] - b[0]);
  return { name: readText(curve.name), label: readText(curve.label), form: readText(curve.form, 40), corners };
}

function parsePolicy(value) {
  const policy = readObject(value);
  if (!isNumber(policy.ticks) || !isNumber(policy.accuracy)) return null;
  const heldOut = readObject(policy.held_out);
  const isComplete = ["accuracy", "mean_ticks", "lost"].every((key) => isNumber(heldOut[key]));
  return {
    label: readText(policy.label),
    text: readText(policy.rule),
    description: readText(policy.says),
    isDefault: policy.default === true,
    ticks: policy.ticks,
    accuracy: policy.accuracy,
    heldOut: isComplete ? heldOut : null,
  };
}

/**
 * Find the least conservative corner of a curve within a budget.
 *
 * @param {Curve} curve - The curve.
 * @param {number} budget - Mean ticks.
 * @returns {number[]} [mean ticks, accuracy, threshold]; the first corner where even that takes more ticks.
 */
export function findCorner({ corners }, budget) {
  return corners.findLast(([ticks]) => isWithin(ticks, budget)) ?? corners[0];
}

/**
 * Return whether a number of ticks is within a budget.
 *
 * @param {number} ticks - Mean ticks.
 * @param {number} budget - Mean ticks.
 * @returns {boolean} Whether it is.
 */
export function isWithin(ticks, budget) {
  return ticks <= budget + 1e-9;
}

/**
 * Find the accuracy that losses are measured against.
 *
 * @param {Curve[]} curves - All curves.
 * @returns {number} The highest accuracy of a curve that has a policy; the oracle has none. Without such a curve, that of any.
 */
export function findBestAccuracy(curves) {
  const usable = curves.filter(({ form }) => form);
  const corners = (usable.length ? usable : curves).flatMap((curve) => curve.corners);
  return Math.max(...corners.map(([, accuracy]) => accuracy));
}

/**
 * Round a budget to tenths of a tick within what is possible.
 *
 * @param {number} ticks - Mean ticks.
 * @param {number} iterations - Ticks that are possible.
 * @returns {number} The budget, at least 1.
 */
export function roundBudget(ticks, iterations) {
  return clamp(Math.round(10 * ticks) / 10, 1, Math.max(1, iterations));
}

/**
 * Return the budget to begin with: that of the default policy.
 *
 * @param {HaltingView} view - What is known.
 * @returns {number} Mean ticks.
 */
export function getFirstBudget({ policies, iterations }) {
  const policy = policies.find(({ isDefault }) => isDefault) ?? policies[0];
  return roundBudget(policy?.ticks ?? iterations, iterations);
}
