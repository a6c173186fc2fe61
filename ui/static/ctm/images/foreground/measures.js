/** Measure components: whether one is a figure, a frame, or a line. Mirrors `training.data.foreground.measures`. */

import { countNonZero, cutPlane, fround, selectValues } from "../plane.js";
import { computeMedian, computeQuantile, evaluateFit, fitLeastSquares } from "../statistics.js";
import { selectComponents } from "./components.js";
import { isFlat } from "./grounds.js";
import { computeLocalRange, findOutline, measureThickness, smooth } from "./morphology.js";

const EDGE_MARGIN = 4; // pixels
const MAX_SURROUNDINGS = 4_000; // pixels around a component

/**
 * Properties of a component. Mirrors `Measures`.
 *
 * @typedef {object} Measures
 * @property {number} contrast - Median contrast.
 * @property {number} relativeContrast - Contrast of the strongest tenth; of a dark figure as a share of the light on it.
 * @property {number} evenness - Share of the pixels around that have the level of the ground.
 * @property {number} edgeShare - Share of the outline where the image has an edge.
 * @property {number} strokeRatio - Width of the thickest stroke as a share of the length of the component.
 */

/**
 * Measure a component of the contrast with a ground. Mirrors `examine`.
 *
 * @param {import("./grounds.js").Ground} ground - The ground.
 * @param {import("./components.js").Components} components - Components of the contrast.
 * @param {number} index - The component.
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {Measures} Its properties.
 */
export function examine(ground, components, index, grey) {
  const box = components.boxes[index];
  const mask = selectComponents(components, [index], box);
  const contrasts = selectValues(cutPlane(ground.contrast, box), mask);
  const contrast = computeMedian(contrasts);
  const inside = computeMedian(selectValues(cutPlane(grey, box), mask));
  let relativeContrast = computeQuantile(contrasts, 0.9);
  if (ground.sign < 0) relativeContrast = Math.min(1, relativeContrast / Math.max(inside + contrast, 0.05));
  const measures = { contrast, relativeContrast, evenness: 0, edgeShare: 0, strokeRatio: 1 };
  if (isRectangleOutline(mask, grey)) return measures;
  const around = examineSurroundings(ground, grey, box, inside, contrast);
  if (around.difference < 0.5 * contrast) return { ...measures, evenness: around.evenness };
  return {
    contrast,
    relativeContrast,
    evenness: around.evenness,
    edgeShare: measureEdgeShare(ground, grey, box, mask, contrast),
    strokeRatio: measureThickness(mask) / Math.max(mask.width, mask.height),
  };
}

/** Return the largest difference from the pixels around, Infinity if there are none, and their evenness. */
function examineSurroundings(ground, grey, box, inside, contrast) {
  const length = Math.max(box[2] - box[0], box[3] - box[1]);
  const [near, far] = [Math.max(3, Math.trunc(0.08 * length)), Math.max(6, Math.trunc(0.25 * length))];
  const differences = [];
  let evenness = 0.5;
  for (const [first, last] of [
    [1, near],
    [near, far],
  ]) {
    const { values, terms } = listSurroundings(grey, box, first, last);
    if (!values.length) continue;
    differences.push(ground.sign * (inside - computeMedian(values)));
    evenness = measureEvenness(values, terms, 0.4 * Math.max(contrast, 0.02));
  }
  return { difference: differences.length ? Math.max(...differences) : Number.POSITIVE_INFINITY, evenness };
}

function measureEdgeShare(ground, grey, [top, left, bottom, right], mask, contrast) {
  const window = Math.max(5, Math.trunc(0.08 * Math.max(mask.width, mask.height))) | 1;
  const [row, column] = [Math.max(top - window, 0), Math.max(left - window, 0)];
  const nearby = cutPlane(grey, [row, column, bottom + window, right + window]);
  const ranges = computeLocalRange(isFlat(ground) ? nearby : smooth(nearby), window);
  const edges = selectValues(
    cutPlane(ranges, [top - row, left - column, bottom - row, right - column]),
    findOutline(mask),
  );
  const limit = fround(0.5 * contrast);
  return countNonZero(edges.map((edge) => Number(edge > limit))) / edges.length;
}

/** Return whether a component is a thin frame inside the image, or most of one. */
function isRectangleOutline(mask, { width, height }) {
  const isSmall = mask.height < 0.4 * height || mask.width < 0.4 * width;
  if (isSmall || countNonZero(mask.data) / mask.data.length > 0.3) return false;
  const sides = [
    [0, 0, 3, mask.width],
    [Math.max(0, mask.height - 3), 0, mask.height, mask.width],
    [0, 0, mask.height, 3],
    [0, Math.max(0, mask.width - 3), mask.height, mask.width],
  ];
  const shares = sides.map((side, index) => computeCoveredShare(cutPlane(mask, side), index < 2));
  return shares.sort((a, b) => a - b)[1] > 0.8;
}

/** Return the share of the columns, or of the rows, of a strip that have a set pixel. */
function computeCoveredShare({ data, width, height }, byColumn) {
  const covered = new Uint8Array(byColumn ? width : height);
  for (let index = 0; index < data.length; index++) {
    if (data[index]) covered[byColumn ? index % width : Math.floor(index / width)] = 1;
  }
  return countNonZero(covered) / covered.length;
}

/** Return the pixels whose distance from a box is more than `first` and at most `last`; terms are 1, row and column. */
function listSurroundings(grey, [top, left, bottom, right], first, last) {
  const [startRow, startColumn] = [Math.max(top - last, 0), Math.max(left - last, 0)];
  const part = cutPlane(grey, [startRow, startColumn, bottom + last, right + last]);
  const [fromRow, toRow] = [Math.max(top - first, 0) - startRow, bottom + first - startRow];
  const [fromColumn, toColumn] = [Math.max(left - first, 0) - startColumn, right + first - startColumn];
  const isOutside = (row, column) => row < fromRow || row >= toRow || column < fromColumn || column >= toColumn;
  const inner =
    Math.max(0, Math.min(toRow, part.height) - fromRow) * Math.max(0, Math.min(toColumn, part.width) - fromColumn);
  const count = part.data.length - inner;
  const step = 1 + Math.floor(count / MAX_SURROUNDINGS);
  const values = new Float32Array(Math.ceil(count / step));
  const terms = new Float32Array(3 * values.length).fill(1);
  let seen = 0;
  for (let row = 0; row < part.height; row++) {
    for (let column = 0; column < part.width; column++) {
      if (!isOutside(row, column) || seen++ % step) continue;
      const index = (seen - 1) / step;
      values[index] = part.data[row * part.width + column];
      terms[3 * index + 1] = row / part.height;
      terms[3 * index + 2] = column / part.height;
    }
  }
  return { values, terms };
}

/** Return the share of the values that are within a tolerance of their median or of a plane. */
function measureEvenness(values, terms, tolerance) {
  const limit = fround(tolerance);
  const median = computeMedian(values);
  const level = values.filter((value) => Math.abs(fround(value - median)) < limit).length / values.length;
  if (level > 0.95) return level;
  let kept = new Uint8Array(values.length).fill(1);
  for (let step = 0; step < 2; step++) {
    const weights = fitLeastSquares(terms, values, 3, (index) => kept[index]);
    kept = Uint8Array.from(values, (value, index) => {
      return Number(Math.abs(fround(value - fround(evaluateFit(terms, index, weights)))) < limit);
    });
    if (countNonZero(kept) < 8) break;
  }
  return Math.max(level, countNonZero(kept) / kept.length);
}

/**
 * Return which components are frames, parts of the desk, lines of the paper, or underlines. Mirrors `find_frames_and_lines`.
 *
 * @param {import("./components.js").Components} components - The components.
 * @param {number[][]} contacts - Counts of `countContacts`.
 * @returns {boolean[]} Whether each component is one.
 */
export function findFramesAndLines({ boxes, width: columns, height: rows }, contacts) {
  return boxes.map(([top, left, bottom, right], index) => {
    const [height, width] = [bottom - top, right - left];
    const [first, last, begin, end] = contacts[index];
    const onEdge = first + last + begin + end;
    const spans = width > 0.8 * columns || height > 0.8 * rows;
    const along = Math.max(first, last) > 0.4 * columns || Math.max(begin, end) > 0.4 * rows;
    const isFrame =
      (top < EDGE_MARGIN && bottom > rows - EDGE_MARGIN) ||
      (left < EDGE_MARGIN && right > columns - EDGE_MARGIN) ||
      (onEdge > 0 && (spans || along || onEdge > 0.4 * (rows + columns)));
    const isLine = (width > 9 * height && width > 0.25 * columns) || (height > 14 * width && height > 0.6 * rows);
    return isFrame || isLine;
  });
}
