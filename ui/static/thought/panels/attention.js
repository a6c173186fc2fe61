/** Panel: attention weights, over the input picture or over the items of a sequence. */

import { Painter } from "../../common/canvas.js";
import { formatColour, formatGradient } from "../../common/colour.js";
import { formatCount } from "../../common/format.js";
import { clamp, decodeBytes, readArray, readInteger } from "../../common/validate.js";
import { buildImage, drawPicture } from "../images.js";
import { fitGrid, layOutCells } from "../layout.js";
import { MAX_HEADS } from "../limits.js";
import { writeLegend } from "../panel.js";
import { drawPhase, findPhase } from "./schedule.js";

const MAX_HEADS_ON_DISK = 256;
const MAX_MAP_SIDE = 4096;
const GAP = 10;
const LABEL_HEIGHT = 16;
const NO_PICTURE = "No picture at this tick.";
const MAX_HEAD_WIDTH = 110;
const MIN_HEAD_WIDTH_BESIDE = 44;
const OVERLAY_OPACITY = 0.85;
const SEQUENCE_GUTTER = 48;
const ITEM_HEIGHT = 30;

/**
 * Parse attention weights.
 *
 * @param {Record<string, unknown>} attention - The record's part on attention.
 * @param {number} ticks - Ticks of the thought.
 * @param {object | null} input - The parsed input; without one, there is nothing to lay weights over.
 * @returns {{heads: number, map: number[], places: number, weights: Uint8Array, shown: number} | null} Heads, sides of the map, its places, a byte for each tick, head and place, and how many heads are shown.
 */
export function parseAttention(attention, ticks, input) {
  const map = readArray(attention.map, 2).map((side) => readInteger(side, 0, MAX_MAP_SIDE));
  const heads = readInteger(attention.heads, 0, MAX_HEADS_ON_DISK);
  const places = map.length ? map.reduce((product, side) => product * side) : 0;
  const weights = heads && places && input ? decodeBytes(attention.data, ticks * heads * places) : null;
  if (!weights || (input.kind === "picture" && map.length !== 2)) return null;
  return { heads, map, places, weights, shown: Math.min(heads, MAX_HEADS) };
}

/**
 * Return the weights of one head at a tick.
 *
 * @param {{heads: number, places: number, weights: Uint8Array}} attention - Parsed attention.
 * @param {number} tick - The tick, from 1.
 * @param {number} head - Number of the head, from 0.
 * @returns {number[]} A number from 0 to 1 for each place.
 */
export function getHeadWeights({ heads, places, weights }, tick, head) {
  const start = ((tick - 1) * heads + head) * places;
  return Array.from(weights.subarray(start, start + places), (weight) => weight / 255);
}

/**
 * Sum the weights of all heads at a tick.
 *
 * @param {{heads: number, places: number, weights: Uint8Array}} attention - Parsed attention.
 * @param {number} tick - The tick, from 1.
 * @returns {number[]} A number for each place, 1 for the largest.
 */
export function sumHeadWeights({ heads, places, weights }, tick) {
  const start = (tick - 1) * heads * places;
  const sums = new Array(places).fill(0);
  for (let at = 0; at < heads * places; at++) sums[at % places] += weights[start + at];
  const largest = Math.max(...sums, 1);
  return sums.map((sum) => sum / largest);
}

/**
 * Return the colour of a weight.
 *
 * @param {import("../theme.js").ThoughtTheme} theme - The colours.
 * @param {number} weight - 0 to 1.
 * @returns {number[]} [red, green, blue], 0 to 255.
 */
export function getWeightColour(theme, weight) {
  return theme.warm[Math.round(weight * 255)];
}

/**
 * Draw weights over a picture.
 *
 * @param {Painter} painter - Draws.
 * @param {import("../panel.js").ThoughtView} view - What is shown.
 * @param {number[]} weights - A number from 0 to 1 for each place of the map.
 * @param {{left: number, top: number, width: number, height: number}} box - Where the picture is.
 */
export function drawAttentionOverlay(painter, { thought, theme }, weights, { left, top, width, height }) {
  const [rows, columns] = thought.attention.map;
  const overlay = buildImage(columns, rows, (column, row) => {
    const weight = weights[row * columns + column];
    return [...getWeightColour(theme, weight), weight * OVERLAY_OPACITY];
  });
  painter.context.imageSmoothingEnabled = true; // places overlap in the picture, so hard edges would claim too much
  painter.context.drawImage(overlay, left, top, width, height);
}

/**
 * Select the picture that attention moves over, unless a panel of the task shows it.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @returns {object | null} The picture.
 */
export function selectLook({ input, attention, routes, schedule, iterations }) {
  return input?.kind === "picture" && attention && !routes && !schedule && iterations > 1 ? input : null;
}

// --- over a picture ---

/**
 * Lay out the picture of all heads and those of each head: beside it, below it on a narrow page, alone where a route shows it.
 *
 * @param {number} width - Room in pixels.
 * @param {number} ratio - Height by width of a picture.
 * @param {number} heads - How many heads are shown.
 * @param {boolean} isShownElsewhere - Whether the picture of all heads is left out.
 * @returns {{big: number, left: number, top: number, columns: number, side: number}} Width of the picture of all heads, 0 for none; corner, columns and width of the others.
 */
export function layOutHeads(width, ratio, heads, isShownElsewhere) {
  const fit = (space, maxSide) => {
    const { columns, side } = fitGrid(heads, space, { ratio, gap: GAP, label: LABEL_HEIGHT });
    return { columns, side: Math.min(side, maxSide) };
  };
  if (isShownElsewhere) return { big: 0, left: 0, top: 0, ...fit({ width, height: 320 }, 200) };
  const large = Math.min(width * 0.52, 260, 320 / ratio);
  const left = large + 2 * GAP;
  const beside = fit({ width: width - left, height: large * ratio }, MAX_HEAD_WIDTH);
  if (beside.side >= MIN_HEAD_WIDTH_BESIDE) return { big: large, left, top: 0, ...beside };
  const big = Math.min(width, 240);
  const below = fit({ width, height: Math.max(140, 420 - big * ratio) }, MAX_HEAD_WIDTH);
  return { big, left: 0, top: big * ratio + GAP, ...below };
}

function drawPictureAttention(view) {
  const { thought, tick, theme, parts } = view;
  const { input, attention, schedule } = thought;
  const ratio = schedule ? 1 : input.height / input.width;
  const layout = layOutHeads(parts.attention.clientWidth, ratio, attention.shown, isShownOnStage(thought));
  const { big, left, top, columns, side } = layout;
  const rowHeight = side * ratio + LABEL_HEIGHT + 2;
  const height = Math.max(big * ratio, top + Math.ceil(attention.shown / columns) * rowHeight) + 2;
  const painter = new Painter(parts.attention, theme, height);
  if (isWithoutPicture(thought, tick)) {
    const style = { colour: theme.muted, maxWidth: painter.width };
    painter.drawText(NO_PICTURE, 0, Math.min(LABEL_HEIGHT, height / 2), style);
    return;
  }
  const toBox = (x, y, width) => ({ left: x, top: y, width, height: width * ratio });
  if (big) drawAttendedImage(painter, view, sumHeadWeights(attention, tick), toBox(0, 0, big));
  for (let head = 0; head < attention.shown; head++) {
    const x = left + (head % columns) * (side + GAP);
    const y = top + Math.floor(head / columns) * rowHeight;
    drawAttendedImage(painter, view, getHeadWeights(attention, tick, head), toBox(x, y + LABEL_HEIGHT, side));
    const label = side < 50 ? String(head + 1) : `head ${head + 1}`;
    painter.drawText(label, x, y + LABEL_HEIGHT / 2, { size: 11, colour: theme.muted });
  }
}

/** Return whether another panel shows the picture with the attention of all heads. */
function isShownOnStage(thought) {
  return Boolean(thought.routes ?? selectLook(thought));
}

/**
 * Return whether nothing that can be looked at is shown at a tick.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought; its input is a picture.
 * @param {number} tick - The tick, from 1.
 * @returns {boolean} Whether the schedule has no picture at the tick.
 */
export function isWithoutPicture({ schedule }, tick) {
  return Boolean(schedule) && (findPhase(schedule, tick)?.picture ?? null) === null;
}

/** Draw what is shown at the tick, with weights over it. */
function drawAttendedImage(painter, view, weights, box) {
  const { left, top, width, height } = box;
  const phase = findPhase(view.thought.schedule, view.tick);
  if (!view.thought.schedule) drawPicture(painter, view, left, top, width);
  else if (phase) drawPhase(painter, view, phase, left, top, width);
  drawAttentionOverlay(painter, view, weights, box);
  painter.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1, view.theme.line);
}

// --- over a sequence ---

function layOutSequence(width, { items, group }, { shown, places: size }) {
  const room = width - SEQUENCE_GUTTER - 2;
  const gaps = group > 1 ? 12 * (size / group) : 0;
  const cellWidth = clamp(Math.floor((room - gaps) / size), 22, 44);
  const { places, rows } = layOutCells(size, group, cellWidth, room);
  const headHeight = rows > 2 || shown > 8 ? 6 : shown > 4 ? 12 : 18;
  const blockHeight = shown * headHeight + ITEM_HEIGHT + 14;
  const fontSize = items.some((item) => item.length > 3) ? 11 : 14;
  return { places, rows, cellWidth, headHeight, blockHeight, fontSize, heads: shown };
}

function drawSequenceAttention(view) {
  const { thought, tick, theme, parts } = view;
  const { input, attention } = thought;
  const layout = layOutSequence(parts.attention.clientWidth, input, attention);
  const { places, rows, blockHeight, heads } = layout;
  const painter = new Painter(parts.attention, theme, rows * blockHeight - 8);
  const weights = {
    all: sumHeadWeights(attention, tick),
    heads: Array.from({ length: heads }, (_, head) => getHeadWeights(attention, tick, head)),
  };
  for (let line = 0; line < rows; line++) drawSequenceLabels(painter, line * blockHeight, layout);
  for (const [index, { x, row }] of places.entries()) {
    drawItem(painter, input.items[index] ?? "\u00b7", index, SEQUENCE_GUTTER + x, row * blockHeight, weights, layout);
  }
}

function drawSequenceLabels(painter, top, { heads, headHeight }) {
  const drawLabel = (text, y) => painter.drawText(text, 0, top + y, { size: 11, colour: painter.theme.muted });
  if (headHeight > 8) {
    for (let head = 0; head < heads; head++) drawLabel(`head ${head + 1}`, head * headHeight + headHeight / 2);
  } else drawLabel("heads", (heads * headHeight) / 2);
  drawLabel("all", heads * headHeight + ITEM_HEIGHT / 2 + 2);
}

function drawItem(painter, text, index, left, top, weights, { heads, headHeight, cellWidth, fontSize }) {
  const drawWeight = (y, height, weight) => {
    const colour = formatColour(getWeightColour(painter.theme, weight), weight * OVERLAY_OPACITY);
    painter.drawCell(left, y, cellWidth - 2, height, colour);
  };
  const bottom = top + heads * headHeight + 3;
  for (const [head, own] of weights.heads.entries()) drawWeight(top + head * headHeight, headHeight - 2, own[index]);
  drawWeight(bottom, ITEM_HEIGHT - 2, weights.all[index]);
  const style = { align: "center", size: fontSize, weight: 600, maxWidth: cellWidth - 3, halo: true };
  painter.drawText(text, left + cellWidth / 2 - 1, bottom + ITEM_HEIGHT / 2, style);
}

// --- the panel ---

function prepare(view, { heads, shown }) {
  const { thought, theme, parts } = view;
  writeLegend(view, "attention", [[formatGradient(theme.warm), "attention", "band"]]);
  const more = heads > shown ? ` The first ${shown} of ${heads} heads are shown.` : "";
  const images = isShownOnStage(thought) ? "each head." : "all heads (large) and each head (small).";
  parts["attention-caption"].textContent =
    thought.input.kind === "picture"
      ? `Attention at this tick: ${images}${more}`
      : `Attention at this tick, one row per head; the bottom row combines them.${more}`;
}

function draw(view) {
  (view.thought.input.kind === "picture" ? drawPictureAttention : drawSequenceAttention)(view);
}

function describe({ thought, tick }, { heads, map }) {
  if (isWithoutPicture(thought, tick)) return NO_PICTURE;
  return `Attention of ${formatCount(heads, "head")} at tick ${tick}, over ${map.join(" by ")} positions`;
}

/** @type {import("../panel.js").Panel} */
export const attentionPanel = { name: "attention", select: (thought) => thought.attention, prepare, draw, describe };
