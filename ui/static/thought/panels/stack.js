/** Panel: brackets, and what the answer believes to lie open on top of their stack. */

import { Painter } from "../../common/canvas.js";
import { formatColour, getClassColour } from "../../common/colour.js";
import { formatCount, formatProbability } from "../../common/format.js";
import { clamp, readInteger, readSeries, readShare } from "../../common/validate.js";
import { layOutCells } from "../layout.js";
import { listClassKeys, writeLegend } from "../panel.js";
import { computeColourStrength, computeStripHeight, drawAnswerStrip } from "./answer.js";

const TOPS = ["\u2013", "(", "[", "\u00d7"]; // nothing is open, a round one, a square one, broken
const NOTHING = 0;
const BROKEN = 3;
const HEADING_HEIGHT = 44;
const GUTTER = 58;
const STEPS_HEIGHT = 48;

/**
 * @typedef {object} Stack
 * @property {number} size - How many brackets there are.
 * @property {number[]} depths - How deep the stack is after each bracket.
 * @property {number[]} tops - What lies on top of it after each bracket, as a class of the answer.
 */

/**
 * Parse a stack.
 *
 * @param {Record<string, unknown>} stack - The record's part on the stack.
 * @param {object | null} input - The parsed input, a sequence of brackets.
 * @param {object | null} answer - The parsed answer: one position a bracket, four classes.
 * @returns {Stack | null} The stack; null if something does not match.
 */
export function parseStack(stack, input, answer) {
  const size = input?.kind === "sequence" ? input.items.length : 0;
  const depths = readSeries(stack.depths, size);
  const tops = readSeries(stack.tops, size);
  if (!size || !depths || !tops) return null;
  if (answer?.kind !== "positions" || answer.size !== size || answer.classes !== TOPS.length) return null;
  return {
    size,
    depths: depths.map((depth) => readInteger(depth, 0, size)),
    tops: tops.map((top) => readInteger(top, NOTHING, BROKEN)),
  };
}

/**
 * Return what the answer believes to lie on top.
 *
 * @param {object} answer - The parsed answer.
 * @param {number} tick - The tick, from 1.
 * @param {number} index - After which bracket.
 * @returns {number} A class of the answer.
 */
export function getPrediction(answer, tick, index) {
  return clamp(answer.chosen[tick - 1][index], NOTHING, BROKEN);
}

/**
 * Describe the verdict on all brackets: the last prediction.
 *
 * @param {object} answer - The parsed answer.
 * @param {Stack} stack - The stack.
 * @param {number} tick - The tick, from 1.
 * @returns {string[]} The verdict, and its probability and correctness.
 */
export function describeVerdict(answer, { size, tops }, tick) {
  const prediction = getPrediction(answer, tick, size - 1);
  const top = tops[size - 1];
  const open = `not balanced, ${TOPS[prediction]} is left open`;
  const verdict = prediction === NOTHING ? "balanced" : prediction === BROKEN ? "not balanced, closed wrongly" : open;
  const isSameVerdict = (prediction === NOTHING) === (top === NOTHING);
  const judgement = prediction === top ? "correct" : isSameVerdict ? "correct for a wrong reason" : "wrong";
  const probability = formatProbability(readShare(answer.probability[tick - 1][size - 1]));
  return [verdict, `${probability} probability, ${judgement}`];
}

function prepare(view) {
  writeLegend(view, "stack", listClassKeys(view.thought.answer));
}

function layOut(width, { size, depths }, ticks) {
  const room = width - GUTTER - 2;
  const cellWidth = clamp(Math.floor(room / size), 24, 44);
  const { places, rows } = layOutCells(size, 1, cellWidth, room);
  const deepest = Math.max(...depths, 1);
  const step = clamp(STEPS_HEIGHT / deepest, 2, 12);
  const profile = deepest * step + 6;
  const block = profile + 74;
  const top = HEADING_HEIGHT + rows * block + 18;
  const strip = { left: GUTTER, top, width: room, height: computeStripHeight(ticks, size) };
  return { places, rows, cellWidth, step, profile, block, strip };
}

function draw(view, stack) {
  const { thought, tick, theme, parts } = view;
  const layout = layOut(parts.stack.clientWidth, stack, thought.computedTicks);
  const { places, rows, profile, block, strip } = layout;
  const painter = new Painter(parts.stack, theme, strip.top + strip.height + 6);
  const [verdict, details] = describeVerdict(thought.answer, stack, tick);
  painter.drawText(`tick ${tick}: ${verdict}`, 0, 10, { weight: 600, maxWidth: painter.width });
  painter.drawText(details, 0, 28, { maxWidth: painter.width });
  for (let row = 0; row < rows; row++) drawLabels(painter, HEADING_HEIGHT + row * block + profile);
  for (const [index, { x, row }] of places.entries()) {
    const floor = HEADING_HEIGHT + row * block + profile;
    drawDepth(painter, stack, index, GUTTER + x, floor, layout);
    drawPrediction(painter, view, stack, index, { left: GUTTER + x, floor, cellWidth: layout.cellWidth });
  }
  drawAnswerStrip(painter, view, strip, thought.input.items);
}

function drawLabels(painter, floor) {
  const style = { size: 11, colour: painter.theme.muted };
  painter.drawText("depth", 0, floor - 8, style);
  painter.drawText("brackets", 0, floor + 12, style);
  painter.drawText("predicted", 0, floor + 37, style);
}

function drawDepth(painter, { depths, tops }, index, left, floor, { cellWidth, step }) {
  const height = depths[index] * step + 2;
  const colour = tops[index] === BROKEN ? painter.theme.line : painter.theme.muted;
  painter.fillRect(left, floor - height, cellWidth, height, colour, 0.55);
}

function drawPrediction(painter, { thought, tick, theme }, { tops }, index, { left, floor, cellWidth }) {
  const { answer, input } = thought;
  const prediction = getPrediction(answer, tick, index);
  const middle = left + cellWidth / 2 - 1;
  painter.drawText(input.items[index], middle, floor + 12, { align: "center", size: 18, weight: 600 });
  const strength = computeColourStrength(answer, answer.probability[tick - 1][index]);
  painter.drawCell(left, floor + 25, cellWidth - 3, 26, formatColour(getClassColour(prediction), strength * 0.75));
  painter.drawText(TOPS[prediction], middle, floor + 38, { align: "center", size: 15, weight: 600 });
  if (prediction === tops[index]) return;
  painter.strokeRect(left, floor + 25, cellWidth - 3, 26, theme.text, 2);
  painter.drawText(TOPS[tops[index]], middle, floor + 61, { align: "center", size: 12 });
}

function describe({ thought, tick }, stack) {
  const wrong = stack.tops.filter((top, index) => top !== getPrediction(thought.answer, tick, index)).length;
  const verdict = describeVerdict(thought.answer, stack, tick).join(": ");
  const brackets = formatCount(stack.size, "bracket");
  return `At tick ${tick} it predicts ${verdict}; its prediction is wrong after ${wrong} of ${brackets}`;
}

/** @type {import("../panel.js").Panel} */
export const stackPanel = { name: "stack", select: (thought) => thought.stack, prepare, draw, describe };
