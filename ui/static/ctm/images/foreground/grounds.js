/** Estimate the ground of a figure: a flat level, or a morphological closing. Mirrors `training.data.foreground.grounds`. */

import {
  countNonZero,
  createPlane,
  cutPlane,
  findArgMax,
  findMax,
  fround,
  isAbove,
  mapPlane,
  roundHalfEven,
} from "../plane.js";
import { computeMedian } from "../statistics.js";
import { labelComponents } from "./components.js";
import { closeImage } from "./morphology.js";
import { findRuling } from "./ruling.js";

const MIN_FLAT_CONTRAST = 0.06; // of the figure, where the ground is flat and without noise
const MIN_CONTRAST = 0.07;
const MIN_THRESHOLD = 0.03;
const NOISE_THRESHOLD = 5; // standard deviations of the noise
const NOISE_CONTRAST = 8;
const MODE_TOLERANCE = 2.5; // grey levels of 255
const NUM_MODES = 3;
const MIN_FLAT_SHARE = 0.25; // of the pixels, in the most frequent level of an image in flat colours
const MIN_MODES_SHARE = 0.7; // in its three most frequent levels
const MIN_SHARP_MODES_SHARE = 0.5; // the same if there is no noise
const MIN_MODE_SHARE = 0.08; // in a level that may be the ground

/**
 * Estimate of what lies behind the figure. Mirrors `Ground`.
 *
 * @typedef {object} Ground
 * @property {number | import("../plane.js").Plane} level - Brightness of the ground: a number if it is flat.
 * @property {import("../plane.js").Plane} contrast - Difference of the image from the ground; 0 where it has the wrong sign.
 * @property {number} sign - -1 for a figure that is darker than the ground, 1 for a lighter one.
 * @property {number} threshold - Lowest contrast that is more than noise.
 * @property {number} minContrast - Lowest contrast of a figure.
 */

/**
 * Return whether a ground is one level.
 *
 * @param {Ground} ground - The ground.
 * @returns {boolean} Whether it is.
 */
export function isFlat(ground) {
  return typeof ground.level === "number";
}

/**
 * Return the levels of an image in flat colours, the most frequent first. Mirrors `find_flat_levels`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {number[]} The levels; [] if it is a photo.
 */
export function findFlatLevels(grey) {
  const counts = Array(256).fill(0);
  for (const value of grey.data) counts[roundHalfEven(fround(value * 255))]++;
  const modes = [];
  for (let index = 0; index < NUM_MODES; index++) {
    const mode = findArgMax(counts.map((_, level) => sumAround(counts, level, 2)));
    modes.push({ mode, share: sumAround(counts, mode, 2) / grey.data.length });
    counts.fill(0, Math.max(mode - 3, 0), mode + 4);
  }
  const least = estimateNoise(grey) > 0.5 / 255 ? MIN_MODES_SHARE : MIN_SHARP_MODES_SHARE;
  const total = modes.reduce((sum, { share }) => sum + share, 0);
  if (modes[0].share < MIN_FLAT_SHARE || total < least) return [];
  const frequent = modes.filter(({ share }) => share >= MIN_MODE_SHARE);
  return frequent.map(({ mode }) =>
    computeMedian(grey.data.filter((value) => Math.abs(fround(fround(value * 255) - mode)) <= MODE_TOLERANCE)),
  );
}

function sumAround(counts, level, reach) {
  let sum = 0;
  for (let near = Math.max(0, level - reach); near <= Math.min(255, level + reach); near++) sum += counts[near];
  return sum;
}

/**
 * Return the standard deviation of the noise, from the differences of neighbouring pixels. Mirrors `estimate_noise`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {number} The standard deviation.
 */
export function estimateNoise({ data, width, height }) {
  if (width < 2) return 0;
  const differences = new Float32Array(height * (width - 1));
  for (let index = 0; index < differences.length; index++) {
    const start = Math.floor(index / (width - 1)) * width + (index % (width - 1));
    differences[index] = Math.abs(data[start + 1] - data[start]);
  }
  return (1.4826 / Math.SQRT2) * computeMedian(differences);
}

/**
 * Return a ground of one level. Mirrors `build_flat_ground`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @param {number} level - The level.
 * @param {number} sign - -1 for dark figures, 1 for light ones.
 * @returns {Ground} The ground.
 */
export function buildFlatGround(grey, level, sign) {
  const contrast = mapPlane(grey, (value) => Math.max(sign * fround(value - level), 0));
  const threshold = Math.max(0.05, 0.1 * findMax(contrast.data));
  return { level, contrast, sign, threshold, minContrast: MIN_FLAT_CONTRAST };
}

/**
 * Return the closing of an image for dark figures, or its opening for light ones. Mirrors `build_local_ground`.
 *
 * @param {import("../plane.js").Plane} smoothed - The image.
 * @param {number} window - Side of the closing, pixels.
 * @param {number} sign - -1 for dark figures, 1 for light ones.
 * @param {number} noise - Standard deviation of the noise before the image was smoothed.
 * @returns {Ground} The ground.
 */
export function buildLocalGround(smoothed, window, sign, noise) {
  const signed = mapPlane(smoothed, (value) => -sign * value);
  const closed = closeImage(signed, window);
  const contrast = mapPlane(closed, (value, index) => value - signed.data[index]);
  const sample = contrast.data.filter(
    (_, index) => (index % contrast.width) % 2 === 0 && Math.floor(index / contrast.width) % 2 === 0,
  );
  const bias = Math.min(computeMedian(sample), 2 * noise);
  const single = fround(bias);
  const spread = 1.4826 * computeMedian(sample.map((value) => Math.abs(fround(value - single))));
  const rest = Math.min(spread, noise + 0.01);
  return {
    level: mapPlane(closed, (value) => -sign * fround(value - single)),
    contrast: mapPlane(contrast, (value) => Math.max(fround(value - single), 0)),
    sign,
    threshold: Math.max(MIN_THRESHOLD, NOISE_THRESHOLD * rest),
    minContrast: Math.max(MIN_CONTRAST, NOISE_CONTRAST * rest),
  };
}

/**
 * Return whether a component of a mask reaches over most of the image but covers little of it. Mirrors `has_line_across`.
 *
 * @param {import("../plane.js").Plane} mask - The mask.
 * @returns {boolean} Whether one does.
 */
export function hasLineAcross(mask) {
  const { boxes, areas } = labelComponents(mask);
  return boxes.some(([top, left, bottom, right], index) => {
    const isLong = bottom - top > 0.8 * mask.height || right - left > 0.8 * mask.width;
    return isLong && areas[index] < 0.4 * mask.data.length;
  });
}

/**
 * Return a ground that includes the lines of the paper, and the image without them. Mirrors `include_ruling`.
 *
 * @param {Ground} ground - The ground.
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {{ground: Ground, grey: import("../plane.js").Plane}} Both; unchanged if there are no lines.
 */
export function includeRuling(ground, grey) {
  const lines = findRuling(ground.contrast, ground.threshold);
  if (!countNonZero(lines.data)) return { ground, grey };
  const { sign, level } = ground;
  const addLine = (value, index) => (typeof level === "number" ? level : level.data[index]) + sign * value;
  const contrast = mapPlane(ground.contrast, (value, index) => value - lines.data[index]);
  return {
    ground: { ...ground, level: mapPlane(lines, addLine), contrast },
    grey: mapPlane(grey, (value, index) => value - sign * lines.data[index]),
  };
}

/**
 * Remove a frame or a strip of the desk: rows and columns at the edge that stand out on their whole length.
 *
 * Mirrors `clear_border`.
 *
 * @param {import("../plane.js").Plane} contrast - Contrast with the ground.
 * @param {number} threshold - Contrast that stands out.
 * @returns {import("../plane.js").Plane} The contrast without them.
 */
export function clearBorder(contrast, threshold) {
  const { width, height } = contrast;
  const { data } = isAbove(contrast, threshold);
  const [rows, columns] = [Array(height).fill(0), Array(width).fill(0)];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!data[row * width + column]) continue;
      rows[row]++;
      columns[column]++;
    }
  }
  const shares = [rows.map((count) => count / width), columns.map((count) => count / height)];
  const sides = shares.flatMap((side) => [side, side.toReversed()]);
  return clearSides(contrast, sides);
}

function clearSides(contrast, sides) {
  const limit = sides.filter((side) => side[0] > 0.85).length >= 3 ? 0.85 : 0.97;
  const widths = sides.map((side) => {
    const width = side.slice(0, Math.max(1, Math.floor(side.length / 3))).findIndex((share) => !(share > limit));
    return width > 0 ? width + 2 : 0;
  });
  if (!widths.some(Boolean)) return contrast;
  const [top, bottom, left, right] = widths;
  const box = [top, left, contrast.height - bottom, contrast.width - right];
  const inner = cutPlane(contrast, box);
  const cleared = createPlane(contrast.height, contrast.width);
  for (let row = 0; row < inner.height; row++) {
    const start = row * inner.width;
    cleared.data.set(inner.data.subarray(start, start + inner.width), (top + row) * cleared.width + left);
  }
  return cleared;
}
