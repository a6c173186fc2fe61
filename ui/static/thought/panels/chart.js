/** Panel: energy and certainty by tick, with the lines of the halting policy. */

import { Painter } from "../../common/canvas.js";
import { formatCount, formatDecimal, formatSignificant } from "../../common/format.js";
import { findRoundStep, findTickStep } from "../../common/scale.js";
import { clamp, isNumber } from "../../common/validate.js";
import { drawPicture } from "../images.js";
import { writeLegend } from "../panel.js";

const PLOT_HEIGHT = 240;
const PHASE_ROW_HEIGHT = 24;
const MARGIN = { left: 14, leftWithEnergy: 44, right: 40, top: 38, bottom: 36 };
const CERTAINTY_LABELS = [0, 0.25, 0.5, 0.75, 1];
const THRESHOLD_REACH = 9; // pixels between a pointer and the line that it takes hold of

/**
 * Build a scale of round numbers around all values. Values that are nearly equal do not look far apart.
 *
 * @param {number[]} values - Values of which at least one is finite.
 * @returns {{min: number, max: number, labels: number[]}} Its ends, and the values that are labelled.
 */
export function buildEnergyScale(values) {
  const finite = values.filter(isNumber);
  let [min, max] = [Math.min(...finite), Math.max(...finite)];
  const minRange = Math.max(Math.abs(min), Math.abs(max), 0.01) * 0.4;
  if (max - min < minRange) [min, max] = [min - minRange / 2, max + minRange / 2];
  const step = findRoundStep((max - min) / 5);
  const first = Math.floor(min / step);
  const last = Math.ceil(max / step);
  const labels = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  return { min: first * step, max: last * step, labels };
}

/**
 * Return the tick under a pointer.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @param {number} x - Pixels from the left edge of the canvas.
 * @param {number} width - Width of the canvas in pixels.
 * @returns {number} The tick, from 1 to the last one that was computed.
 */
export function findTickAt(thought, x, width) {
  const left = getLeftMargin(thought);
  const share = (x - left) / (width - left - MARGIN.right);
  return clamp(Math.ceil(share * thought.iterations), 1, thought.computedTicks);
}

function getLeftMargin({ energy }) {
  return energy ? MARGIN.leftWithEnergy : MARGIN.left;
}

/**
 * @typedef {object} ChartLayout
 * @property {number} left - Left edge of the plot; likewise `right`, `top` and `bottom`.
 * @property {number} rowHeight - Height of the row of phases below the plot.
 * @property {(tick: number) => number} toX - Middle of a tick.
 * @property {Record<string, (value: number) => number>} toY - Height of a value, by quantity.
 * @property {Record<string, (y: number) => number>} toLevel - Value at a height within the plot, by quantity.
 * @property {{quantity: string, level: number, y: number, index: number}[]} thresholds - Lines of the halting policy that can be drawn.
 * @property {{min: number, max: number, labels: number[]} | null} scale - Scale of energies.
 *
 * @typedef {ChartLayout & {painter: Painter, view: import("../panel.js").ThoughtView}} Plot
 */

/**
 * Lay out the chart of a thought.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @param {number} width - Width of the canvas in pixels.
 * @returns {ChartLayout} Edges and scales.
 */
export function layOutChart(thought, width) {
  const { energy, schedule, iterations, thresholds } = thought;
  const rowHeight = schedule ? PHASE_ROW_HEIGHT : 0;
  const [left, right] = [getLeftMargin(thought), width - MARGIN.right];
  const [top, bottom] = [MARGIN.top, PLOT_HEIGHT - MARGIN.bottom];
  const energyLevels = thresholds.filter(({ quantity }) => quantity === "energy").map(({ level }) => level);
  const scale = energy && buildEnergyScale([...energy, ...energyLevels]);
  const toX = (tick) => left + ((tick - 0.5) / iterations) * (right - left);
  const certaintyToY = (value) => bottom - value * (bottom - top);
  const toCertainty = (y) => clamp((bottom - y) / (bottom - top), 0, 1);
  const toY = {
    certainty: certaintyToY,
    energy: (value) => certaintyToY((value - scale.min) / (scale.max - scale.min)),
  };
  const toLevel = { certainty: toCertainty, energy: (y) => scale.min + toCertainty(y) * (scale.max - scale.min) };
  const levels = thresholds.map(({ quantity, level }, index) => ({ quantity, level, index }));
  const known = levels.filter(({ quantity }) => quantity === "certainty" || (quantity === "energy" && energy));
  const lines = known.map((line) => ({ ...line, y: toY[line.quantity](line.level) }));
  return { left, right, top, bottom, rowHeight, toX, toY, toLevel, thresholds: lines, scale };
}

/**
 * Return the threshold that a pointer takes hold of.
 *
 * @param {ChartLayout} layout - The layout of the chart.
 * @param {number} y - Pixels from the upper edge of the canvas.
 * @returns {{quantity: string, level: number, y: number, index: number} | null} The nearest one; null if none is near.
 */
export function findThresholdNear({ thresholds }, y) {
  const near = thresholds.filter((line) => Math.abs(line.y - y) <= THRESHOLD_REACH);
  return near.sort((first, second) => Math.abs(first.y - y) - Math.abs(second.y - y))[0] ?? null;
}

function buildPlot(view) {
  const { thought, theme, parts } = view;
  const painter = new Painter(parts.chart, theme, PLOT_HEIGHT + (thought.schedule ? PHASE_ROW_HEIGHT : 0));
  return { painter, view, ...layOutChart(thought, painter.width) };
}

function draw(view) {
  const { energy, certainty, schedule } = view.thought;
  const plot = buildPlot(view);
  if (schedule) drawPhases(plot);
  drawCurrentTick(plot);
  drawTickAxis(plot);
  drawCertaintyAxis(plot);
  if (energy) drawEnergyAxis(plot);
  drawUnusedTicks(plot);
  if (energy) drawSeries(plot, energy, "energy");
  drawSeries(plot, certainty, "certainty");
  drawFlags(plot);
  drawThresholds(plot);
  drawInputTicks(plot);
}

function drawLevel({ painter, left, right }, y, colour, width = 1, dash = []) {
  const ends = [
    [left, y],
    [right, y],
  ];
  painter.strokeLine(ends, colour, width, dash);
}

/** Draw what is shown when: a row below the plot, and every other phase as a band up through it. */
function drawPhases({ painter, view, toX, right, top, bottom, rowHeight }) {
  for (const [index, phase] of view.thought.schedule.entries()) {
    const left = toX(phase.from - 0.5);
    const width = Math.min(toX(phase.until + 0.5), right) - left;
    if (width <= 0) continue;
    painter.fillRect(left, top, width, bottom - top + rowHeight, view.theme.text, index % 2 ? 0.03 : 0.09);
    const side = Math.min(20, width - 2);
    if (phase.picture !== null) {
      drawPicture(painter, view, left + (width - side) / 2, bottom + (rowHeight - side) / 2, side, phase.picture);
    } else if (phase.name.length * 6 <= width + 6) {
      const style = { align: "center", size: 11, weight: 600 };
      painter.drawText(phase.name, left + width / 2, bottom + rowHeight / 2, style);
    }
  }
}

function drawCurrentTick({ painter, view, toX, top, bottom }) {
  if (view.thought.iterations === 1) return;
  const width = Math.max(toX(2) - toX(1), 2);
  painter.fillRect(toX(view.tick) - width / 2, top, width, bottom - top, view.theme.text, 0.12);
}

function drawTickAxis(plot) {
  const { painter, view, toX, left, right, bottom, rowHeight } = plot;
  const step = findTickStep(Math.ceil(30 / (toX(2) - toX(1))));
  const style = { align: "center", colour: view.theme.muted, size: 11 };
  const y = bottom + rowHeight;
  for (let at = step; at <= view.thought.iterations; at += step) painter.drawText(String(at), toX(at), y + 11, style);
  if (step > 2) painter.drawText("1", toX(1), y + 11, style);
  painter.drawText("tick", (left + right) / 2, y + 27, style);
  drawLevel(plot, bottom, view.theme.muted);
}

function drawCertaintyAxis(plot) {
  const { painter, view, right, toY } = plot;
  const colour = view.theme.certainty;
  for (const at of CERTAINTY_LABELS) painter.drawText(String(at), right + 6, toY.certainty(at), { colour, size: 11 });
  painter.drawText("certainty", right + 36, 8, { align: "right", colour, size: 11 });
  if (view.thought.energy) return; // which has grid lines of its own
  for (const at of [0, 0.5, 1]) drawLevel(plot, toY.certainty(at), view.theme.line);
}

function drawEnergyAxis(plot) {
  const { painter, view, left, toY, scale } = plot;
  const colour = view.theme.energy;
  for (const at of scale.labels) {
    drawLevel(plot, toY.energy(at), view.theme.line);
    painter.drawText(formatSignificant(at), left - 6, toY.energy(at), { align: "right", colour, size: 11 });
  }
  painter.drawText("energy", 2, 8, { colour, size: 11 });
}

/** Hatch the ticks after the halting tick: the model did not need them. */
function drawUnusedTicks({ painter, view, toX, right, top, bottom, thresholds }) {
  const { thought, isPlaying, theme } = view;
  const unused = thought.iterations - thought.ticks;
  if (!unused || isPlaying) return;
  const left = toX(thought.ticks + 0.5);
  const [width, height] = [right - left, bottom - top];
  painter.context.save();
  painter.context.beginPath();
  painter.context.rect(left, top, width, height);
  painter.context.clip();
  painter.withAlpha(0.16, () => drawHatching(painter, left - height, right, top, bottom));
  painter.context.restore();
  const word = thought.verdict === "gave up" ? "not spent" : "saved";
  const text = width > 96 ? `${formatCount(unused, "tick")} ${word}` : word;
  const rows = [0.5, 0.3, 0.7].map((share) => top + share * height);
  const y = rows.find((row) => thresholds.every((threshold) => Math.abs(threshold.y - row) > 24));
  const style = { align: "center", colour: theme.muted, halo: true };
  if (width > 44 && y) painter.drawText(text, left + width / 2, y, style);
}

function drawHatching(painter, from, to, top, bottom) {
  for (let x = from; x < to; x += 9) {
    const line = [
      [x, bottom],
      [x + bottom - top, top],
    ];
    painter.strokeLine(line, painter.theme.text);
  }
}

/** Draw a line with a mark a tick; what comes after the current tick or after the halting tick is pale, and is left out while it plays. */
function drawSeries({ painter, view, toX, toY }, values, quantity) {
  const { thought, tick, isPlaying, theme } = view;
  const points = values.map((value, index) => [toX(index + 1), toY[quantity](value)]);
  const isCrowded = toX(2) - toX(1) < 7;
  const drawPart = (part) => {
    const known = part.filter((point) => isNumber(point[1]));
    painter.strokeLine(known, theme[quantity], 2);
    for (const point of isCrowded ? known.slice(-1) : known) drawMark(painter, point, quantity, theme[quantity]);
  };
  const lastClear = Math.min(tick, thought.ticks);
  if (!isPlaying && lastClear < points.length) painter.withAlpha(0.3, () => drawPart(points.slice(lastClear - 1)));
  drawPart(points.slice(0, lastClear));
}

function drawMark(painter, [x, y], quantity, colour) {
  if (quantity === "energy") painter.fillDisc([x, y], 3.5, colour);
  else painter.fillRect(x - 3, y - 3, 6, 6, colour);
}

/** Draw flags above the plot: where the thought stopped, and the tick that answers if that is another one. */
function drawFlags(plot) {
  const { ticks, answerTick, iterations } = plot.view.thought;
  if (plot.view.isPlaying || iterations === 1) return;
  const end = ticks < iterations ? "stopped" : "end";
  const hasTwo = answerTick !== ticks;
  const areClose = hasTwo && plot.toX(ticks) - plot.toX(answerTick) < 60;
  if (hasTwo) drawFlag(plot, answerTick, areClose ? "answer " : "answer", areClose ? "right" : "center");
  drawFlag(plot, ticks, areClose ? ` ${end}` : end, areClose ? "left" : "center");
}

function drawFlag({ painter, view, toX, left, right, top, bottom }, tick, text, align) {
  const x = toX(tick);
  const middle = align === "center" ? clamp(x, left + 24, right - 24) : x;
  const line = [
    [x, top - 4],
    [x, bottom],
  ];
  painter.strokeLine(line, view.theme.text, 1.5, [2, 3]);
  painter.drawText(text, middle, top - 11, { align, size: 11, weight: 600 });
}

/** Draw halting levels, named at the right: over the hatched ticks if there are any, where no line is crossed. */
function drawThresholds(plot) {
  const { painter, view, toX, left, right, top, thresholds } = plot;
  const hasRoom = right - toX(view.thought.ticks + 0.5) > 90;
  const occupied = [];
  for (const { quantity, level, y } of thresholds) {
    const colour = view.theme[quantity];
    drawLevel(plot, y, colour, 1.5, [5, 4]);
    const middle = y - 9 > top ? y - 9 : y + 10;
    const isFree = occupied.every((other) => Math.abs(other - middle) > 14);
    const isRight = (quantity === "certainty" || hasRoom) && isFree;
    if (isRight) occupied.push(middle);
    const text = `stop ${quantity === "energy" ? "below" : "above"} ${formatSignificant(level)}`;
    const style = { align: isRight ? "right" : "left", colour, size: 11, halo: true };
    painter.drawText(text, isRight ? right - 4 : left + 4, middle, style);
  }
}

/** Draw the ticks before an answer counts, behind a line. */
function drawInputTicks({ painter, view, toX, left, right: end, top, bottom }) {
  const { inputTicks, iterations } = view.thought;
  if (!inputTicks) return;
  const colour = view.theme.right;
  const right = Math.min(toX(Math.min(inputTicks, iterations) + 0.5), end);
  painter.fillRect(left, top, right - left, bottom - top, colour, 0.1);
  const line = [
    [right, top],
    [right, bottom],
  ];
  painter.strokeLine(line, colour, 1.5);
  const style = { align: "right", size: 11, colour, weight: 600, halo: true };
  if (right - left > 52) painter.drawText("input", right - 5, top + 9, style);
}

// --- in words ---

function prepare(view, { energy, ticks, computedTicks, iterations, answerTick, thresholds }) {
  const { theme, parts } = view;
  const quantities = energy ? "Energy and certainty" : "Certainty";
  const unused = computedTicks > ticks ? "Pale and hatched: what would have followed." : "Hatched: ticks not computed.";
  parts["chart-title"].textContent = `${quantities}${iterations > 1 ? " by tick" : ""}`;
  parts["chart-caption"].textContent = [
    energy ? "Energy: the model's learned estimate of what more thinking would gain. Low means stop." : "",
    "Certainty: how concentrated the answer is on one option. High does not mean correct.",
    ticks < iterations ? unused : "",
    answerTick < ticks ? `The answer is that of tick ${answerTick}.` : "",
    thresholds.length ? "Drag a dashed line to stop earlier or later." : "",
  ]
    .filter(Boolean)
    .join(" ");
  writeLegend(view, "chart", [energy && [theme.energy, "energy", "line"], [theme.certainty, "certainty", "line"]]);
}

/**
 * Describe how a quantity moved.
 *
 * @param {string} name - Its name.
 * @param {number[]} values - Its values by tick.
 * @returns {string} Such as "energy fell from 0.90 to 0.10".
 */
export function describeChange(name, values) {
  const [first, last] = [values[0], values.at(-1)];
  const verb = last < first ? "fell" : last > first ? "rose" : "stayed";
  return `${name} ${verb} from ${formatDecimal(first)} to ${formatDecimal(last)}`;
}

function describe(_, { energy, certainty, ticks }) {
  const changes = energy
    ? `${describeChange("Energy", energy.slice(0, ticks))} and ${describeChange("certainty", certainty.slice(0, ticks))}`
    : describeChange("Certainty", certainty.slice(0, ticks));
  return `${changes} over ${formatCount(ticks, "tick")}`;
}

/** Select the thought of a model with several ticks; that of a feed-forward model has nothing to draw by tick. */
function select(thought) {
  return thought.iterations > 1 ? thought : null;
}

/** @type {import("../panel.js").Panel} */
export const chartPanel = { name: "chart", select, prepare, draw, describe };
