/** Resizing with the filters of Pillow: the same coefficients, the same order of the sums, the same rounding. */

import { roundHalfEven } from "./plane.js";

const PRECISION_BITS = 22; // of the coefficients for bytes
const MAX_RESIZED_PIXELS = 2 ** 24; // 4,096 x 4,096

const FILTERS = {
  box: { support: 0.5, weigh: (x) => Number(x > -0.5 && x <= 0.5) },
  bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
};

/** Return the first pixel and the weights of every new pixel. Mirrors `precompute_coeffs` of Pillow. */
function computeCoefficients(length, start, end, size, { support, weigh }) {
  const scale = (end - start) / size;
  const filterScale = Math.max(scale, 1);
  const reach = support * filterScale;
  return Array.from({ length: size }, (_, index) => {
    const center = start + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(length, Math.trunc(center + reach + 0.5));
    const weights = new Float64Array(Math.max(0, last - first));
    let total = 0;
    for (let x = 0; x < weights.length; x++) {
      weights[x] = weigh((x + first - center + 0.5) * (1 / filterScale));
      total += weights[x];
    }
    if (total !== 0) for (let x = 0; x < weights.length; x++) weights[x] /= total;
    return { first, weights };
  });
}

/** Resize along one axis: `lines` lines of `length` values; strides are distances in the arrays. */
function resampleAxis(source, target, coefficients, lines, strides, convert) {
  for (let line = 0; line < lines; line++) {
    for (const [index, { first, weights }] of coefficients.entries()) {
      let sum = convert.start;
      let position = line * strides.sourceLine + first * strides.source;
      for (let x = 0; x < weights.length; x++, position += strides.source) sum += source[position] * weights[x];
      target[line * strides.targetLine + index * strides.target] = convert.finish(sum);
    }
  }
}

const FLOAT_SUM = { start: 0, finish: (sum) => sum };
const BYTE_SUM = {
  start: 2 ** (PRECISION_BITS - 1),
  finish: (sum) => Math.min(255, Math.max(0, Math.floor(sum / 2 ** PRECISION_BITS))),
};

function quantise(coefficients) {
  const toInteger = (weight) => Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** PRECISION_BITS);
  return coefficients.map(({ first, weights }) => ({ first, weights: weights.map(toInteger) }));
}

/** Resize along rows, then along columns. */
function resample(image, channels, width, height, filter, box, prepare, convert) {
  const { data, width: oldWidth, height: oldHeight } = image;
  const [left, top, right, bottom] = box;
  let current = data;
  if (width !== oldWidth || left !== 0 || right !== oldWidth) {
    const coefficients = prepare(computeCoefficients(oldWidth, left, right, width, filter));
    const target = new data.constructor(oldHeight * width * channels);
    for (let channel = 0; channel < channels; channel++) {
      const strides = {
        source: channels,
        sourceLine: oldWidth * channels,
        target: channels,
        targetLine: width * channels,
      };
      resampleAxis(current.subarray(channel), target.subarray(channel), coefficients, oldHeight, strides, convert);
    }
    current = target;
  }
  if (height !== oldHeight || top !== 0 || bottom !== oldHeight) {
    const coefficients = prepare(computeCoefficients(oldHeight, top, bottom, height, filter));
    const target = new data.constructor(height * width * channels);
    const strides = { source: width * channels, sourceLine: 1, target: width * channels, targetLine: 1 };
    resampleAxis(current, target, coefficients, width * channels, strides, convert);
    current = target;
  }
  return { data: current, width, height };
}

/**
 * Resize float32 values. Mirrors `Image.resize` of Pillow in mode F.
 *
 * @param {import("./plane.js").Plane} plane - Values.
 * @param {number} width - New width.
 * @param {number} height - New height.
 * @param {"box" | "bilinear"} filter - Name of the filter.
 * @param {number} [channels] - Number of channels, which are resized one by one.
 * @returns {import("./plane.js").Plane} Resized values; the plane itself if it has this size.
 */
export function resizePlane(plane, width, height, filter, channels = 1) {
  if (plane.width === width && plane.height === height) return plane;
  const box = [0, 0, plane.width, plane.height];
  return resample(plane, channels, width, height, FILTERS[filter], box, (coefficients) => coefficients, FLOAT_SUM);
}

/**
 * Resize the shorter side and return the central square. Mirrors `training.data.preprocessing.resize_center_crop`.
 *
 * @param {{data: Uint8Array, width: number, height: number}} image - Bytes, channels last.
 * @param {number} channels - Number of channels.
 * @param {number} size - Length of the shorter side after resizing.
 * @param {number} crop - Side of the square.
 * @returns {Uint8Array} Bytes of the square, channels last.
 */
export function resizeCenterCrop(image, channels, size, crop) {
  const shorter = Math.min(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.trunc((size * side) / shorter));
  const [left, top] = [roundHalfEven((width - crop) / 2), roundHalfEven((height - crop) / 2)];
  const filter = FILTERS.bilinear;
  if (width * height > MAX_RESIZED_PIXELS) {
    const [scaleX, scaleY] = [image.width / width, image.height / height];
    const box = [left * scaleX, top * scaleY, (left + crop) * scaleX, (top + crop) * scaleY];
    return resample(image, channels, crop, crop, filter, box, quantise, BYTE_SUM).data;
  }
  const whole = [0, 0, image.width, image.height];
  const resized = resample(image, channels, width, height, filter, whole, quantise, BYTE_SUM);
  const square = new Uint8Array(crop * crop * channels);
  for (let row = 0; row < crop; row++) {
    const start = ((top + row) * width + left) * channels;
    square.set(resized.data.subarray(start, start + crop * channels), row * crop * channels);
  }
  return square;
}
