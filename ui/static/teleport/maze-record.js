/** What moving the start of a maze needs of the record of a prediction. */

import { decodeBytes, isNumber, readArray, readInteger, readObject } from "../common/validate.js";

const MAX_SIDE = 199;
const MAX_ROUTE = 2000;
const [START_COLOUR, PATH_COLOUR] = [
  [255, 0, 0],
  [255, 255, 255],
];

/**
 * @typedef {object} MazeRecord
 * @property {number} width - Places per row.
 * @property {number} height - Rows.
 * @property {Uint8Array} pixels - Red, green and blue of each place.
 * @property {number[]} start - [row, column] of the start.
 * @property {number[][]} route - [row, column] of each place of the predicted route.
 * @property {number} stepsLeft - Steps from its end to the goal.
 * @property {number} ticks - Ticks of the unroll.
 * @property {number} answerTick - Tick whose answer counts.
 */

/**
 * Parse the record of a prediction.
 *
 * @param {unknown} record - The record.
 * @returns {MazeRecord | null} What moving the start needs; null if it is no complete prediction of a maze.
 */
export function parseMazeRecord(record) {
  const { input, answer, task, ticks, answer_tick: answerTick } = readObject(record);
  const { width, height, channels, data, start } = readObject(input);
  const { route, steps_left: stepsLeft } = readObject(answer);
  if (task !== "mazes" || !isNumber(stepsLeft) || channels !== 3) return null;
  const [columns, rows] = [readInteger(width, 0, MAX_SIDE), readInteger(height, 0, MAX_SIDE)];
  const pixels = decodeBytes(data, 3 * columns * rows);
  const places = readArray(route, MAX_ROUTE).map((place) =>
    readArray(place, 2).map((at) => readInteger(at, 0, MAX_SIDE)),
  );
  if (!pixels || !places.length || readArray(start, 2).length < 2) return null;
  return { width: columns, height: rows, pixels, start, route: places, stepsLeft, ticks, answerTick };
}

/**
 * Move the start to the end of the route.
 *
 * @param {MazeRecord} maze - The prediction.
 * @returns {Uint8Array} Red, green and blue of each place.
 */
export function moveStart({ width, pixels, start, route }) {
  const moved = pixels.slice();
  const paint = ([row, column], colour) => moved.set(colour, 3 * (row * width + column));
  paint(start, PATH_COLOUR);
  paint(route.at(-1), START_COLOUR);
  return moved;
}

/**
 * Return whether the pixels of a maze are these.
 *
 * @param {MazeRecord | null} maze - The prediction.
 * @param {Uint8Array | null} pixels - The pixels.
 * @returns {boolean} Whether they are.
 */
export function hasPixels(maze, pixels) {
  return (
    Boolean(maze && pixels) && maze.pixels.length === pixels.length && maze.pixels.every((v, i) => v === pixels[i])
  );
}
