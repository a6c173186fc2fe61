/** Find the lines of ruled and squared paper. Mirrors `training.data.foreground.ruling`. */

import { clip, countNonZero, createPlane, fround, mapPlane, roundHalfEven, transpose } from "../plane.js";
import { sumFloat32 } from "../statistics.js";

const MAX_SLOPE = 0.2; // rise by width
const SLOPES = 81; // that are tried
const STRIPS = 16;
const COVERAGE = 20; // percentile of the strips, or of the pixels of a line, that must show the line
const MIN_LENGTH = 0.25; // of the width, of the part of a line that lies in the image
const MAX_LINES_SHARE = 0.4; // of the heights; more are the spaces between lines, on the other sign
const REACH = 3; // pixels above and below a line that show whether a stroke crosses it

/**
 * Return the contrast that is due to lines across the image; 0 where a stroke crosses a line. Mirrors `find_ruling`.
 *
 * @param {import("../plane.js").Plane} contrast - Difference of the image from its ground.
 * @param {number} threshold - Contrast above which it is more than noise.
 * @returns {import("../plane.js").Plane} The contrast of the lines.
 */
export function findRuling(contrast, threshold) {
  const across = findRows(contrast, threshold, sumFloat32);
  const down = transpose(findRows(transpose(contrast), threshold, sumInOrder)); // as NumPy sums a transposed array
  const lines = mapPlane(across, (value, index) => Math.max(value, down.data[index]));
  if (!countNonZero(lines.data)) return lines;
  const limit = fround(threshold);
  const isStroke = mapPlane(
    contrast,
    (value, index) => {
      const line = lines.data[index];
      return Number(line === 0 && value > limit);
    },
    Uint8Array,
  );
  const [below, above, right, left] = [
    look(isStroke, 1, 0),
    look(isStroke, -1, 0),
    look(isStroke, 0, 1),
    look(isStroke, 0, -1),
  ];
  return mapPlane(lines, (line, index) => {
    const isCrossed = (below[index] && above[index]) || (right[index] && left[index]);
    return isCrossed ? 0 : Math.min(line, contrast.data[index]);
  });
}

/** Return for every pixel whether one of the next `REACH` pixels in a direction belongs to a mask. */
function look({ data, width, height }, down, right) {
  const result = new Uint8Array(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      for (let step = 1; step <= REACH; step++) {
        const [y, x] = [row + step * down, column + step * right];
        if (y >= 0 && y < height && x >= 0 && x < width && data[y * width + x]) result[row * width + column] = 1;
      }
    }
  }
  return result;
}

function sumInOrder(values) {
  return values.reduce((sum, value) => fround(sum + value), 0);
}

/** Return the contrast of the lines that are nearly horizontal. */
function findRows(contrast, threshold, sum) {
  const { width, height } = contrast;
  const result = createPlane(height, width);
  if (width < 4 * STRIPS || height < 16) return result;
  const slope = findSlope(contrast, sum);
  const offsets = Array.from({ length: width }, (_, column) => roundHalfEven(slope * (column - width / 2)));
  const profile = computeProfile(contrast, offsets, threshold);
  if (countNonZero(profile) / height > MAX_LINES_SHARE) return result;
  removeWideRuns(profile, Math.max(3, Math.floor(height / 40)));
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      result.data[row * width + column] = profile[clip(row - offsets[column], 0, height - 1)];
    }
  }
  return result;
}

/** Return the slope at which the heights of most strips agree. */
function findSlope({ data, width, height }, sum) {
  const size = Math.floor(width / STRIPS);
  const centres = Array.from({ length: STRIPS }, (_, strip) => strip * size + (size - 1) / 2 - width / 2);
  const strips = new Float32Array(height * STRIPS);
  for (let index = 0; index < strips.length; index++) {
    const start = Math.floor(index / STRIPS) * width + (index % STRIPS) * size;
    strips[index] = sum(data.subarray(start, start + size)) / size;
  }
  let [best, bestScore] = [0, 0];
  const squares = new Float32Array(height);
  const values = new Float32Array(STRIPS);
  for (let index = 0; index < SLOPES; index++) {
    const slope = index * ((2 * MAX_SLOPE) / (SLOPES - 1)) - MAX_SLOPE;
    const offsets = centres.map((centre) => roundHalfEven(slope * centre));
    for (let row = 0; row < height; row++) {
      for (let strip = 0; strip < STRIPS; strip++) {
        const source = row + offsets[strip];
        values[strip] = source >= 0 && source < height ? strips[source * STRIPS + strip] : 0;
      }
      squares[row] = values.sort()[Math.floor((STRIPS * COVERAGE) / 100)] ** 2;
    }
    const score = sumFloat32(squares);
    if (score > 1.02 * bestScore || (score >= bestScore && Math.abs(slope) < Math.abs(best))) {
      [best, bestScore] = [slope, score];
    }
  }
  return best;
}

/** Return the contrast of a line at every height, at the middle column. */
function computeProfile({ data, width, height }, offsets, threshold) {
  const [profile, middles] = [new Float32Array(height), new Float32Array(height)];
  const limit = fround(threshold / 2);
  for (let row = 0; row < height; row++) {
    const values = [];
    for (let column = 0; column < width; column++) {
      const source = row + offsets[column];
      if (source >= 0 && source < height) values.push(data[source * width + column]);
    }
    const ordered = Float32Array.from(values).sort();
    if (ordered.length <= MIN_LENGTH * width) continue;
    const [low, middle] = [COVERAGE, 50].map(
      (share) => ordered[Math.max(Math.floor((ordered.length * share) / 100) - 1, 0)],
    );
    middles[row] = middle;
    if (low > limit) profile[row] = middle;
  }
  return profile.map((value, row) => {
    const beside = Math.max(profile[(row + height - 1) % height], profile[(row + 1) % height]);
    return Math.max(value, middles[row] > limit ? beside : 0);
  });
}

/** Set the runs of more than `most` values above 0 to 0: they are no lines. */
function removeWideRuns(profile, most) {
  for (let start = 0; start < profile.length; start++) {
    if (!(profile[start] > 0)) continue;
    let end = start;
    while (end < profile.length && profile[end] > 0) end++;
    if (end - start > most) profile.fill(0, start, end);
    start = end;
  }
}
