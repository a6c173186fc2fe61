/** Tell a sheet of paper from a figure by its shape. Mirrors `training.data.foreground.sheets`. */

import { countNonZero, fround, mapPlane, selectValues } from "../plane.js";
import { computeMedian } from "../statistics.js";
import { labelComponents, selectComponents } from "./components.js";

const MIN_SHEET_SHARE = 0.08; // of the image, bounding box
const MIN_RECTANGULARITY = 0.85; // an ellipse has 0.79
const MIN_SOLIDITY = 0.7; // share of the convex hull that is paper

/**
 * Return whether a component is a sheet, or a part of one: a large rectangle of one brightness, around a box.
 *
 * Mirrors `is_sheet`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @param {import("../plane.js").Plane} part - Mask of the component.
 * @param {import("../plane.js").Box} box - Box of what stands on the sheet.
 * @param {number} difference - Brightness of the component less that of its surroundings.
 * @param {number} [minRectangularity] - Smallest share of the smallest rectangle around it that its convex hull covers.
 * @returns {boolean} Whether it is.
 */
export function isSheet(grey, part, box, difference, minRectangularity = MIN_RECTANGULARITY) {
  const middle = fround(computeMedian(selectValues(grey, part)) - difference / 2);
  const isLight = difference > 0;
  const components = labelComponents(mapPlane(grey, (value) => Number(value > middle === isLight), Uint8Array));
  const index = findMostFrequent(components, part) - 1;
  if (index < 0) return false;
  const sheet = components.boxes[index];
  const [top, left, bottom, right] = sheet;
  if ((bottom - top) * (right - left) < MIN_SHEET_SHARE * grey.data.length) return false;
  if (top > box[0] || left > box[1] || bottom < box[2] || right < box[3]) return false;
  const mask = selectComponents(components, [index], sheet);
  const hull = computeConvexHull(mask);
  const area = computePolygonArea(hull);
  if (area < minRectangularity * computeMinRectangleArea(hull)) return false;
  return countNonZero(mask.data) > MIN_SOLIDITY * area;
}

/** Return the label that most pixels of a mask have. */
function findMostFrequent({ labels, count }, part) {
  const counts = Array(count + 1).fill(0);
  for (let index = 0; index < labels.length; index++) if (part.data[index]) counts[labels[index]]++;
  return counts.indexOf(Math.max(...counts));
}

/** Return the corners [row, column] of the convex hull of the pixels of a mask that has some in every row. */
function computeConvexHull({ data, width, height }) {
  const points = [];
  for (let row = 0; row <= height; row++) {
    const columns = new Set();
    for (const line of [row - 1, row]) {
      if (line < 0 || line >= height) continue;
      const values = data.subarray(line * width, (line + 1) * width);
      columns.add(values.indexOf(1)).add(values.lastIndexOf(1) + 1);
    }
    points.push(...[...columns].sort((a, b) => a - b).map((column) => [row, column]));
  }
  return [...buildChain(points), ...buildChain(points.toReversed())];
}

function buildChain(points) {
  const chain = [];
  for (const [row, column] of points) {
    while (chain.length > 1) {
      const [[row0, column0], [row1, column1]] = chain.slice(-2);
      if ((row1 - row0) * (column - column0) > (column1 - column0) * (row - row0)) break;
      chain.pop();
    }
    chain.push([row, column]);
  }
  return chain.slice(0, -1);
}

function computePolygonArea(corners) {
  const sum = corners.reduce((total, [row, column], index) => {
    const [nextRow, nextColumn] = corners[(index + 1) % corners.length];
    return total + row * nextColumn - column * nextRow;
  }, 0);
  return Math.abs(sum) / 2;
}

/** Return the area of the smallest rectangle around a convex polygon; one of its sides lies on a side of the polygon. */
function computeMinRectangleArea(corners) {
  const areas = corners.map(([row, column], index) => {
    const [nextRow, nextColumn] = corners[(index + 1) % corners.length];
    const length = Math.hypot(nextRow - row, nextColumn - column);
    const [y, x] = [(nextRow - row) / length, (nextColumn - column) / length];
    return computeExtent(corners, y, x) * computeExtent(corners, -x, y);
  });
  return Math.min(...areas);
}

function computeExtent(corners, y, x) {
  const places = corners.map(([row, column]) => row * y + column * x);
  return Math.max(...places) - Math.min(...places);
}
