/** Find the lattice of the walls of a maze in an image. Mirrors `training.data.maze_reader.lattice`. */

import { cutPlane, findArgMax, mapPlane, selectValues, transpose } from "../plane.js";
import { computeMedian } from "../statistics.js";
import { findThreshold } from "./colours.js";
import { listStrips, proposeAxes } from "./combs.js";
import { computeMeans, integrate, selectChannel } from "./position-means.js";

const MAX_PAIRS = 10;
const MAX_ASPECT = 1.35; // ratio of the periods of both axes
const MISMATCH_PENALTY = 4; // crossings that one mismatch outweighs where the extent is chosen
const MAX_STRIPS = 400; // those of margins included
const MIN_CONTRAST = 0.1;
const CLEAR_PURITY = 0.98; // of a lattice that ends the search, with so many crossings
const CLEAR_CROSSINGS = 40;
const SEED_SIDE = 9; // positions of the square from which the search for the extent starts
const MAX_EXTENT_STEPS = 6;
const NUM_EXTENT_SEARCHES = 3;

/** Fewest strips along an axis. Mirrors `MIN_STRIPS`. */
export const MIN_STRIPS = 3;
/** Share of a position with one of the two colours, below which its brightness does not count. Mirrors `MIN_COVERAGE`. */
export const MIN_COVERAGE = 0.2;

/**
 * The lattice of an image. Mirrors `Lattice`.
 *
 * @typedef {object} Lattice
 * @property {import("./combs.js").Axis} columns - Strips from left to right.
 * @property {number[][]} rowStrips - Start and end of each strip in the range.
 * @property {number[][]} columnStrips - The same from left to right.
 * @property {import("../plane.js").Plane} values - Brightness where the strips of both axes meet.
 * @property {import("../plane.js").Plane} plainValues - The same over all pixels, those of a third colour included.
 * @property {import("../plane.js").Plane} coverage - Share of the pixels with a colour of walls or paths.
 * @property {boolean[]} rowIsDark - Whether each strip in the range is dark.
 * @property {boolean[]} columnIsDark - The same from left to right.
 * @property {number} threshold - Brightness that separates dark from bright positions.
 * @property {number} purity - Share of the crossings that are as they must be, 0 to 1.
 * @property {number} contrast - Difference between bright and dark crossings.
 */

/**
 * Return the lattice that explains an image best. Mirrors `find_lattice`.
 *
 * @param {import("../plane.js").Plane} brightness - Brightness of the pixels.
 * @param {import("../plane.js").Plane} isTwoColoured - Mask of the pixels with a colour of walls or paths.
 * @returns {Lattice | null} The lattice, or null.
 */
export function findLattice(brightness, isTwoColoured) {
  const columns = proposeAxes(brightness, isTwoColoured, false);
  const rows = proposeAxes(transpose(brightness), transpose(isTwoColoured), true);
  const sums = integrate(stackChannels(brightness, isTwoColoured));
  const pairs = rows.flatMap((row) =>
    columns.flatMap((column) => {
      const aspect = row.axis.period / column.axis.period;
      const isUsable = aspect > 1 / MAX_ASPECT && aspect < MAX_ASPECT && row.share > 0 && column.share > 0;
      return isUsable ? [{ share: row.share * column.share, rows: row.axis, columns: column.axis }] : [];
    }),
  );
  pairs.sort((a, b) => b.share - a.share);
  let [best, bestScore] = [null, 0];
  for (const pair of pairs.slice(0, MAX_PAIRS)) {
    const lattice = fitLattice(sums, pair.rows, pair.columns);
    const score = lattice ? computeScore(lattice) : 0;
    if (score > bestScore) [best, bestScore] = [lattice, score];
    if (best && best.purity > CLEAR_PURITY && countCrossings(best) > CLEAR_CROSSINGS) break;
  }
  return best;
}

function stackChannels({ data, width, height }, { data: mask }) {
  const stacked = { data: new Float32Array(3 * data.length), width, height, channels: 3 };
  for (let index = 0; index < data.length; index++) {
    stacked.data.set([mask[index] ? data[index] : 0, mask[index], data[index]], 3 * index);
  }
  return stacked;
}

/** Return the number of positions whose kind the lattice prescribes. */
function countCrossings({ rowIsDark, columnIsDark }) {
  const darkRows = rowIsDark.filter(Boolean).length;
  const darkColumns = columnIsDark.filter(Boolean).length;
  return darkRows * darkColumns + (rowIsDark.length - darkRows) * (columnIsDark.length - darkColumns);
}

/** Return the number of crossings that speak for a lattice, those against it weighted higher, less for long strips. */
function computeScore(lattice) {
  const crossings = countCrossings(lattice);
  const wrong = (1 - lattice.purity) * crossings;
  const { width, height } = lattice.values;
  return ((crossings - (1 + MISMATCH_PENALTY) * wrong) * Math.min(width, height)) / Math.max(width, height);
}

/** Return the lattice with two given axes and the extent that fits best, or null if the crossings do not fit. */
function fitLattice(sums, rows, columns) {
  const { strips: rowStrips, areDark: rowIsDark } = listStrips(rows, sums.height - 1);
  const { strips: columnStrips, areDark: columnIsDark } = listStrips(columns, sums.width - 1);
  const counts = [rowStrips.length, columnStrips.length];
  if (Math.min(...counts) < MIN_STRIPS || Math.max(...counts) > MAX_STRIPS) return null;
  const means = computeMeans(sums, rowStrips, columnStrips);
  const coverage = selectChannel(means, 1);
  const values = mapPlane(selectChannel(means, 0), (v, i) => v / Math.max(coverage.data[i], 1e-6), Float64Array);
  const isDark = (index) => [rowIsDark[Math.floor(index / values.width)], columnIsDark[index % values.width]];
  const mustBeDark = mapPlane(values, (_, index) => Number(isDark(index).every(Boolean)), Uint8Array);
  const isCounted = mapPlane(
    coverage,
    (value, index) => {
      const [row, column] = isDark(index);
      return Number(row === column && value > MIN_COVERAGE);
    },
    Uint8Array,
  );
  const searched = searchExtent(values, coverage, isCounted, mustBeDark);
  if (!searched) return null;
  const { box, threshold, isRight } = searched;
  const cut = (plane) => cutPlane(plane, box);
  const contrast = computeContrast(cut(values), cut(isCounted), cut(mustBeDark));
  if (Math.min(box[2] - box[0], box[3] - box[1]) < MIN_STRIPS || contrast < MIN_CONTRAST) return null;
  const judged = selectValues(cut(isRight), cut(isCounted));
  return {
    columns,
    rowStrips: rowStrips.slice(box[0], box[2]),
    columnStrips: columnStrips.slice(box[1], box[3]),
    values: cut(values),
    plainValues: cut(selectChannel(means, 2)),
    coverage: cut(coverage),
    rowIsDark: rowIsDark.slice(box[0], box[2]),
    columnIsDark: columnIsDark.slice(box[1], box[3]),
    threshold,
    purity: judged.reduce((sum, value) => sum + value, 0) / judged.length,
    contrast,
  };
}

/** Return the extent, the threshold, and the mask of the positions that are as they must be; null if nothing is left. */
function searchExtent(values, coverage, isCounted, mustBeDark) {
  let box = [0, 0, values.height, values.width];
  let [threshold, isRight] = [0, null];
  // A threshold without the margins gives a better extent.
  for (let search = 0; search < NUM_EXTENT_SEARCHES; search++) {
    const covered = mapPlane(cutPlane(coverage, box), (value) => Number(value > MIN_COVERAGE), Uint8Array);
    if (Math.min(box[2] - box[0], box[3] - box[1]) < MIN_STRIPS || !covered.data.includes(1)) return null;
    const limit = findThreshold(selectValues(cutPlane(values, box), covered));
    const right = mapPlane(values, (value, i) => Number(Number(value < limit) === mustBeDark.data[i]), Uint8Array);
    const reward = mapPlane(
      right,
      (value, index) => (isCounted.data[index] ? (value ? 1 : -MISMATCH_PENALTY) : 0),
      Float64Array,
    );
    [threshold, isRight, box] = [limit, right, findExtent(reward, box)];
  }
  return { box, threshold, isRight };
}

/** Return the difference of brightness between bright and dark crossings; 0 if one kind is missing. */
function computeContrast(values, isCounted, mustBeDark) {
  const [bright, dark] = [0, 1].map((kind) =>
    values.data.filter((_, index) => isCounted.data[index] && mustBeDark.data[index] === kind),
  );
  return dark.length && bright.length ? computeMedian(bright) - computeMedian(dark) : 0;
}

/** Return the rectangle with a large sum of rewards, searched along both axes in turn. */
function findExtent(reward, box) {
  const found = [box, findBestSquare(reward)].map((start) => growExtent(reward, start));
  const [sum, other] = found.map((one) => cutPlane(reward, one).data.reduce((total, value) => total + value, 0));
  return other > sum ? found[1] : found[0];
}

function growExtent(reward, start) {
  let box = start;
  for (let step = 0; step < MAX_EXTENT_STEPS; step++) {
    const before = box.join();
    const [top, bottom] = findBestRun(sumRows(cutPlane(reward, [0, box[1], reward.height, box[3]])));
    const [left, right] = findBestRun(sumRows(transpose(cutPlane(reward, [top, 0, bottom, reward.width]))));
    box = [top, left, bottom, right];
    if (box.join() === before) break;
  }
  return box;
}

function sumRows({ data, width, height }) {
  return Array.from({ length: height }, (_, row) =>
    data.subarray(row * width, (row + 1) * width).reduce((sum, value) => sum + value, 0),
  );
}

/** Return the square of `SEED_SIDE` positions a side with the largest sum of rewards. */
function findBestSquare(reward) {
  const side = Math.min(SEED_SIDE, reward.width, reward.height);
  const { data, width, height } = integrate({ ...reward, channels: 1 });
  const [rows, columns] = [height - side, width - side];
  const squares = Array.from({ length: rows * columns }, (_, index) => {
    const start = Math.floor(index / columns) * width + (index % columns);
    const below = start + side * width;
    return data[below + side] - data[below] - data[start + side] + data[start];
  });
  const best = findArgMax(squares);
  const [row, column] = [Math.floor(best / columns), best % columns];
  return [row, column, row + side, column + side];
}

/** Return the start and the end of the run with the largest sum. */
function findBestRun(rewards) {
  const sums = [0];
  for (const reward of rewards) sums.push(sums.at(-1) + reward);
  let [lowest, best, end, lowestAtEnd] = [0, 0, 0, 0];
  sums.forEach((sum, index) => {
    lowest = Math.min(lowest, sum);
    if (sum - lowest > best) [best, end, lowestAtEnd] = [sum - lowest, index, lowest];
  });
  const start = end ? sums.lastIndexOf(lowestAtEnd, end) : 0;
  return [start, Math.max(end, start + 1)];
}
