/** Panel: the answer by tick, as bars of classes or as cells of positions. */

import { measureText, Painter } from "../../common/canvas.js";
import { formatColour, formatGradient, getClassColour } from "../../common/colour.js";
import { formatCount, formatProbability } from "../../common/format.js";
import { clamp, readShare } from "../../common/validate.js";
import { findLargest, getLabel } from "../describe.js";
import { drawHeatMap } from "../images.js";
import { layOutCells } from "../layout.js";
import { listClassKeys, writeLegend } from "../panel.js";

const ALL_TICKS = "all ticks \u2192";
const BAR_HEIGHT = 22;
const BARS_TOP = 20;
const BAR_NUMBER_WIDTH = 66;
const STRIP_GUTTER = 46;
const MAX_POSITIONS_IN_WORDS = 64;

/**
 * Return how far a probability is above guessing.
 *
 * @param {{classes: number}} answer - The answer.
 * @param {number} probability - Probability of the chosen class.
 * @returns {number} 0 where all classes are equally likely, 1 where one is certain.
 */
export function computeColourStrength({ classes }, probability) {
  return clamp((readShare(probability) - 1 / classes) / (1 - 1 / classes), 0, 1);
}

/**
 * Return the height of the heat map of all ticks below the cells of an answer.
 *
 * @param {number} ticks - Ticks of the thought.
 * @param {number} positions - Positions of the answer.
 * @returns {number} Pixels; 0 if there is a single tick.
 */
export function computeStripHeight(ticks, positions) {
  return ticks > 1 ? Math.max(2, Math.min(20, 160 / positions)) * positions : 0;
}

/**
 * Return the names of the positions of an answer.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @param {number} positions - How many positions the answer has.
 * @returns {string[] | null} Names that the task gives, or the items of the input; null if there is not one for each position.
 */
export function getPositionNames({ input }, positions) {
  const { places = [], items = [] } = input ?? {};
  return [places, items].find((names) => names.length === positions) ?? null;
}

/**
 * Draw the answer at every tick: positions downwards, ticks to the right.
 *
 * @param {Painter} painter - Draws.
 * @param {import("../panel.js").ThoughtView} view - What is shown.
 * @param {{left: number, top: number, width: number, height: number}} strip - Where it goes.
 * @param {string[] | null} names - Names of the positions.
 */
export function drawAnswerStrip(painter, view, strip, names) {
  if (!strip.height) return;
  const { thought, images, theme } = view;
  const { answer } = thought;
  const rowHeight = strip.height / answer.size;
  painter.drawText(ALL_TICKS, strip.left, strip.top - 10, { colour: theme.muted, size: 11 });
  const style = { align: "right", size: 10, colour: theme.muted, maxWidth: strip.left - 8 };
  for (let index = 0; index < answer.size; index += Math.ceil(10 / rowHeight)) {
    const name = names ? `${index + 1}: ${names[index]}` : `${index + 1}.`;
    painter.drawText(name, strip.left - 6, strip.top + rowHeight * (index + 0.5), style);
  }
  const image = images.get("answer", thought.computedTicks, answer.size, (column, row) => {
    const strength = computeColourStrength(answer, answer.probability[column][row]);
    return [...getClassColour(answer.chosen[column][row]), strength];
  });
  drawHeatMap(painter, view, image, strip);
}

// --- classes ---

function prepareClasses(view, { size, shown }) {
  const { theme, parts, thought } = view;
  const keys = [[theme.certainty, "top answer"]];
  writeLegend(view, "answer", [...keys, [formatGradient(theme.amount), "probability, 0 to 100%", "band"]]);
  const many = size > shown.length ? ` The ${shown.length} most likely of ${size} answers are shown.` : "";
  const when = thought.computedTicks > 1 ? ": bars at this tick, strip over all ticks" : "";
  parts["answer-caption"].textContent = `Probability of each answer${when}.${many}`;
}

function describeClasses({ tick }, answer) {
  const row = answer.rows[tick - 1];
  const best = findLargest(row);
  return `At tick ${tick} the most likely answer is ${getLabel(answer, best)}, with ${formatProbability(row[best])}`;
}

/**
 * List the bars of an answer, the last one for all classes without a bar of their own.
 *
 * @param {object} answer - An answer of kind "classes".
 * @param {number} tick - The tick, from 1.
 * @returns {{name: string, value: number, isBest: boolean}[]} Name, probability, and whether it is the likeliest.
 */
export function listBars(answer, tick) {
  const { rows, size, shown } = answer;
  const row = rows[tick - 1];
  const best = findLargest(row);
  const bars = shown.map((index) => ({ name: getLabel(answer, index), value: row[index], isBest: index === best }));
  const others = size - shown.length;
  if (!others) return bars;
  const rest = 1 - shown.reduce((sum, index) => sum + row[index], 0);
  return [...bars, { name: `${others} others`, value: rest, isBest: !shown.includes(best) }];
}

function layOutBars(painter, { thought }, answer) {
  const names = answer.shown.map((index) => painter.measureText(getLabel(answer, index), 12, 600));
  const longest = Math.max(...names, answer.size > answer.shown.length ? 62 : 0);
  const left = clamp(longest + 14, 24, painter.width * 0.32);
  const stripWidth = thought.computedTicks > 1 ? clamp(painter.width * 0.28, 60, 260) : 0;
  return { left, width: painter.width - left - BAR_NUMBER_WIDTH - stripWidth - 4, stripWidth };
}

function drawBar(painter, bar, row, { left, width }) {
  const { theme } = painter;
  const y = BARS_TOP + BAR_HEIGHT * row + BAR_HEIGHT / 2;
  const weight = bar.isBest ? 700 : 400;
  painter.drawText(bar.name, left - 8, y, { align: "right", maxWidth: left - 10, weight });
  painter.fillRect(left, y - 7, width, 14, theme.line);
  painter.fillRect(left, y - 7, width * readShare(bar.value), 14, bar.isBest ? theme.certainty : theme.muted);
  const number = formatProbability(readShare(bar.value));
  painter.drawText(number, left + width + BAR_NUMBER_WIDTH - 4, y, { align: "right", weight });
}

function drawClasses(view, answer) {
  const { theme, tick, parts } = view;
  const bars = listBars(answer, tick);
  const painter = new Painter(parts.answer, theme, BARS_TOP + BAR_HEIGHT * bars.length + 4);
  const layout = layOutBars(painter, view, answer);
  for (const [row, bar] of bars.entries()) drawBar(painter, bar, row, layout);
  if (layout.stripWidth) drawClassStrip(painter, view, answer, layout);
}

function drawClassStrip(painter, view, { rows, shown }, { left, width, stripWidth }) {
  const { thought, theme, tick, images } = view;
  const style = { colour: theme.muted, size: 11 };
  painter.drawText(`at tick ${tick}`, left, 8, { ...style, maxWidth: width + BAR_NUMBER_WIDTH });
  painter.drawText(ALL_TICKS, painter.width - stripWidth, 8, { ...style, maxWidth: stripWidth });
  const image = images.get("answer", thought.computedTicks, shown.length, (column, row) => {
    return theme.amount[Math.round(readShare(rows[column][shown[row]]) * 255)];
  });
  const strip = { left: painter.width - stripWidth + 1, top: BARS_TOP + 1 };
  drawHeatMap(painter, view, image, { ...strip, width: stripWidth - 2, height: BAR_HEIGHT * shown.length - 2 });
}

// --- positions ---

function preparePositions(view, answer) {
  writeLegend(view, "answer", listClassKeys(answer));
  const strip = " Below: all positions (rows) over all ticks (columns).";
  view.parts["answer-caption"].textContent =
    `One answer per position; stronger colour means higher probability.${view.thought.computedTicks > 1 ? strip : ""}`;
}

function describePositions({ tick }, answer) {
  const indices = answer.chosen[tick - 1].slice(0, MAX_POSITIONS_IN_WORDS);
  const names = indices.map((index) => getLabel(answer, index)).join(" ");
  const more = answer.size > MAX_POSITIONS_IN_WORDS ? " and so on" : "";
  return `At tick ${tick} the ${formatCount(answer.size, "position")} read ${names}${more}`;
}

/**
 * Return a function that shortens labels to their initials, where many positions have labels with distinct initials.
 *
 * @param {{size: number, labels: string[]}} answer - The answer.
 * @returns {(label: string) => string} Returns what to show of a label.
 */
export function selectLabelForm({ size, labels }) {
  const initials = new Set(labels.map((label) => label[0]));
  return size > 24 && initials.size === labels.length ? (label) => label.slice(0, 1) : (label) => label;
}

function drawPositions(view, answer) {
  const { thought, theme, parts } = view;
  const { size, labels } = answer;
  const names = getPositionNames(thought, size);
  const shorten = selectLabelForm(answer);
  const isFew = size <= 8;
  const [fontSize, rowHeight] = isFew ? [18, 60] : [13, 50];
  const ruler = parts.answer.getContext("2d");
  const widths = labels.slice(0, 64).map((label) => measureText(ruler, theme, shorten(label), fontSize, 600));
  const cellWidth = clamp(Math.max(...widths, 8) + 14, isFew ? 52 : 24, 84);
  const width = parts.answer.clientWidth;
  const { places, rows } = layOutCells(size, names ? (thought.input.group ?? 1) : 1, cellWidth, width);
  const height = computeStripHeight(thought.computedTicks, size);
  const strip = { left: STRIP_GUTTER, top: rows * rowHeight + 22, width: width - STRIP_GUTTER - 2, height };
  const painter = new Painter(parts.answer, theme, strip.top + strip.height + 6);
  const cell = { width: cellWidth, height: rowHeight, fontSize, shorten, names };
  for (const [index, { x, row }] of places.entries())
    drawPosition(painter, view, answer, index, x, row * rowHeight, cell);
  drawAnswerStrip(painter, view, strip, names);
}

function drawPosition(painter, { tick, theme }, answer, index, left, top, { width, height, fontSize, shorten, names }) {
  const choice = answer.chosen[tick - 1][index];
  const middle = left + width / 2 - 1;
  const name = names ? names[index] : index < 99 ? `${index + 1}.` : String(index + 1);
  painter.drawText(name, middle, top + 8, { align: "center", size: 11, colour: theme.muted, maxWidth: width - 4 });
  const strength = computeColourStrength(answer, answer.probability[tick - 1][index]);
  painter.drawCell(left, top + 17, width - 3, height - 24, formatColour(getClassColour(choice), strength * 0.75));
  const style = { align: "center", size: fontSize, weight: 600, maxWidth: width - 6 };
  painter.drawText(shorten(getLabel(answer, choice)), middle, top + 17 + (height - 24) / 2, style);
}

// --- the panel ---

/** Return the answer, unless a panel of its own shows it. */
function select({ answer, stack }) {
  return answer?.kind === "spoken" || stack ? null : answer;
}

function prepare(view, answer) {
  view.parts["answer-title"].textContent = view.thought.computedTicks > 1 ? "Answer by tick" : "Answer";
  (answer.kind === "classes" ? prepareClasses : preparePositions)(view, answer);
}

function draw(view, answer) {
  (answer.kind === "classes" ? drawClasses : drawPositions)(view, answer);
}

function describe(view, answer) {
  return (answer.kind === "classes" ? describeClasses : describePositions)(view, answer);
}

/** @type {import("../panel.js").Panel} */
export const answerPanel = { name: "answer", select, prepare, draw, describe };
