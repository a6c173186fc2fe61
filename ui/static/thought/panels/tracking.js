/** Panel: a dot that moves over a field, and where the answer expects it. */

import { Painter } from "../../common/canvas.js";
import { formatColour, formatGradient } from "../../common/colour.js";
import { formatCount, formatProbability } from "../../common/format.js";
import { groupFramesByCell, reflectPosition } from "../../common/motion.js";
import { clamp, isNumber, readArray, readInteger, readShare } from "../../common/validate.js";
import { findLargest, getLabel } from "../describe.js";
import { writeLegend } from "../panel.js";
import { getWeightColour, sumHeadWeights } from "./attention.js";

const MAX_SIDE = 64;
const MAX_FRAMES = 64;
const MAX_FRAMES_AHEAD = 1000;
const TRAIL_LENGTH = 8; // earlier answers that still show
const GUTTER = 20;
const MAX_SIZE = 380;

/**
 * @typedef {object} Trajectory
 * @property {number} side - Cells a side of the field.
 * @property {number} ahead - Frames between the last one and the prediction.
 * @property {(number[] | null)[]} frames - [row, column] of the dot; null where it is not shown.
 * @property {boolean} isQuarters - Whether the answer is a quarter of the field; else a row and a column.
 * @property {number[] | null} target - Where the dot will be, if the shown frames leave one possibility.
 */

/**
 * Parse a trajectory.
 *
 * @param {Record<string, unknown>} path - The record's part on the dot.
 * @param {object | null} answer - The parsed answer: four classes, or two positions.
 * @returns {Trajectory | null} The trajectory; null without a dot or a matching answer.
 */
export function parseTrajectory(path, answer) {
  const side = readInteger(path.side, 0, MAX_SIDE);
  const ahead = readInteger(path.ahead, 0, MAX_FRAMES_AHEAD);
  const frames = readArray(path.frames, MAX_FRAMES).map((cell) => parseCell(cell, side));
  const isQuarters = answer?.kind === "classes" && answer.size === 4 && answer.rows[0].length === 4;
  const isPlace = answer?.kind === "positions" && answer.size === 2;
  if (side < 2 || !frames.some(Boolean) || !(isQuarters || isPlace)) return null;
  const maxSpeed = isNumber(path.fastest) ? readInteger(path.fastest, 1, 8) : 2;
  return { side, ahead, frames, isQuarters, target: predictTarget(frames, side, maxSpeed, ahead) };
}

function parseCell(cell, side) {
  if (readArray(cell).length !== 2 || !cell.every(isNumber)) return null;
  return cell.map((index) => readInteger(index, 0, side - 1));
}

function predictTarget(frames, side, maxSpeed, ahead) {
  const ends = [0, 1].map((axis) => {
    return listPossiblePlaces(
      frames.map((cell) => cell?.[axis] ?? null),
      side,
      maxSpeed,
      ahead,
    );
  });
  return ends.every((places) => places.length === 1) ? ends.map(([place]) => place) : null;
}

/**
 * List the places along one axis where a dot may be after the last frame, over all even movements that agree with what is shown.
 *
 * @param {(number | null)[]} positions - Position in every frame; null where it is not shown.
 * @param {number} side - Cells a side.
 * @param {number} maxSpeed - Most cells a frame.
 * @param {number} ahead - Frames after the last one.
 * @returns {number[]} The places, each once.
 */
export function listPossiblePlaces(positions, side, maxSpeed, ahead) {
  const places = new Set();
  for (let start = 0; start < side; start++) {
    for (let speed = -maxSpeed; speed <= maxSpeed; speed++) {
      const isPossible = positions.every((position, frame) => {
        return position === null || reflectPosition(start + speed * frame, side) === position;
      });
      if (isPossible) places.add(reflectPosition(start + speed * (positions.length - 1 + ahead), side));
    }
  }
  return [...places];
}

/**
 * Return the quarter of a cell.
 *
 * @param {number[]} cell - [row, column].
 * @param {number} side - Cells a side.
 * @returns {number} 0 to 3: upper left, upper right, lower left, lower right.
 */
export function getQuarter([row, column], side) {
  return 2 * Number(row >= side >> 1) + Number(column >= side >> 1);
}

/**
 * Read the answer at a tick.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @param {number} tick - The tick, from 1.
 * @returns {{text: string, probability: number, isRight: boolean | null}} The answer as text, its probability, and whether it is right if that is known; with `quarter`, or with `cell` and the probabilities `bands` of its row and its column.
 */
export function readExpectation({ trajectory, answer }, tick) {
  const { side, isQuarters, target } = trajectory;
  if (isQuarters) {
    const row = answer.rows[tick - 1];
    const quarter = findLargest(row);
    const isRight = target && getQuarter(target, side) === quarter;
    return {
      quarter,
      text: `in the ${getLabel(answer, quarter)} quarter`,
      probability: readShare(row[quarter]),
      isRight,
    };
  }
  const cell = answer.chosen[tick - 1].map((index) => clamp(index, 0, side - 1));
  const bands = answer.probability[tick - 1].map(readShare);
  const isRight = target && target[0] === cell[0] && target[1] === cell[1];
  return { cell, bands, text: `at row ${cell[0]}, column ${cell[1]}`, probability: bands[0] * bands[1], isRight };
}

function describeJudgement(isRight) {
  if (isRight === null) return "";
  return isRight ? ", correct" : ", wrong";
}

function describeExpectation({ text, probability, isRight }) {
  return `${text}, ${formatProbability(probability)} probability${describeJudgement(isRight)}`;
}

// --- the panel ---

function prepare(view, { isQuarters, target, ahead }) {
  const { thought, theme, parts } = view;
  writeLegend(view, "tracking", [
    [theme.text, "frames shown"],
    [theme.certainty, isQuarters ? "predicted quarter" : "predicted position"],
    target && [theme.right, "true position", "line"],
    thought.attention && [formatGradient(theme.warm), "attention", "band"],
  ]);
  const when = ahead ? `${formatCount(ahead, "frame")} later` : "in the last frame";
  const strength = isQuarters
    ? "Stronger colour means higher probability."
    : "Bands: probability of row and column. Thin line: earlier predictions.";
  parts["tracking-caption"].textContent =
    `Numbered dots: the frames shown to the model. Task: where is the dot ${when}? ${strength}`;
}

function draw(view, trajectory) {
  const { thought, tick, theme, parts } = view;
  const size = Math.min(parts.tracking.clientWidth - GUTTER - 2, MAX_SIZE);
  const painter = new Painter(parts.tracking, theme, size + GUTTER + 28);
  const expectation = readExpectation(thought, tick);
  const cell = size / trajectory.side;
  const field = { left: (painter.width - GUTTER - size) / 2 + GUTTER, top: GUTTER, size, cell };
  const toPoint = ([row, column]) => [field.left + (column + 0.5) * cell, field.top + (row + 0.5) * cell];
  (trajectory.isQuarters ? drawQuarters : drawBands)(painter, view, field, expectation);
  drawGrid(painter, field, trajectory.side);
  if (!trajectory.isQuarters) drawTrail(painter, view, toPoint, cell);
  drawFrames(painter, view, toPoint, cell);
  if (trajectory.target) {
    painter.strokeCircle(toPoint(trajectory.target), Math.max(cell * 0.62, 6), theme.right, 2.5, [3, 3]);
  }
  const style = { align: "center", weight: 600, maxWidth: painter.width };
  painter.drawText(
    `tick ${tick}: ${expectation.text} (${formatProbability(expectation.probability)}${describeJudgement(expectation.isRight)})`,
    painter.width / 2,
    field.top + size + 16,
    style,
  );
}

function drawQuarters(painter, { thought, tick, theme }, { left, top, size, cell }, expectation) {
  const half = (thought.trajectory.side >> 1) * cell;
  for (const [quarter, chance] of thought.answer.rows[tick - 1].entries()) {
    const x = left + (quarter % 2 ? half : 0);
    const y = top + (quarter > 1 ? half : 0);
    const width = quarter % 2 ? size - half : half;
    const height = quarter > 1 ? size - half : half;
    painter.fillRect(x, y, width, height, theme.certainty, readShare(chance) * 0.6);
    const weight = quarter === expectation.quarter ? 700 : 400;
    const style = { align: "center", size: 11, weight, halo: true };
    painter.drawText(formatProbability(readShare(chance)), x + width / 2, y + height - 12, style);
  }
}

/** Draw the row and the column that are chosen, each as strong as it is sure, and the cell where they cross. */
function drawBands(
  painter,
  { theme },
  { left, top, size, cell },
  { cell: [row, column], bands: [inRow, inColumn], probability },
) {
  const [x, y] = [left + column * cell, top + row * cell];
  painter.fillRect(left, y, size, cell, theme.certainty, 0.04 + inRow * 0.16);
  painter.fillRect(x, top, cell, size, theme.certainty, 0.04 + inColumn * 0.16);
  painter.fillRect(x, y, cell, cell, theme.certainty, 0.3 + probability * 0.7);
}

function drawGrid(painter, { left, top, size, cell }, side) {
  const { theme } = painter;
  const lineStep = cell >= 8 ? 1 : side;
  for (let line = 0; line <= side; line += lineStep) {
    const offset = line * cell;
    const [x, y] = [left + offset, top + offset];
    const vertical = [
      [x, top],
      [x, top + size],
    ];
    const horizontal = [
      [left, y],
      [left + size, y],
    ];
    painter.strokeLine(vertical, theme.line);
    painter.strokeLine(horizontal, theme.line);
  }
  const labelStep = Math.ceil(22 / cell);
  for (let index = 0; index < side; index += labelStep) {
    const offset = (index + 0.5) * cell;
    painter.drawText(String(index), left + offset, top - 9, { align: "center", size: 10, colour: theme.muted });
    painter.drawText(String(index), left - 5, top + offset, { align: "right", size: 10, colour: theme.muted });
  }
}

function drawTrail(painter, { thought, tick, theme }, toPoint, cell) {
  const points = thought.answer.chosen.slice(Math.max(0, tick - 1 - TRAIL_LENGTH), tick).map(toPoint);
  const lineWidth = clamp(cell * 0.12, 1, 2.5);
  for (let index = 1; index < points.length; index++) {
    painter.withAlpha((0.5 * index) / points.length, () => {
      painter.strokeLine([points[index - 1], points[index]], theme.certainty, lineWidth);
    });
  }
}

/** Draw the dots that are shown, joined in their order. Warm rings are attention; the last place of its map is the question. */
function drawFrames(painter, { thought, tick, theme }, toPoint, cell) {
  const { trajectory, attention } = thought;
  const { frames } = trajectory;
  const radius = clamp(cell * 0.45, 4, 11);
  const weights = attention?.places > frames.length ? sumHeadWeights(attention, tick) : null;
  painter.strokeLine(frames.filter(Boolean).map(toPoint), theme.text, 1.5);
  for (const { cell: place, frames: group } of groupFramesByCell(frames)) {
    const point = toPoint(place);
    const weight = weights ? Math.max(...group.map((frame) => weights[frame])) : 0;
    if (weight > 0.02) {
      const colour = formatColour(getWeightColour(theme, weight));
      painter.strokeCircle(point, radius + 1 + weight * 2.5, colour, weight * 5);
    }
    painter.fillDisc(point, radius, theme.text);
    const label = group.map((frame) => frame + 1).join(",");
    const size = label.length > 2 ? 8 : 10;
    if (radius >= 6)
      painter.drawText(label, ...point, { align: "center", size, weight: 600, colour: theme.background });
  }
}

function describe({ thought, tick }, { frames, ahead }) {
  const expectation = describeExpectation(readExpectation(thought, tick));
  const shown = frames.filter(Boolean).length;
  const visible = `${shown} of ${formatCount(frames.length, "frame")} are shown`;
  return `At tick ${tick} it predicts the dot ${expectation}; ${visible}, and it predicts ${formatCount(ahead, "frame")} ahead`;
}

/** @type {import("../panel.js").Panel} */
export const trackingPanel = { name: "tracking", select: (thought) => thought.trajectory, prepare, draw, describe };
