/** The grid on which the keyboard draws: cells as wide as a line. */

import { clamp } from "../common/validate.js";

export const GRID_SIDE = 14; // cells: two pixels of the model's picture each

/**
 * Return the cell that an arrow key leads to.
 *
 * @param {number[]} cell - [row, column] of the cursor.
 * @param {number[]} direction - [down, right], see `getArrowDirection`.
 * @returns {number[]} [row, column], inside the grid.
 */
export function moveCell([row, column], [down, right]) {
  return [clamp(row + down, 0, GRID_SIDE - 1), clamp(column + right, 0, GRID_SIDE - 1)];
}

/**
 * Return the middle of a cell.
 *
 * @param {number[]} cell - [row, column].
 * @param {{width: number, height: number}} canvas - Resolution of the canvas.
 * @returns {number[]} [x, y] in pixels of the canvas.
 */
export function getCellCentre([row, column], canvas) {
  return [((column + 0.5) * canvas.width) / GRID_SIDE, ((row + 0.5) * canvas.height) / GRID_SIDE];
}

/**
 * Return whether pixels show ink: any of them is darker than the middle between paper and ink.
 *
 * @param {Uint8ClampedArray} pixels - Red, green, blue and opacity of every pixel.
 * @returns {boolean} Whether there is ink.
 */
export function hasInk(pixels) {
  return pixels.some((value, index) => index % 4 === 0 && value < 128);
}
