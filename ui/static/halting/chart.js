/** Charts of the halting view, as SVG in pixels. */

import { createSvgElement } from "../common/dom.js";
import { formatInteger, formatPercent } from "../common/format.js";
import { listRoundNumbers } from "../common/scale.js";
import { readShare } from "../common/validate.js";

const MARGIN = { left: 44, right: 14, top: 8, bottom: 34 };
const CHART_HEIGHT = 250;
const RELIABILITY_HEIGHT = 230;
const MIN_WIDTH = 120;
const DEFAULT_WIDTH = 600;
const HUES = {
  energy: "--energy",
  certainty: "--certainty",
  "certainty.min": "--least",
  fixed: "--fixed",
  oracle: "--oracle",
};
const DASHES = { fixed: "6 4", oracle: "2 4" };

/**
 * Return the colour of a curve.
 *
 * @param {string} name - Name of the curve.
 * @returns {string} A CSS colour.
 */
export function getCurveColour(name) {
  return `var(${getColourVariable(name)})`;
}

/**
 * Return the name of the CSS variable with the colour of a curve.
 *
 * @param {string} name - Name of the curve.
 * @returns {string} Such as "--energy".
 */
export function getColourVariable(name) {
  return Object.hasOwn(HUES, name) ? HUES[name] : "--fixed";
}

/**
 * Return whether a curve is dashed.
 *
 * @param {string} name - Name of the curve.
 * @returns {boolean} Whether it is.
 */
export function isDashed(name) {
  return Object.hasOwn(DASHES, name);
}

/**
 * Where a chart goes.
 *
 * @typedef {object} Frame
 * @property {{left: number, right: number, top: number, bottom: number}} box - The plot.
 * @property {number} width - Width of the chart.
 * @property {(value: number) => number} toX - Where a value to the right is.
 * @property {(value: number) => number} toY - Where a value upwards is.
 * @property {(share: number) => number} toValue - The value to the right at a share of the chart's width.
 */

/**
 * Lay out a chart.
 *
 * @param {number} width - Its width in pixels.
 * @param {number} height - Its height in pixels.
 * @param {number[]} xRange - First and last value to the right.
 * @param {number[]} yRange - First and last value upwards.
 * @returns {Frame} Where it goes.
 */
export function layOutFrame(width, height, [first, last], [bottom, top]) {
  const box = { ...MARGIN, right: width - MARGIN.right, bottom: height - MARGIN.bottom };
  const toX = (value) => box.left + ((value - first) / Math.max(last - first, 1e-9)) * (box.right - box.left);
  const toY = (value) => box.bottom - ((value - bottom) / Math.max(top - bottom, 1e-9)) * (box.bottom - box.top);
  const toValue = (share) => first + ((share * width - box.left) / (box.right - box.left)) * (last - first);
  return { box, width, toX, toY, toValue };
}

/**
 * Return the range of accuracies that a chart shows: whole tenths around all corners.
 *
 * @param {import("./parse.js").Curve[]} curves - The curves.
 * @returns {number[]} Lowest and highest accuracy, 0 to 1.
 */
export function getAccuracyRange(curves) {
  const values = curves.flatMap((curve) => curve.corners.map((corner) => corner[1]));
  const bottom = Math.floor(Math.min(...values) * 10 - 1e-9) / 10;
  const top = Math.ceil(Math.max(...values) * 10 + 1e-9) / 10;
  return [Math.max(0, bottom), Math.min(1, top)];
}

function resetChart(root, height, xRange, yRange) {
  const width = Math.max(MIN_WIDTH, root.clientWidth || DEFAULT_WIDTH);
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.style.height = `${height}px`;
  root.replaceChildren();
  return layOutFrame(width, height, xRange, yRange);
}

function drawAxes(root, { toX, toY, box }, xLabels, yValues, title) {
  for (const value of yValues) {
    const label = `${Math.round(1000 * value) / 10}%`;
    root.append(
      createSvgElement("path", { class: "halting-grid", d: `M${box.left} ${toY(value)}H${box.right}` }),
      createSvgElement("text", { x: box.left - 6, y: toY(value) + 4, "text-anchor": "end" }, label),
    );
  }
  for (const [value, label] of xLabels) {
    const attributes = { x: toX(value), y: box.bottom + 15, "text-anchor": "middle" };
    root.append(createSvgElement("text", attributes, label));
  }
  root.append(createSvgElement("text", { x: box.right, y: box.bottom + 29, "text-anchor": "end" }, title));
}

/**
 * Draw what every threshold gives.
 *
 * @param {SVGElement} root - The chart; it is emptied.
 * @param {import("./parse.js").HaltingView} view - What is known.
 * @returns {Frame} Where it went.
 */
export function drawCurves(root, { curves, policies, iterations }) {
  const range = getAccuracyRange(curves);
  const frame = resetChart(root, CHART_HEIGHT, [1, Math.max(2, iterations)], range);
  const count = Math.max(2, (frame.box.right - frame.box.left) / 60);
  const ticks = listRoundNumbers(1, iterations, count).values.filter(Number.isInteger);
  const xLabels = ticks.map((tick) => [tick, String(tick)]);
  drawAxes(root, frame, xLabels, listRoundNumbers(...range, 5).values, "average ticks");
  for (const curve of [...curves].reverse()) root.append(createCurve(curve, iterations, frame));
  for (const [index, policy] of policies.entries()) root.append(...createPolicyMark(policy, index + 1, frame));
  root.append(createSvgElement("path", { class: "halting-now", "data-now": "", d: "" }));
  return frame;
}

function createCurve({ name, corners }, iterations, { toX, toY }) {
  const [lastTicks, lastAccuracy] = corners.at(-1);
  const points = [...corners, [Math.max(iterations, lastTicks), lastAccuracy]];
  const commands = points.map(([ticks, accuracy], index) => {
    return `${index ? "L" : "M"}${toX(ticks).toFixed(1)} ${toY(accuracy).toFixed(1)}`;
  });
  return createSvgElement("path", {
    d: commands.join(""),
    fill: "none",
    style: `stroke:${getCurveColour(name)}`,
    "stroke-width": 2,
    "stroke-dasharray": isDashed(name) ? DASHES[name] : "none",
  });
}

function createPolicyMark({ ticks, accuracy }, number, { toX, toY }) {
  const [x, y] = [toX(ticks), toY(accuracy)];
  const style = "fill:#fff;font-weight:600";
  return [
    createSvgElement("circle", { cx: x, cy: y, r: 8, fill: "#7b4fb5", "fill-opacity": 0.85 }),
    createSvgElement("text", { x, y: y + 4, "text-anchor": "middle", style }, String(number)),
  ];
}

/**
 * Draw how often it was right, against how sure it was.
 *
 * @param {SVGElement} root - The chart; it is emptied.
 * @param {number[][]} bins - [confidence, accuracy, count] each, at least one.
 */
export function drawReliability(root, bins) {
  const frame = resetChart(root, RELIABILITY_HEIGHT, [0, 1], [0, 1]);
  const { toX, toY } = frame;
  const xLabels = [0, 0.5, 1].map((value) => [value, `${100 * value}%`]);
  drawAxes(root, frame, xLabels, [0, 0.25, 0.5, 0.75, 1], "stated confidence");
  const diagonal = `M${toX(0)} ${toY(0)}L${toX(1)} ${toY(1)}`;
  root.append(createSvgElement("path", { class: "halting-grid", "stroke-dasharray": "4 4", d: diagonal }));
  const largest = Math.max(...bins.map(([, , count]) => count));
  for (const [confidence, accuracy, count] of bins) {
    const words = `confidence ${formatPercent(confidence)}, ${formatPercent(accuracy)} correct, ${formatInteger(count)} answers`;
    const title = createSvgElement("title", {}, words);
    const attributes = {
      cx: toX(confidence),
      cy: toY(accuracy),
      r: 3 + 8 * Math.sqrt(readShare(count / largest)),
      style: "fill:var(--energy)",
      "fill-opacity": 0.7,
    };
    root.append(createSvgElement("circle", attributes, title));
  }
}
