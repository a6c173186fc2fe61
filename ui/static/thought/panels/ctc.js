/** Panel: numbers that are emitted one after the other, as by a CTC decoder. */

import { Painter } from "../../common/canvas.js";
import { formatColour, getClassColour } from "../../common/colour.js";
import { formatCount, replaceHyphens } from "../../common/format.js";
import { findTickStep } from "../../common/scale.js";
import { clamp, isNumber, readSeries } from "../../common/validate.js";
import { layOutCells } from "../layout.js";
import { writeLegend } from "../panel.js";

const BLOCK_HEIGHT = 54;
const BAR_WIDTH = 7;
const MAX_BAR_HEIGHT = 20;
const [IN_ORDER_HUE, OUT_OF_ORDER_HUE, EMPTY_HUE] = [0, 5, 7];

/**
 * @typedef {object} Emission
 * @property {number} tick - When it is emitted, from 1.
 * @property {number} value - The number.
 * @property {string} text - The number as the input writes it.
 * @property {number} sure - How sure it is, 0 to 1.
 * @property {boolean} isInOrder - Whether it is new and not below what came before.
 * @property {number} pause - Ticks since the emission before.
 * @property {number} gap - Distance to the number before.
 */

/**
 * Parse emissions. A run of the same item is one emission; the blank, which is one more than the last item, separates runs.
 *
 * @param {unknown} numbers - Values of the items of the input.
 * @param {object | null} input - The parsed input, a sequence.
 * @param {object | null} answer - The parsed answer, of kind "spoken".
 * @returns {{size: number, values: number[], all: Emission[]} | null} How many items there are, their values, and the emissions in their order; null if something does not match.
 */
export function parseEmissions(numbers, input, answer) {
  const size = answer?.kind === "spoken" ? answer.size : 0;
  const values = readSeries(numbers, size);
  if (!size || !values?.every(isNumber)) return null;
  if (input?.kind !== "sequence" || input.items.length !== size) return null;
  const starts = findStarts(answer.chosen, size);
  return { size, values, all: describeEmissions(starts, values, input.items, answer.probability) };
}

/** Find where runs of the same item begin, as [index of the tick, item]. */
function findStarts(chosen, blank) {
  return [...chosen.entries()].filter(([at, item]) => item !== blank && item !== (chosen[at - 1] ?? blank));
}

function describeEmissions(starts, values, items, probability) {
  const seen = new Set();
  let largest = Number.NEGATIVE_INFINITY;
  return starts.map(([at, item], index) => {
    const value = values[item];
    const previous = index ? starts[index - 1] : null;
    const isInOrder = value >= largest && !seen.has(item);
    const pause = previous ? at - previous[0] : at + 1;
    const gap = previous ? Math.abs(value - values[previous[1]]) : 0;
    largest = Math.max(largest, value);
    seen.add(item);
    return { tick: at + 1, value, text: items[item], sure: probability[at], isInOrder, pause, gap };
  });
}

function listEmitted({ all }, tick) {
  return all.filter((emission) => emission.tick <= tick);
}

// --- the list, as emitted so far ---

function drawList(painter, { all }, emitted, { places, cellWidth, top }) {
  const longestPause = Math.max(...all.map(({ pause }) => pause), 1);
  const widestGap = Math.max(...all.map(({ gap }) => gap), Number.MIN_VALUE);
  for (const [index, { x, row }] of places.entries()) {
    const emission = emitted[index];
    const bottom = top + row * BLOCK_HEIGHT + 22;
    drawSlot(painter, emission, x, bottom, cellWidth);
    if (!emission || !index) continue; // the wait before the first emission is no pause
    const middle = x + cellWidth / 2;
    drawBar(painter, middle - 9, bottom, (emission.pause / longestPause) * MAX_BAR_HEIGHT, painter.theme.muted);
    drawBar(painter, middle, bottom, (emission.gap / widestGap) * MAX_BAR_HEIGHT, painter.theme.right);
  }
}

function drawSlot(painter, emission, left, bottom, cellWidth) {
  const hue = emission ? (emission.isInOrder ? IN_ORDER_HUE : OUT_OF_ORDER_HUE) : EMPTY_HUE;
  const opacity = emission ? 0.05 + emission.sure * 0.35 : 0.06;
  painter.drawCell(left, bottom + 2, cellWidth - 3, 24, formatColour(getClassColour(hue), opacity));
  if (!emission) return;
  const style = { align: "center", weight: 600, maxWidth: cellWidth - 6 };
  painter.drawText(replaceHyphens(emission.text), left + cellWidth / 2 - 1, bottom + 15, style);
}

function drawBar(painter, left, bottom, height, colour) {
  painter.fillRect(left, bottom - Math.max(height, 1), BAR_WIDTH, Math.max(height, 1), colour);
}

// --- the staircase: ticks to the right, numbers upwards ---

function drawStairs(painter, { thought, tick, theme }, box, values, emitted) {
  const step = (box.right - box.left) / thought.computedTicks;
  const toX = (at) => box.left + (at - 0.5) * step;
  const least = Math.min(...values);
  const range = Math.max(...values) - least || 1;
  const toY = (value) => box.bottom - 8 - ((value - least) / range) * (box.bottom - box.top - 16);
  for (const value of values) drawLevel(painter, box, toY(value));
  const width = Math.max(step, 2);
  painter.fillRect(toX(tick) - width / 2, box.top, width, box.bottom - box.top, theme.text, 0.12);
  const points = emitted.map((emission) => [toX(emission.tick), toY(emission.value)]);
  painter.strokeLine(points, theme.muted, 1, [2, 3]);
  const tickStep = findTickStep(26 / step);
  for (let at = tickStep; at <= thought.computedTicks; at += tickStep) {
    painter.drawText(String(at), toX(at), box.bottom + 11, { align: "center", size: 11, colour: theme.muted });
  }
  const occupied = points.map(([x, y]) => ({ left: x - 5, right: x + 5, y }));
  for (const [index, { text, isInOrder }] of emitted.entries()) {
    painter.fillDisc(points[index], 4.5, isInOrder ? theme.certainty : theme.energy, "#ffffff");
    drawTextBeside(painter, replaceHyphens(text), points[index], box, occupied);
  }
}

function drawLevel(painter, { left, right }, y) {
  const ends = [
    [left, y],
    [right, y],
  ];
  painter.strokeLine(ends, painter.theme.line);
}

/**
 * Find room for a text beside a dot.
 *
 * @param {number[]} dot - [x, y] of the dot.
 * @param {number} width - Width of the text in pixels.
 * @param {{left: number, right: number}} box - Where the text must stay.
 * @param {{left: number, right: number, y: number}[]} occupied - What it must not cover.
 * @returns {number[] | null} Left edge and middle of the text; null if there is no room.
 */
export function findRoomBeside([x, y], width, box, occupied) {
  const candidates = [
    [x - 7 - width, y],
    [x + 7, y],
    [x - 3 - width, y - 10],
    [x + 3, y + 10],
  ];
  const isFree = ([left, top]) => {
    const isInside = left >= box.left && left + width <= box.right;
    return (
      isInside &&
      occupied.every((other) => left > other.right || left + width < other.left || Math.abs(other.y - top) > 11)
    );
  };
  return candidates.find(isFree) ?? null;
}

function drawTextBeside(painter, text, dot, box, occupied) {
  const width = painter.measureText(text, 11, 600);
  const room = findRoomBeside(dot, width, box, occupied);
  if (!room) return;
  painter.drawText(text, ...room, { size: 11, weight: 600 });
  occupied.push({ left: room[0], right: room[0] + width, y: room[1] });
}

// --- the panel ---

function prepare(view, { all }) {
  const { theme, parts } = view;
  const hasDisorder = all.some((emission) => !emission.isInOrder);
  writeLegend(view, "ctc", [
    [theme.certainty, "output"],
    hasDisorder && [theme.energy, "output out of order"],
    [theme.muted, "ticks waited"],
    [theme.right, "gap to the previous number"],
  ]);
  parts["ctc-caption"].textContent =
    "Each dot is a number, placed at the tick when the model outputs it. If the list is sorted, the dots only rise. Below: the " +
    "list so far; paler means lower probability. Bars: ticks waited before each number, and its gap to the previous one. In the " +
    "paper, larger gaps take longer.";
}

function draw(view, emissions) {
  const { thought, tick, theme, parts } = view;
  const { size, values, all } = emissions;
  const width = parts.ctc.clientWidth;
  const emitted = listEmitted(emissions, tick);
  const box = { left: 8, right: width - 8, top: 12, bottom: 12 + clamp(size * 22, 140, 260) };
  const longest = Math.max(...thought.input.items.map((item) => item.length));
  const cellWidth = clamp(longest * 7 + 12, 30, 84);
  const { places, rows } = layOutCells(Math.max(size, all.length), 1, cellWidth, width);
  const top = box.bottom + 42;
  const painter = new Painter(parts.ctc, theme, top + rows * BLOCK_HEIGHT + 2);
  drawStairs(painter, view, box, values, emitted);
  painter.drawText(`output by tick ${tick}: ${emitted.length} of ${size}`, 0, top - 12, { weight: 600 });
  drawList(painter, emissions, emitted, { places, cellWidth, top });
}

function describe({ tick }, emissions) {
  const emitted = listEmitted(emissions, tick);
  const disordered = emitted.filter((emission) => !emission.isInOrder).length;
  const order = disordered ? `, ${disordered} of them out of order` : ", in order";
  const list = emitted.map((emission) => replaceHyphens(emission.text)).join(" ");
  const numbers = formatCount(emissions.size, "number");
  return `At tick ${tick} the model has output ${emitted.length} of ${numbers}${emitted.length ? `${order}: ${list}` : ""}`;
}

/** @type {import("../panel.js").Panel} */
export const ctcPanel = { name: "ctc", select: (thought) => thought.emissions, prepare, draw, describe };
