/** Find the two colours of a maze in an image. Mirrors `training.data.maze_reader.colours`. */

import { clip, createPlane, findArgMax, findMax, fround } from "../plane.js";
import { computeMedian, computeQuantile, decomposeSymmetric } from "../statistics.js";

const MAX_EDGE_PIXELS = 40_000; // whose colours are looked at
const MIN_EDGE_PIXELS = 16;
const MIN_COLOUR_DISTANCE = 0.1; // between the two colours
const MIN_SLOPE = 0.004;
const MAX_OVERSHOOT = 0.6; // of a pixel beyond one of the colours
const OFF_DISTANCE = 0.25; // from the line between the two colours, beyond which a pixel has a third colour
const SAMPLED_ROWS = 200;

/**
 * An image on the scale between two colours. Mirrors `TwoColours`.
 *
 * @typedef {object} TwoColours
 * @property {number[]} dark - The darker colour.
 * @property {number[]} bright - The brighter colour.
 * @property {import("../plane.js").Plane} brightness - Near 0 for dark pixels and near 1 for bright ones.
 * @property {import("../plane.js").Plane} isTwoColoured - Mask of the pixels near one of the colours or a mixture of them.
 */

/**
 * Return an image on the scale between the two colours that meet at most edges. Mirrors `split_colours`.
 *
 * @param {import("../plane.js").ColourImage} pixels - The image.
 * @returns {TwoColours | null} The image, or null if it has one colour.
 */
export function splitColours(pixels) {
  const colours = selectEdges(pixels);
  if (!colours || colours[0].length < MIN_EDGE_PIXELS) return null;
  const { dark, bright } = findTwoColours(colours);
  if (computeDistance(bright, dark) < MIN_COLOUR_DISTANCE) return null;
  const { residual, share } = projectColours(pixels, dark, bright);
  const distance = createPlane(pixels.height, pixels.width);
  distance.data.set(computeLengths(residual));
  const step = Math.max(1, Math.floor(pixels.height / SAMPLED_ROWS));
  const sampled = distance.data.filter((_, index) => Math.floor(index / pixels.width) % step === 0);
  const limit = fround(Math.max(OFF_DISTANCE, 4 * Math.min(computeMedian(sampled), 0.2)));
  const isTwoColoured = { ...distance, data: Uint8Array.from(distance.data, (value) => Number(value < limit)) };
  return { dark, bright, brightness: share, isTwoColoured };
}

/**
 * Return the distance of two colours.
 *
 * @param {number[]} one - A colour.
 * @param {number[]} other - A colour.
 * @returns {number} Euclidean distance.
 */
export function computeDistance(one, other) {
  return Math.sqrt(one.reduce((sum, value, channel) => sum + (value - other[channel]) ** 2, 0));
}

/**
 * Return what pixels have beside a mixture of two colours, and the share of the second. Mirrors `project_colours`.
 *
 * @param {import("../plane.js").ColourImage} pixels - The image.
 * @param {number[]} start - First colour.
 * @param {number[]} end - Second colour.
 * @returns {{residual: Float32Array, share: import("../plane.js").Plane}} Three values per pixel, and one per pixel.
 */
export function projectColours(pixels, start, end) {
  const origin = start.map(fround);
  const axis = end.map((value, channel) => fround(value - start[channel]));
  const square = axis.reduce((sum, value) => fround(sum + fround(value * value)), 0);
  const weights = axis.map((value) => fround(value / square));
  const residual = new Float32Array(pixels.data.length);
  const share = createPlane(pixels.height, pixels.width);
  const [low, high] = [fround(-MAX_OVERSHOOT), fround(1 + MAX_OVERSHOOT)];
  for (let index = 0; index < share.data.length; index++) {
    let sum = 0;
    for (let channel = 0; channel < 3; channel++) {
      residual[3 * index + channel] = pixels.data[3 * index + channel] - origin[channel];
      sum = fround(sum + fround(residual[3 * index + channel] * weights[channel]));
    }
    share.data[index] = clip(sum, low, high);
    for (let channel = 0; channel < 3; channel++) {
      residual[3 * index + channel] -= fround(share.data[index] * axis[channel]);
    }
  }
  return { residual, share };
}

/**
 * Return the Euclidean length of every three values. Mirrors `compute_lengths`.
 *
 * @param {Float32Array | Float64Array} vectors - Three values per vector.
 * @returns {Float32Array | Float64Array} One length per vector, of the same type.
 */
export function computeLengths(vectors) {
  const round = vectors instanceof Float32Array ? fround : (value) => value;
  const lengths = new vectors.constructor(vectors.length / 3);
  for (let index = 0; index < lengths.length; index++) {
    const [x, y, z] = [vectors[3 * index], vectors[3 * index + 1], vectors[3 * index + 2]];
    lengths[index] = Math.sqrt(round(round(round(x * x) + round(y * y)) + round(z * z)));
  }
  return lengths;
}

/** Return the colours of pixels beside strong edges, one array per channel, or null if there is no edge. */
function selectEdges(pixels) {
  const { width, height } = pixels;
  const [across, down] = [computeSlopes(pixels, 0, 1), computeSlopes(pixels, 1, 0)];
  const strongest = Math.max(
    Math.max(findMax(across.data), findMax(down.data)) / 2,
    ...[across, down].map((slopes) => computeQuantile(sampleEveryFourth(slopes), 0.99)),
  );
  if (strongest < MIN_SLOPE) return null;
  const isNear = new Uint8Array(width * height);
  const limit = fround(strongest / 3);
  for (const [slopes, rows, columns] of [
    [across, 0, 1],
    [down, 1, 0],
  ]) {
    for (let index = 0; index < slopes.data.length; index++) {
      if (!(slopes.data[index] > limit)) continue;
      const [row, column] = [Math.floor(index / slopes.width), index % slopes.width];
      for (let shift = -1; shift <= 2; shift++) {
        const [y, x] = [clip(row + shift * rows, 0, height - 1), clip(column + shift * columns, 0, width - 1)];
        isNear[y * width + x] = 1;
      }
    }
  }
  return selectColours(pixels, isNear);
}

function selectColours({ data }, isNear) {
  const places = [];
  for (let index = 0; index < isNear.length; index++) if (isNear[index]) places.push(index);
  const step = Math.max(1, Math.floor(places.length / MAX_EDGE_PIXELS));
  const chosen = places.filter((_, index) => index % step === 0);
  return [0, 1, 2].map((channel) => Float64Array.from(chosen, (place) => data[3 * place + channel]));
}

/** Return the largest difference of three channels between neighbours. */
function computeSlopes({ data, width, height }, down, right) {
  const slopes = createPlane(height - down, width - right);
  for (let index = 0; index < slopes.data.length; index++) {
    const start = Math.floor(index / slopes.width) * width + (index % slopes.width);
    const end = start + down * width + right;
    for (let channel = 0; channel < 3; channel++) {
      const difference = Math.abs(data[3 * end + channel] - data[3 * start + channel]);
      slopes.data[index] = Math.max(slopes.data[index], difference);
    }
  }
  return slopes;
}

function sampleEveryFourth({ data, width }) {
  return data.filter((_, index) => (index % width) % 4 === 0 && Math.floor(index / width) % 4 === 0);
}

/** Return the darker and the brighter of the two colours of most pixels. */
function findTwoColours(colours) {
  let axis = findMainAxis(colours);
  let found = null;
  for (let step = 0; step < 2; step++) {
    const along = colours[0].map(
      (red, index) => red * axis[0] + colours[1][index] * axis[1] + colours[2][index] * axis[2],
    );
    const threshold = findThreshold(along);
    const isBright = along.map((value) => Number(value > threshold));
    const count = isBright.reduce((sum, value) => sum + value, 0);
    if (count === 0 || count === along.length) return findExtremes(colours);
    const [dark, bright] = [0, 1].map((kind) =>
      colours.map((values) => computeMedian(values.filter((_, index) => isBright[index] === kind))),
    );
    const length = computeDistance(bright, dark);
    if (length === 0) return findExtremes(colours);
    axis = bright.map((value, channel) => (value - dark[channel]) / length);
    found = { dark, bright };
  }
  return found;
}

function findExtremes(colours) {
  const [dark, bright] = [0.1, 0.9].map((share) => colours.map((values) => computeQuantile(values, share)));
  return { dark, bright };
}

/** Return the direction along which colours differ most. */
function findMainAxis(colours) {
  const centred = colours.map((values) => {
    const median = computeMedian(values);
    return values.map((value) => value - median);
  });
  const matrix = centred.map((one) => centred.map((other) => one.reduce((sum, value, i) => sum + value * other[i], 0)));
  const { values, vectors } = decomposeSymmetric(matrix);
  const axis = vectors[findArgMax(values)];
  return axis.reduce((sum, value) => sum + value, 0) >= 0 ? axis : axis.map((value) => -value);
}

/**
 * Return the threshold that separates values into two classes with the least variance within (Otsu). Mirrors `find_threshold`.
 *
 * @param {Float64Array} values - The values, at least one.
 * @returns {number} The threshold.
 */
export function findThreshold(values) {
  const ordered = values.slice().sort();
  const size = ordered.length;
  if (size < 2) return ordered[0];
  const total = ordered.reduce((sum, value) => sum + value, 0);
  let [sum, most, threshold] = [0, Number.NEGATIVE_INFINITY, 0];
  for (let count = 1; count < size; count++) {
    sum += ordered[count - 1];
    const [below, above] = [sum / count, (total - sum) / (size - count)];
    const between = count * (size - count) * (above - below) ** 2;
    if (between <= most) continue;
    most = between;
    threshold = (below + above) / 2;
  }
  return threshold;
}
