/** Even motions of a dot that turns at walls, as plain data. */

import { formatCount } from "../common/format.js";
import { reflectPosition } from "../common/motion.js";
import { clamp } from "../common/validate.js";

/**
 * @typedef {object} MotionSpec
 * @property {number} side - Cells a side of the field.
 * @property {number} frames - How many frames there are.
 * @property {number} maxSpeed - Most cells a frame along an axis.
 *
 * @typedef {object} Motion
 * @property {number[]} start - [row, column] in the first frame.
 * @property {number[]} speed - [rows, columns] a frame.
 */

/**
 * List the positions of a motion along one axis.
 *
 * @param {MotionSpec} spec - Field and frames.
 * @param {number} start - Position in the first frame.
 * @param {number} speed - Cells a frame.
 * @returns {number[]} The position in every frame.
 */
export function listPositions({ side, frames }, start, speed) {
  return Array.from({ length: frames }, (_, frame) => reflectPosition(start + speed * frame, side));
}

/**
 * List the cells of a motion.
 *
 * @param {MotionSpec} spec - Field and frames.
 * @param {Motion} motion - The motion.
 * @returns {number[][]} [row, column] in every frame.
 */
export function listCells(spec, { start, speed }) {
  const [rows, columns] = [0, 1].map((axis) => listPositions(spec, start[axis], speed[axis]));
  return rows.map((row, frame) => [row, columns[frame]]);
}

/**
 * Fit a motion to cells. A dot that stands still is no motion.
 *
 * @param {MotionSpec} spec - Field and frames.
 * @param {(number[] | null)[]} cells - [row, column] in every frame; null where anything fits.
 * @returns {Motion & {error: number}} The nearest motion, with the sum of its squared distances.
 */
export function fitMotion(spec, cells) {
  const [rows, columns] = [0, 1].map((axis) => fitAxis(spec, cells, axis));
  let best = null;
  for (const row of rows) {
    for (const column of columns) {
      const error = row.error + column.error;
      if ((!row.speed && !column.speed) || (best && error >= best.error)) continue;
      best = { start: [row.start, column.start], speed: [row.speed, column.speed], error };
    }
  }
  return best;
}

/** Fit the start to every speed along one axis. */
function fitAxis(spec, cells, axis) {
  return listSpeeds(spec).map((speed) => {
    const fits = Array.from({ length: spec.side }, (_, start) => {
      const positions = listPositions(spec, start, speed);
      const error = cells.reduce((sum, cell, frame) => sum + (cell ? (cell[axis] - positions[frame]) ** 2 : 0), 0);
      return { start, speed, error };
    });
    return fits.reduce((best, fit) => (fit.error < best.error ? fit : best));
  });
}

/**
 * List the speeds along one axis.
 *
 * @param {{maxSpeed: number}} spec - The most cells a frame.
 * @returns {number[]} Cells a frame, from backwards to forwards.
 */
export function listSpeeds({ maxSpeed }) {
  return Array.from({ length: 2 * maxSpeed + 1 }, (_, index) => index - maxSpeed);
}

/**
 * Return the distance between two points.
 *
 * @param {number[]} point - [row, column].
 * @param {number[]} other - [row, column].
 * @returns {number} The distance in cells.
 */
export function getDistance(point, other) {
  return Math.hypot(point[0] - other[0], point[1] - other[1]);
}

/**
 * Spread the frames evenly along a stroke.
 *
 * @param {number[][]} stroke - At least one [row, column].
 * @param {number} frames - How many frames there are, at least 2.
 * @returns {number[][]} [row, column] in every frame.
 */
export function spreadFrames(stroke, frames) {
  const reached = [0];
  for (let at = 1; at < stroke.length; at++) reached.push(reached[at - 1] + getDistance(stroke[at], stroke[at - 1]));
  return Array.from({ length: frames }, (_, frame) => {
    const length = (frame / (frames - 1)) * reached.at(-1);
    const after = Math.min(
      stroke.length - 1,
      Math.max(
        1,
        reached.findIndex((distance) => distance >= length),
      ),
    );
    const before = Math.max(0, after - 1);
    const share = (length - reached[before]) / (reached[after] - reached[before] || 1);
    return [0, 1].map((axis) => stroke[before][axis] + share * (stroke[after][axis] - stroke[before][axis]));
  });
}

/**
 * Limit the start of a motion to the field.
 *
 * @param {{side: number}} spec - The field.
 * @param {number[]} start - [row, column].
 * @returns {number[]} [row, column] within the field.
 */
export function clampCell({ side }, start) {
  return start.map((position) => clamp(position, 0, side - 1));
}

/**
 * Parse a text of cells and the frames ahead, such as "3,2 - 5,4 +2".
 *
 * @param {MotionSpec} spec - Field and frames.
 * @param {string} text - The text.
 * @returns {{cells: (number[] | null)[], ahead: number | null}} [row, column] in every frame, null where it is none; and the frames ahead if they are given.
 */
export function parseTrajectory({ side, frames }, text) {
  const words = text
    .trim()
    .split(/\s+/)
    .slice(0, frames + 1);
  const cells = Array.from({ length: frames }, (_, frame) => {
    const match = words[frame]?.match(/^(\d{1,2}),(\d{1,2})$/);
    const cell = match ? [Number(match[1]), Number(match[2])] : null;
    return cell && Math.max(...cell) < side ? cell : null;
  });
  const ahead = words.at(-1).match(/^\+(\d{1,2})$/);
  return { cells, ahead: ahead ? Number(ahead[1]) : null };
}

/**
 * Format cells and the frames ahead.
 *
 * @param {number[][]} cells - [row, column] in every frame.
 * @param {boolean[]} isSeen - Whether each frame is shown to the model.
 * @param {number} ahead - Frames ahead to predict.
 * @returns {string} Such as "3,2 - 5,4 +2".
 */
export function formatTrajectory(cells, isSeen, ahead) {
  return [...cells.map((cell, frame) => (isSeen[frame] ? cell.join(",") : "-")), `+${ahead}`].join(" ");
}

/**
 * Describe a motion.
 *
 * @param {Motion} motion - The motion.
 * @param {number[][]} cells - Its cells.
 * @returns {string} Such as "Start (0, 14), moving 1 cell down and 2 cells right per frame."
 */
export function describeMotion({ start, speed }, cells) {
  const names = [
    ["down", "up"],
    ["right", "left"],
  ];
  const parts = speed.flatMap((cellsPerFrame, axis) => {
    if (!cellsPerFrame) return [];
    const first = cells[1][axis] - cells[0][axis] || cellsPerFrame; // at a wall it turns at once
    return [`${formatCount(Math.abs(cellsPerFrame), "cell")} ${names[axis][first < 0 ? 1 : 0]}`];
  });
  return `Start (${start[0]}, ${start[1]}), ${parts.length ? `moving ${parts.join(" and ")} per frame` : "not moving"}.`;
}
