/** Means over the positions of a grid in an image. Mirrors `training.data.maze_reader.position_means`. */

import { clip } from "../plane.js";

const SAMPLED_SHARE = 0.5; // of a strip, in its middle, whose pixels are averaged

/**
 * Values of several channels.
 *
 * @typedef {object} Channels
 * @property {Float64Array | Float32Array} data - Values, rows first, channels last.
 * @property {number} width - Positions per row.
 * @property {number} height - Rows.
 * @property {number} channels - Number of channels.
 */

/**
 * Return the sums over the rectangles from the first pixel, one row and column more than the image. Mirrors `integrate`.
 *
 * @param {Channels} image - The image.
 * @returns {Channels} The sums.
 */
export function integrate({ data, width, height, channels }) {
  const result = {
    width: width + 1,
    height: height + 1,
    channels,
    data: new Float64Array((width + 1) * (height + 1) * channels),
  };
  const [stride, source] = [result.width * channels, width * channels];
  for (let row = 0; row < height; row++) {
    for (let index = 0; index < source; index++) {
      const target = (row + 1) * stride + channels + index;
      result.data[target] = data[row * source + index] + result.data[target - stride];
    }
  }
  for (let row = 1; row <= height; row++) {
    for (let index = channels; index < stride; index++) {
      result.data[row * stride + index] += result.data[row * stride + index - channels];
    }
  }
  return result;
}

/**
 * Return the mean over the middle of each position, with fractions of pixels. Mirrors `compute_means`.
 *
 * @param {Channels} sums - Result of `integrate`.
 * @param {number[][]} rowStrips - Start and end of each row in pixels.
 * @param {number[][]} columnStrips - Start and end of each column in pixels.
 * @param {number} [share] - Share of each strip, in its middle, that counts.
 * @returns {Channels} The means.
 */
export function computeMeans(sums, rowStrips, columnStrips, share = SAMPLED_SHARE) {
  const { width, channels } = sums;
  const byRow = averageStrips(sums.data, sums.height, width * channels, rowStrips, share);
  const data = new Float64Array(rowStrips.length * columnStrips.length * channels);
  for (let row = 0; row < rowStrips.length; row++) {
    const line = byRow.subarray(row * width * channels, (row + 1) * width * channels);
    data.set(averageStrips(line, width, channels, columnStrips, share), row * columnStrips.length * channels);
  }
  return { data, width: columnStrips.length, height: rowStrips.length, channels };
}

/** Average strips of an array of `lines` lines of `size` values. */
function averageStrips(data, lines, size, strips, share) {
  const length = lines - 1;
  const result = new Float64Array(strips.length * size);
  strips.forEach(([start, end], index) => {
    const [middle, half] = [(start + end) / 2, (share * (end - start)) / 2];
    const low = clip(middle - half, 0, length - 0.1);
    const high = Math.max(clip(middle + half, 0.1, length), low + 0.05);
    for (let place = 0; place < size; place++) {
      const difference = interpolate(data, lines, size, high, place) - interpolate(data, lines, size, low, place);
      result[index * size + place] = difference / (high - low);
    }
  });
  return result;
}

function interpolate(data, lines, size, position, place) {
  const within = clip(position, 0, lines - 1);
  const whole = Math.min(Math.trunc(within), lines - 2);
  const part = within - whole;
  return data[whole * size + place] * (1 - part) + data[(whole + 1) * size + place] * part;
}

/**
 * Return one channel as a plane.
 *
 * @param {Channels} image - The image.
 * @param {number} channel - The channel.
 * @returns {import("../plane.js").Plane} The plane, float64.
 */
export function selectChannel({ data, width, height, channels }, channel) {
  const plane = { data: new Float64Array(width * height), width, height };
  for (let index = 0; index < plane.data.length; index++) plane.data[index] = data[index * channels + channel];
  return plane;
}
