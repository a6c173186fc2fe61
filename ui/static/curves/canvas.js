/** Drawing one chart: its lines on one canvas, the crosshair and the selection on another one above. */

import { Painter } from "../common/canvas.js";
import { formatAxisNumber, formatExact } from "../common/format.js";
import { listRoundNumbers } from "../common/scale.js";
import { clamp } from "../common/validate.js";
import { buildScale, formatLabel } from "./scales.js";

const MARGIN = { left: 56, right: 12, top: 10, bottom: 24 };
const FONT_SIZE = 11;
const LABEL_DISTANCE = 56; // pixels between labels of the lower axis
const CROWDED_DISTANCE = 12; // pixels between points below which they have no dots

/**
 * Where a chart goes on its canvas.
 *
 * @typedef {object} Layout
 * @property {{left: number, right: number, top: number, bottom: number}} box - The plot.
 * @property {import("./lines.js").Line[]} lines - All lines that have points.
 * @property {import("./scales.js").Scale} scale - Scale of the values.
 * @property {number} first - First position in sight.
 * @property {number} last - Last position in sight.
 * @property {(position: number) => number} toX - Where a position is.
 * @property {(value: number) => number} toY - Where a value is.
 * @property {(x: number) => number} toPosition - The position at a place.
 */

/**
 * Lay out a chart for what is in sight.
 *
 * @param {import("./state.js").CurvesState} state - What is shown.
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {{clientWidth: number, clientHeight: number}} canvas - Its canvas.
 * @returns {Layout} Its layout.
 */
export function layOutChart(state, chart, canvas) {
  const box = { ...MARGIN, right: canvas.clientWidth - MARGIN.right, bottom: canvas.clientHeight - MARGIN.bottom };
  const [first, last] = state.getRange(chart.axis);
  const lines = state.buildLines(chart);
  const isZoomed = state.zoom !== null && chart.axis === "step";
  const scale = buildScale(chart, state.getExtent(chart, lines), isZoomed);
  const width = Math.max(1, box.right - box.left);
  const height = box.bottom - box.top;
  return {
    box,
    lines,
    scale,
    first,
    last,
    toX: (position) => box.left + ((position - first) / (last - first)) * width,
    toY: (value) => box.bottom - clamp(scale.toShare(value), -9, 9) * height,
    toPosition: (x) => first + ((x - box.left) / width) * (last - first),
  };
}

/** Return half a pixel off a whole one, where a thin line is crisp. */
function toCrisp(place) {
  return Math.round(place) + 0.5;
}

/**
 * Draw the axes and lines of a chart.
 *
 * @param {HTMLCanvasElement} canvas - Its canvas.
 * @param {import("../common/theme.js").Theme} theme - Colours and font.
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {Layout} layout - Its layout.
 */
export function drawChart(canvas, theme, chart, layout) {
  const painter = new Painter(canvas, theme);
  const { context } = painter;
  const { box, lines } = layout;
  context.lineJoin = "round";
  drawValueAxis(painter, chart, layout);
  drawPositionAxis(painter, chart, layout);
  context.save();
  context.beginPath();
  context.rect(box.left - 3, box.top - 4, box.right - box.left + 7, box.bottom - box.top + 8);
  context.clip();
  for (const line of lines) if (line.isShown) drawLine(painter, layout, line);
  context.restore();
}

function drawText(painter, text, x, y, align, colour) {
  painter.drawText(text, x, y, { size: FONT_SIZE, align, colour });
}

function drawValueAxis(painter, chart, { box, scale, toY }) {
  const { line, muted } = painter.theme;
  for (const value of scale.labels) {
    const y = toCrisp(toY(value));
    strokeSegment(painter, [box.left, y], [box.right, y], line);
    drawText(painter, formatLabel(chart, value), box.left - 6, toY(value), "right", muted);
  }
}

function drawPositionAxis(painter, chart, layout) {
  const { box, toX } = layout;
  const { muted } = painter.theme;
  const ground = toCrisp(box.bottom);
  strokeSegment(painter, [box.left, ground], [box.right, ground], muted);
  for (const { position, text, middle } of listAxisLabels(layout, (label) => painter.measureText(label, FONT_SIZE))) {
    const x = toCrisp(toX(position));
    strokeSegment(painter, [x, ground], [x, ground + 4], muted);
    drawText(painter, text, middle, box.bottom + 14, "center", muted);
  }
  drawText(painter, chart.axis, 4, box.bottom + 14, "left", muted);
}

function strokeSegment(painter, from, to, colour, width = 1, dash = []) {
  painter.strokeLine([from, to], colour, width, dash);
}

/** List the labels of the lower axis: position, text, middle and half width. */
function listAxisLabels({ box, first, last, toX }, measure) {
  const count = Math.max(2, (box.right - box.left) / LABEL_DISTANCE);
  return listRoundNumbers(first, last, count, 1).values.map((position) => {
    const text = formatAxisNumber(position);
    const half = measure(text) / 2;
    return { position, text, half, middle: Math.min(toX(position), box.right + MARGIN.right - half) };
  });
}

/** Draw a line, with dots where its points lie far apart; noise is faint, under a strong smoothed line. */
function drawLine(painter, { box, toX, toY }, line) {
  const toPoints = (values) => line.at.map((position, index) => [toX(position), toY(values[index])]);
  const points = toPoints(line.value);
  if (line.smooth) {
    painter.withAlpha(0.3, () => painter.strokeLine(points, line.colour, 1));
    painter.strokeLine(toPoints(line.smooth), line.colour, 2, line.dash);
    return;
  }
  painter.strokeLine(points, line.colour, 1.75, line.dash);
  const steps = points.length - 1;
  const isCrowded = steps > 0 && (points.at(-1)[0] - points[0][0]) / steps < CROWDED_DISTANCE;
  if (isCrowded) return;
  for (const point of points) if (point[0] > box.left - 5) painter.fillDisc(point, 2.5, line.colour);
}

/**
 * Draw the crosshair of a chart, and the steps that are being selected.
 *
 * @param {HTMLCanvasElement} canvas - The upper canvas.
 * @param {import("../common/theme.js").Theme} theme - Colours and font.
 * @param {import("./state.js").CurvesState} state - What is shown.
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {Layout} layout - Its layout.
 * @param {{from: number, to: number} | null} selection - The steps that are being selected.
 */
export function drawOverlay(canvas, theme, state, chart, layout, selection) {
  const painter = new Painter(canvas, theme);
  painter.context.lineJoin = "round";
  if (selection && chart.axis === "step") drawSelection(painter, layout, selection);
  const position = state.crosshair[chart.axis];
  if (position === null || position < layout.first || position > layout.last) return;
  drawCrosshair(painter, state, layout, position);
  drawCrosshairLabel(painter, chart, layout, position);
}

function drawSelection(painter, { box, toX }, { from, to }) {
  const { accent } = painter.theme;
  const [left, right] = [from, to].sort((a, b) => a - b).map((step) => clamp(toX(step), box.left, box.right));
  painter.fillRect(left, box.top, right - left, box.bottom - box.top, accent, 0.18);
  for (const edge of [left, right]) strokeSegment(painter, [edge, box.top], [edge, box.bottom], accent);
}

function drawCrosshair(painter, state, { box, lines, toX, toY }, position) {
  const x = toX(position);
  const { muted, background } = painter.theme;
  strokeSegment(painter, [x, box.top - 4], [x, box.bottom], muted, 1, [3, 3]);
  for (const line of lines) {
    const index = line.isShown ? state.findNearest(line, position) : -1;
    if (index < 0) continue;
    const point = [toX(line.at[index]), toY(line.value[index])];
    if (point[0] >= box.left - 1 && point[0] <= box.right + 1) painter.fillDisc(point, 4, line.colour, background);
  }
}

/** Draw the position in full. Labels below it are covered whole: half of a label would read as another number. */
function drawCrosshairLabel(painter, chart, layout, position) {
  const { box, toX } = layout;
  const { text: colour, background } = painter.theme;
  const measure = (words) => painter.measureText(words, FONT_SIZE);
  const text = formatExact(position);
  const half = measure(text) / 2 + 5;
  const middle = clamp(toX(position), half, painter.width - half);
  const labels = listAxisLabels(layout, measure).map((label) => [label.middle - label.half, label.middle + label.half]);
  for (const [left, right] of [...labels, [4, 4 + measure(chart.axis)]]) {
    const isTouched = right > middle - half - 3 && left < middle + half + 3;
    if (isTouched) painter.fillRect(left - 1, box.bottom + 6, right - left + 2, 17, background);
  }
  painter.fillRect(middle - half, box.bottom + 5, 2 * half, 18, colour);
  drawText(painter, text, middle, box.bottom + 14, "center", background);
}
