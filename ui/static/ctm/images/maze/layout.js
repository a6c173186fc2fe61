/** Tell the walls of a maze from its paths on a lattice, and complete its outer wall. Mirrors `training.data.maze_reader.layout`. */

import { cutPlane, mapPlane, selectValues, transpose } from "../plane.js";
import { findThreshold } from "./colours.js";
import { MIN_COVERAGE, MIN_STRIPS } from "./lattice.js";

const MAX_STAIN = 0.15; // of a wall's colour towards that of paths, up to which a position of a third colour is wall
const MIN_VALUES = 12; // for a threshold of their own
const MIN_SEPARATION = 0.4; // of the brightness of walls and paths between crossings, in contrasts of the crossings

/**
 * The walls of a maze under one assumption on which colour they have. Mirrors `Layout`.
 *
 * @typedef {object} Layout
 * @property {import("../plane.js").Plane} isWall - Mask of the walls.
 * @property {import("../plane.js").Plane} isCell - Mask of the crossings of two paths.
 * @property {number[][]} rowStrips - Start and end of each row in pixels.
 * @property {number[][]} columnStrips - Start and end of each column in pixels.
 * @property {number} connectedShare - Share of the path positions in the largest connected part.
 * @property {boolean} wallsAreDark - Whether the walls have the darker colour.
 * @property {number} plausibility - Sum of what speaks for the assumption.
 */

/** Return all combinations of one item of each list, in the order of `itertools.product`. */
function combine(lists) {
  return lists.reduce((rows, list) => rows.flatMap((row) => list.map((item) => [...row, item])), [[]]);
}

/** Return the first and last row and the first and last column of a mask. */
function listSides({ data, width, height }) {
  const column = (index) => data.filter((_, place) => place % width === index);
  return [data.subarray(0, width), data.subarray((height - 1) * width), column(0), column(width - 1)];
}

const isFull = (line) => line.every(Boolean);

/**
 * Return the walls of a lattice if they have the darker or the brighter colour. Mirrors `build_layout`.
 *
 * @param {import("./lattice.js").Lattice} lattice - The lattice.
 * @param {boolean} wallsAreDark - Whether the walls have the darker colour.
 * @returns {Layout} The layout.
 */
export function buildLayout(lattice, wallsAreDark) {
  const [rowsAreWalls, columnsAreWalls] = [lattice.rowIsDark, lattice.columnIsDark].map((areDark) =>
    areDark.map((isDark) => isDark === wallsAreDark),
  );
  const classified = classifyWalls(lattice, rowsAreWalls, columnsAreWalls, wallsAreDark);
  const box = findInnerBounds(classified, rowsAreWalls, columnsAreWalls);
  const inner = cutPlane(classified, box);
  const innerRows = rowsAreWalls.slice(box[0], box[2]);
  const innerColumns = columnsAreWalls.slice(box[1], box[3]);
  const sideIsWall = [innerRows[0], innerRows.at(-1), innerColumns[0], innerColumns.at(-1)];
  const closedSides = listSides(inner).filter((line, side) => sideIsWall[side] && isFull(line)).length;
  const rows = addOuterWalls(inner, lattice.rowStrips.slice(box[0], box[2]), innerRows);
  const columns = addOuterWalls(transpose(rows.isWall), lattice.columnStrips.slice(box[1], box[3]), innerColumns);
  const isWall = transpose(columns.isWall);
  const { period, darkWidth } = lattice.columns;
  const wallShare = (wallsAreDark ? darkWidth : period - darkWidth) / period;
  const connectedShare = computeConnectedShare(isWall);
  const thin = Math.abs(wallShare - 0.5) > 0.1 ? 2 * (0.5 - wallShare) : 0;
  const isCell = (_, i) => Number(!rows.areWalls[Math.floor(i / isWall.width)] && !columns.areWalls[i % isWall.width]);
  return {
    isWall,
    isCell: mapPlane(isWall, isCell, Uint8Array),
    rowStrips: rows.strips,
    columnStrips: columns.strips,
    connectedShare,
    wallsAreDark,
    plausibility: closedSides + 4 * connectedShare + 2 * thin + 0.2 * Number(wallsAreDark),
  };
}

/** Return whether each position is wall: as the lattice prescribes, otherwise by its brightness. */
function classifyWalls(lattice, rowsAreWalls, columnsAreWalls, wallsAreDark) {
  const { values, plainValues, coverage } = lattice;
  const threshold = findWallThreshold(lattice);
  const classify = (value, index) => {
    const [row, column] = [rowsAreWalls[Math.floor(index / values.width)], columnsAreWalls[index % values.width]];
    if (row === column) return Number(row);
    if (!(coverage.data[index] < MIN_COVERAGE)) return Number(value < threshold === wallsAreDark);
    // A route that is drawn in, or the colour of a marker beside it.
    const stain = wallsAreDark ? plainValues.data[index] : 1 - plainValues.data[index];
    return Number(stain < MAX_STAIN);
  };
  return mapPlane(values, classify, Uint8Array);
}

/** Return the brightness between walls and paths where the lattice leaves both possible. */
function findWallThreshold({ values, coverage, rowIsDark, columnIsDark, threshold: common, contrast }) {
  const isOpen = mapPlane(
    coverage,
    (value, index) => {
      const differs = rowIsDark[Math.floor(index / values.width)] !== columnIsDark[index % values.width];
      return Number(differs && value > 0.5);
    },
    Uint8Array,
  );
  const open = selectValues(values, isOpen);
  if (open.length < MIN_VALUES) return common;
  const threshold = findThreshold(open);
  const [below, above] = [open.filter((value) => value < threshold), open.filter((value) => value >= threshold)];
  const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  if (!below.length || !above.length || mean(above) - mean(below) < MIN_SEPARATION * contrast) return common;
  return threshold;
}

/** Return the bounds of a maze without the lines of its margin that look like paths, as a box. */
function findInnerBounds(isWall, rowsAreWalls, columnsAreWalls) {
  const { width, height } = isWall;
  const kinds = [rowsAreWalls[0], rowsAreWalls.at(-1), columnsAreWalls[0], columnsAreWalls.at(-1)];
  let [best, most] = [[0, 0, height, width], 0];
  for (const cuts of combine(kinds.map((isWallLine) => (isWallLine ? [0] : [0, 1])))) {
    const [top, bottom, left, right] = cuts;
    const total = top + bottom + left + right;
    if (total <= most || height - top - bottom < MIN_STRIPS || width - left - right < MIN_STRIPS) continue;
    const box = [top, left, height - bottom, width - right];
    if (!listSides(cutPlane(isWall, box)).every((line, side) => !cuts[side] || isFull(line))) continue;
    [best, most] = [box, total];
  }
  return best;
}

/**
 * Return a layout without the lines of its margin if its outer wall has exactly two openings.
 *
 * Mirrors `cut_margin_outside_openings`.
 *
 * @param {Layout} layout - The layout.
 * @returns {Layout | null} The smaller layout, or null.
 */
export function cutMarginOutsideOpenings(layout) {
  const { width, height } = layout.isWall;
  let [best, most] = [null, -1];
  // The lines of an added wall and of the margin.
  for (const cuts of combine(Array(4).fill([0, 2]))) {
    const [top, bottom, left, right] = cuts;
    const total = top + bottom + left + right;
    if (total <= most || height - top - bottom < MIN_STRIPS || width - left - right < MIN_STRIPS) continue;
    const box = [top, left, height - bottom, width - right];
    const beside = [
      [1, left, 2, width - right],
      [height - 2, left, height - 1, width - right],
      [top, 1, height - bottom, 2],
      [top, width - 2, height - bottom, width - 1],
    ].map((line) => cutPlane(layout.isWall, line).data);
    if (beside.some((line, side) => cuts[side] && line.some(Boolean))) continue;
    if (findOpenings(cutPlane(layout.isWall, box)).length === 2) [best, most] = [box, total];
  }
  if (!best) return null;
  return {
    ...layout,
    isWall: cutPlane(layout.isWall, best),
    isCell: cutPlane(layout.isCell, best),
    rowStrips: layout.rowStrips.slice(best[0], best[2]),
    columnStrips: layout.columnStrips.slice(best[1], best[3]),
  };
}

/**
 * Return the positions of paths in the outer wall. Mirrors `find_openings`.
 *
 * @param {import("../plane.js").Plane} isWall - Mask of the walls.
 * @returns {number[][]} The positions, [row, column].
 */
export function findOpenings({ data, width, height }) {
  const openings = [];
  for (let index = 0; index < data.length; index++) {
    const [row, column] = [Math.floor(index / width), index % width];
    const isBorder = row === 0 || row === height - 1 || column === 0 || column === width - 1;
    if (isBorder && !data[index]) openings.push([row, column]);
  }
  return openings;
}

/** Return lines with a wall before the first and after the last one where it is cut off. */
function addOuterWalls(isWall, strips, areWalls) {
  const widths = strips.filter((_, index) => areWalls[index]).map(([start, end]) => end - start);
  const width = widths.length ? widths.reduce((sum, value) => sum + value, 0) / widths.length : 1;
  const wall = new Uint8Array(isWall.width).fill(1);
  const before = areWalls[0] ? [] : wall;
  const after = areWalls.at(-1) ? [] : wall;
  const data = Uint8Array.from([...before, ...isWall.data, ...after]);
  const [first, last] = [strips[0][0], strips.at(-1)[1]];
  return {
    isWall: { data, width: isWall.width, height: data.length / isWall.width },
    strips: [
      ...(before.length ? [[first - width, first]] : []),
      ...strips,
      ...(after.length ? [[last, last + width]] : []),
    ],
    areWalls: [...(before.length ? [true] : []), ...areWalls, ...(after.length ? [true] : [])],
  };
}

/** Return the share of the path positions that lie in the largest connected part. */
function computeConnectedShare({ data, width, height }) {
  const isSeen = data.slice();
  let [total, largest] = [0, 0];
  for (let start = 0; start < data.length; start++) {
    if (isSeen[start]) continue;
    isSeen[start] = 1;
    const queue = [start];
    for (const place of queue) {
      const column = place % width;
      const near = [
        place - width,
        place + width,
        ...(column > 0 ? [place - 1] : []),
        ...(column < width - 1 ? [place + 1] : []),
      ];
      for (const next of near) {
        if (next < 0 || next >= width * height || isSeen[next]) continue;
        isSeen[next] = 1;
        queue.push(next);
      }
    }
    total += queue.length;
    largest = Math.max(largest, queue.length);
  }
  return total ? largest / total : 0;
}
