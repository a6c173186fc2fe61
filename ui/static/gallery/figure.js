/** Figures of findings: values with intervals, and curves with bands. */

import { formatColour, getClassColour } from "../common/colour.js";
import { createElement, createSvgElement } from "../common/dom.js";
import { formatAxisPercent, formatInteger, formatPercent } from "../common/format.js";

const WIDTH = 340;
const HEIGHT = 190;
const FRAME = { left: 40, right: 8, top: 8, bottom: 30 };
const TICKS = [0, 0.25, 0.5, 0.75, 1];
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const MAX_LABELS = 8;
const INTERVAL_NOTE = "with 95% intervals";

/**
 * Return the axis of values: from 0, or from a round share below them where all are high.
 *
 * @param {{low: number}[]} rows - Values with intervals.
 * @returns {number} Where the axis begins, 0 to 0.95; it ends at 1.
 */
export function getAxisStart(rows) {
  const low = Math.min(...rows.map((row) => row.low));
  return low < 0.85 ? 0 : Math.floor(low * 20) / 20;
}

/**
 * Create a figure.
 *
 * @param {object} figure - A parsed figure.
 * @returns {HTMLElement} The figure with its caption.
 */
export function createFigure(figure) {
  const [body, caption] = figure.kind === "dots" ? createDots(figure) : createLines(figure);
  return createElement(
    "figure",
    { class: "gallery-chart" },
    body,
    createElement("figcaption", { class: "gallery-muted" }, caption),
  );
}

function createDots({ rows }) {
  const start = getAxisStart(rows);
  const toShare = (value) => `${(100 * Math.max(0, value - start)) / (1 - start)}%`;
  const items = rows.map((row) => {
    const interval = createElement("span", { class: "gallery-interval" });
    interval.style.left = toShare(row.low);
    interval.style.right = `calc(100% - ${toShare(row.high)})`;
    const dot = createElement("span", { class: "gallery-point" });
    dot.style.left = toShare(row.value);
    return createElement(
      "li",
      { class: "gallery-row" },
      createElement("span", {}, row.label),
      createElement("span", { class: "gallery-track", "aria-hidden": "true" }, interval, dot),
      createElement("span", { class: "gallery-value" }, formatPercent(row.value)),
    );
  });
  const range = `${formatAxisPercent(start)} to 100%`;
  return [createElement("ul", { class: "gallery-rows" }, ...items), `Correct answers, ${range}, ${INTERVAL_NOTE}.`];
}

/**
 * Describe curves in words.
 *
 * @param {object} figure - A parsed figure of curves.
 * @returns {string} The first, the best and the last value of each.
 */
export function describeLines({ axis, series }) {
  const parts = series.map(({ label, points }) => {
    const best = points.reduce((a, b) => (b[1] > a[1] ? b : a));
    const [first, last] = [points[0], points.at(-1)];
    const name = ([x, share]) => `${formatPercent(share)} at ${axis} ${formatInteger(x)}`;
    return `${label}: ${name(first)}, at most ${name(best)}, ${name(last)}`;
  });
  return `Correct answers by ${axis}. ${parts.join(". ")}.`;
}

/** List round positions along an axis. */
export function listPositions(low, high) {
  const step = STEPS.find((size) => (high - low) / size <= MAX_LABELS) ?? high - low;
  const positions = [];
  for (let x = Math.ceil(low / step) * step; x <= high; x += step) positions.push(x);
  return positions;
}

function createLines(figure) {
  const { axis, series } = figure;
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const toX = (x) => FRAME.left + ((x - low) / (high - low || 1)) * (WIDTH - FRAME.left - FRAME.right);
  const toY = (share) => FRAME.top + (1 - share) * (HEIGHT - FRAME.top - FRAME.bottom);
  const svg = createSvgElement(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": describeLines(figure), class: "gallery-curves" },
    ...TICKS.flatMap((share) => createHorizontalLine(toY(share), formatAxisPercent(share))),
    ...listPositions(low, high).map((x) => createLabel(toX(x), HEIGHT - FRAME.bottom + 13, formatInteger(x), "middle")),
    createLabel(WIDTH - FRAME.right, HEIGHT - 3, axis, "end"),
    ...series.flatMap(({ points }, index) => createSeries(points, formatColour(getClassColour(index)), toX, toY)),
  );
  const legend = series.length > 1 ? [createLegend(series)] : [];
  return [createElement("div", {}, ...legend, svg), `Correct answers by ${axis}, ${INTERVAL_NOTE}.`];
}

function createHorizontalLine(y, label) {
  const path = createSvgElement("path", { d: `M${FRAME.left} ${y}H${WIDTH - FRAME.right}`, class: "gallery-line" });
  return [path, createLabel(FRAME.left - 5, y + 3.5, label, "end")];
}

function createLabel(x, y, text, anchor) {
  return createSvgElement("text", { x, y, "text-anchor": anchor, class: "gallery-label" }, text);
}

function createSeries(points, colour, toX, toY) {
  const upper = points.map(([x, , , high]) => `${toX(x)} ${toY(high)}`);
  const lower = points.map(([x, , low]) => `${toX(x)} ${toY(low)}`).reverse();
  const line = points.map(([x, share]) => `${toX(x)} ${toY(share)}`);
  return [
    createSvgElement("path", { d: `M${[...upper, ...lower].join("L")}Z`, fill: colour, opacity: 0.22 }),
    createSvgElement("path", { d: `M${line.join("L")}`, fill: "none", stroke: colour, "stroke-width": 2 }),
  ];
}

function createLegend(series) {
  const keys = series.map(({ label }, index) => {
    const swatch = createElement("span", { class: "gallery-swatch" });
    swatch.style.background = formatColour(getClassColour(index));
    return createElement("span", { class: "gallery-key" }, swatch, label);
  });
  return createElement("div", { class: "gallery-legend" }, ...keys);
}
