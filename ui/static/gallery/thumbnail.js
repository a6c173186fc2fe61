/** Thumbnails: the input and the answer of one example, tick by tick, on the canvas of a card. */

import { Painter } from "../common/canvas.js";
import { BLUE, formatColour, getClassColour } from "../common/colour.js";
import { clamp, decodeBytes, isNumber, readArray, readInteger, readObject, readText } from "../common/validate.js";

const MAX_SIDE = 96;
const MAX_ITEMS = 64;
const MAX_FRAMES = 64;
const MAX_FIELD = 64;
const GREEN = "#2cc49a";
const RED = "#e0503a";
const BAR_HEIGHT = 3;
const GAP = 4;
const LABEL_HEIGHT = 18;

/**
 * Parse a thumbnail.
 *
 * @param {unknown} value - Content of its file.
 * @returns {object | null} Frames, labels, answers and the input; null if nothing of it can be drawn.
 */
export function parseThumbnail(value) {
  const data = readObject(value);
  const ticks = readArray(data.ticks, MAX_FRAMES).filter((tick) => isNumber(tick) && tick >= 1);
  const input = parseInput(readObject(data.input));
  if (!ticks.length || !input) return null;
  const readFrames = (items, read) => ticks.map((_, frame) => read(readArray(items)[frame]));
  return {
    ticks,
    iterations: Math.max(readInteger(data.iterations, 1, 1e5), ticks.at(-1)),
    labels: readFrames(data.labels, (label) => readText(label, 40)),
    routes: data.routes ? readFrames(data.routes, readNumbers) : null,
    answers: readFrames(data.answers, readNumbers),
    input,
  };
}

function readNumbers(value) {
  return readArray(value, 4 * MAX_SIDE).filter(isNumber);
}

function parseInput(input) {
  if (input.kind === "picture") return parsePicture(input);
  const items = readArray(input.items, MAX_ITEMS).map((item) => readText(item, 8));
  if (!items.length) return null;
  const numbers = readArray(input.numbers, MAX_ITEMS);
  return {
    kind: "sequence",
    items,
    group: readInteger(input.group, 1, MAX_ITEMS),
    numbers: numbers.length && numbers.every(isNumber) ? numbers : null,
    field: parseField(readObject(input.path)),
  };
}

function parsePicture({ width, height, channels, data, start, goal }) {
  const [columns, rows] = [readInteger(width, 1, 4 * MAX_SIDE), readInteger(height, 1, MAX_SIDE)];
  const depth = channels === 3 ? 3 : 1;
  const pixels = decodeBytes(data, columns * rows * depth);
  const readCell = (cell) => (readArray(cell).length === 2 && cell.every(isNumber) ? cell : null);
  return pixels && { kind: "picture", columns, rows, depth, pixels, start: readCell(start), goal: readCell(goal) };
}

function parseField({ side, frames, asked }) {
  const cells = readArray(frames, MAX_ITEMS).map((cell) =>
    readArray(cell).length === 2 && cell.every(isNumber) ? cell : null,
  );
  return isNumber(side) && cells.length
    ? { side: readInteger(side, 2, MAX_FIELD), cells, isQuarter: asked === "quadrant" }
    : null;
}

/**
 * Return the picture of an input as pixels of a canvas.
 *
 * @param {object} input - A parsed picture.
 * @returns {Uint8ClampedArray} Red, green, blue and opacity of each cell, row by row.
 */
export function expandPixels({ columns, rows, depth, pixels }) {
  const expanded = new Uint8ClampedArray(4 * columns * rows);
  for (let cell = 0; cell < columns * rows; cell++) {
    const at = depth * cell;
    const green = depth === 3 ? 1 : 0;
    expanded.set([pixels[at], pixels[at + green], pixels[at + 2 * green], 255], 4 * cell);
  }
  return expanded;
}

function buildImage(input) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [input.columns, input.rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(input.columns, input.rows);
  image.data.set(expandPixels(input));
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw a frame of a thumbnail.
 *
 * @param {HTMLCanvasElement} canvas - Canvas of a card.
 * @param {object} thumbnail - The parsed thumbnail; it keeps its picture.
 * @param {number} frame - The frame, from 0.
 * @param {import("../common/theme.js").Theme} theme - Colours and font.
 */
export function drawThumbnail(canvas, thumbnail, frame, theme) {
  const painter = new Painter(canvas, theme);
  const { input } = thumbnail;
  const box = { left: GAP, top: GAP, width: painter.width - 2 * GAP, height: painter.height - 3 * GAP - BAR_HEIGHT };
  if (box.width <= 0 || box.height <= 0) return;
  if (input.kind === "picture") drawPicture(painter, thumbnail, frame, box);
  else if (input.field) drawField(painter, thumbnail, frame, box);
  else if (input.numbers) drawNumbers(painter, thumbnail, frame, box);
  else drawSymbols(painter, thumbnail, frame, box);
  drawProgress(painter, thumbnail, frame, theme);
}

function drawProgress(painter, { ticks, iterations }, frame, theme) {
  const top = painter.height - GAP - BAR_HEIGHT;
  const width = painter.width - 2 * GAP;
  painter.fillRect(GAP, top, width, BAR_HEIGHT, theme.line);
  painter.fillRect(GAP, top, (width * ticks[frame]) / iterations, BAR_HEIGHT, theme.accent);
}

/** Fit a rectangle into a box, at its centre. */
export function fitBox(box, columns, rows) {
  const scale = Math.min(box.width / columns, box.height / rows);
  const [width, height] = [columns * scale, rows * scale];
  return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height, scale };
}

function drawPicture(painter, thumbnail, frame, box) {
  const { input, routes, labels } = thumbnail;
  const hasLabel = !routes;
  const labelHeight = hasLabel ? LABEL_HEIGHT : 0;
  const place = fitBox({ ...box, height: box.height - labelHeight }, input.columns, input.rows);
  thumbnail.image ??= buildImage(input);
  painter.context.imageSmoothingEnabled = place.scale < 3;
  painter.context.drawImage(thumbnail.image, place.left, place.top, place.width, place.height);
  if (hasLabel) drawLabel(painter, labels[frame], box);
  else drawRoute(painter, thumbnail, routes[frame], place);
}

function drawLabel(painter, text, box) {
  const style = { align: "center", weight: 700, size: 13, maxWidth: box.width };
  painter.drawText(text, box.left + box.width / 2, box.top + box.height - 7, style);
}

function drawRoute(painter, { input }, route, { left, top, scale }) {
  const toPoint = (row, column) => [left + (column + 0.5) * scale, top + (row + 0.5) * scale];
  const points = [];
  for (let at = 0; at + 1 < route.length; at += 2) points.push(toPoint(route[at], route[at + 1]));
  if (points.length > 1) painter.strokeLine(points, BLUE, Math.max(2, scale * 0.45));
  if (input.start) painter.fillDisc(toPoint(...input.start), Math.max(2.5, scale * 0.5), RED, "#ffffff");
  if (input.goal) painter.fillDisc(toPoint(...input.goal), Math.max(2.5, scale * 0.5), GREEN, "#ffffff");
}

function drawField(painter, { input, answers }, frame, box) {
  const { side, cells, isQuarter } = input.field;
  const place = fitBox(box, 1, 1);
  const step = place.width / side;
  painter.fillRect(place.left, place.top, place.width, place.height, painter.theme.text, 0.06);
  painter.strokeRect(place.left, place.top, place.width, place.height, painter.theme.line);
  const answer = answers[frame];
  if (isQuarter) {
    const half = place.width / 2;
    const quarter = clamp(answer[0] ?? 0, 0, 3);
    painter.fillRect(place.left + (quarter % 2) * half, place.top + (quarter >> 1) * half, half, half, BLUE, 0.35);
  }
  const toPoint = ([row, column]) => [place.left + (column + 0.5) * step, place.top + (row + 0.5) * step];
  for (const [index, cell] of cells.entries()) {
    if (!cell) continue;
    painter.withAlpha((index + 1) / cells.length, () =>
      painter.fillDisc(toPoint(cell), Math.max(2, step * 0.45), painter.theme.text),
    );
  }
  if (!isQuarter && answer.length === 2) painter.strokeCircle(toPoint(answer), Math.max(3, step * 0.7), BLUE, 2);
}

/**
 * Order numbers as far as they have been sorted: those that were answered first, then the others as they were given.
 *
 * @param {number} count - How many numbers there are.
 * @param {number[]} answer - Indices in the order of the answer.
 * @returns {number[]} All indices, each once.
 */
export function orderNumbers(count, answer) {
  const sorted = [...new Set(answer)].filter((index) => Number.isInteger(index) && index >= 0 && index < count);
  const rest = Array.from({ length: count }, (_, index) => index).filter((index) => !sorted.includes(index));
  return [...sorted, ...rest];
}

function drawNumbers(painter, { input, answers }, frame, box) {
  const { numbers } = input;
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const order = orderNumbers(numbers.length, answers[frame]);
  const sorted = new Set(answers[frame]);
  const step = box.width / numbers.length;
  for (const [place, index] of order.entries()) {
    const share = high > low ? (numbers[index] - low) / (high - low) : 1;
    const height = (0.12 + 0.88 * share) * box.height;
    const colour = sorted.has(index) ? BLUE : painter.theme.muted;
    painter.fillRect(box.left + place * step + 1, box.top + box.height - height, step - 2, height, colour);
  }
}

/** Draw the symbols of a sequence, coloured by their class where an answer has one for each, and the answer below them. */
function drawSymbols(painter, { input, answers, labels }, frame, box) {
  const { items, group } = input;
  const words = [];
  for (let at = 0; at < items.length; at += group) words.push(items.slice(at, at + group).join(""));
  const columns = Math.min(words.length, group > 1 ? 2 : 8);
  const rows = Math.ceil(words.length / columns);
  const size = Math.min(30, (box.width - 2) / columns, (box.height - LABEL_HEIGHT) / rows);
  const top = box.top + Math.max(0, (box.height - LABEL_HEIGHT - rows * size) / 2);
  const [width, left] = [group > 1 ? box.width / columns : size, box.left];
  const indent = (box.width - width * columns) / 2;
  const hasClasses = group === 1 && answers[frame].length === items.length && items.length > 1;
  for (const [index, word] of words.entries()) {
    const [x, y] = [left + indent + (index % columns) * width, top + Math.floor(index / columns) * size];
    if (hasClasses) {
      painter.fillRect(x + 1, y + 1, width - 2, size - 2, formatColour(getClassColour(answers[frame][index])), 0.4);
    }
    painter.drawText(word, x + width / 2, y + size / 2, {
      align: "center",
      size: Math.min(16, 0.75 * size),
      maxWidth: width,
    });
  }
  drawLabel(painter, labels[frame], box);
}
