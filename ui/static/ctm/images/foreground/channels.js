/** Sizes and colours of images that are searched for a figure. Mirrors `training.data.foreground.channels`. */

import { clip, countNonZero, createPlane, findMax, findMin, fround, roundHalfEven } from "../plane.js";
import { resizePlane } from "../resample.js";
import { computeMedian, evaluateFit, fitLeastSquares } from "../statistics.js";
import { smooth } from "./morphology.js";

const MAX_SEARCH_PIXELS = 120_000;
const MAX_CUT_SIDE = 320; // pixels of the longer side
const MIN_COLOUR_RANGE = 0.12; // of the difference between two channels
const FIT_STEPS = 5;
const LUMINANCE = [fround(0.299), fround(0.587), fround(0.114)];
const SINGLE_CHANNELS = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];

/**
 * Return an image of at most `MAX_SEARCH_PIXELS` pixels. Mirrors `reduce_image`.
 *
 * @param {import("../plane.js").ColourImage} image - Full image.
 * @returns {{image: import("../plane.js").ColourImage, scale: number}} The image and its scale.
 */
export function reduceImage(image) {
  const scale = Math.min(1, Math.sqrt(MAX_SEARCH_PIXELS / (image.height * image.width)));
  const [height, width] = [image.height, image.width].map((length) => Math.max(1, roundHalfEven(length * scale)));
  let current = image;
  while (Math.min(current.height / height, current.width / width) >= 4) current = halveImage(current);
  return { image: resizeImage(current, height, width), scale };
}

/** Return the means of two pixels of every square of 2 x 2; faster than a box filter. */
function halveImage({ data, width, height }) {
  const result = { data: new Float32Array((height >> 1) * (width >> 1) * 3), width: width >> 1, height: height >> 1 };
  for (let row = 0; row < result.height; row++) {
    for (let column = 0; column < result.width; column++) {
      const source = 3 * (2 * row * width + 2 * column);
      for (let channel = 0; channel < 3; channel++) {
        const sum = fround(data[source + channel] + data[source + 3 * (width + 1) + channel]);
        result.data[3 * (row * result.width + column) + channel] = sum / 2;
      }
    }
  }
  return result;
}

/** Return an image that is resized with a box filter, with values from 0 to 1. Mirrors `resize_image`. */
function resizeImage(image, height, width) {
  const resized = resizePlane(image, width, height, "box", 3);
  return { data: resized.data.map((value) => clip(value, 0, 1)), width, height };
}

/**
 * Return the weighted sum of the channels. Mirrors `to_grey`.
 *
 * @param {import("../plane.js").ColourImage} image - The image.
 * @param {number[]} [weights] - Weight of each channel; those of the brightness by default.
 * @returns {import("../plane.js").Plane} The grey image.
 */
export function toGrey({ data, width, height }, weights = LUMINANCE) {
  const grey = createPlane(height, width);
  for (let index = 0; index < grey.data.length; index++) {
    const [red, green] = [fround(data[3 * index] * weights[0]), fround(data[3 * index + 1] * weights[1])];
    grey.data[index] = fround(red + green) + fround(data[3 * index + 2] * weights[2]);
  }
  return grey;
}

/**
 * Yield the weights of the brightness, and then of single channels if the image has colours. Mirrors `iterate_channels`.
 *
 * @param {import("../plane.js").ColourImage} image - The image.
 * @yields {number[]} Weight of each channel.
 */
export function* iterateChannels(image) {
  yield LUMINANCE;
  const ranges = [0, 2].map((channel) => {
    const difference = createPlane(image.height, image.width);
    for (let index = 0; index < difference.data.length; index++) {
      difference.data[index] = image.data[3 * index + 1] - image.data[3 * index + channel];
    }
    const { data } = smooth(smooth(difference));
    return fround(findMax(data) - findMin(data));
  });
  if (Math.max(...ranges) > MIN_COLOUR_RANGE) yield* SINGLE_CHANNELS;
}

/**
 * Return a part of the full image in grey, at most `MAX_CUT_SIDE` long. Mirrors `cut_image`.
 *
 * @param {import("../plane.js").ColourImage} image - Full image.
 * @param {import("../plane.js").Box} box - Box in the reduced image.
 * @param {number} scale - Scale of the reduced image.
 * @param {number[]} weights - Weights of the channels.
 * @returns {{grey: import("../plane.js").Plane, box: import("../plane.js").Box}} The part, and its box in the full image.
 */
export function cutImage(image, box, scale, weights) {
  const [top, left] = box.slice(0, 2).map((edge) => Math.trunc(edge / scale));
  const [bottom, right] = [image.height, image.width].map((length, axis) =>
    Math.min(Math.ceil(box[2 + axis] / scale), length),
  );
  const part = {
    data: new Float32Array((bottom - top) * (right - left) * 3),
    width: right - left,
    height: bottom - top,
  };
  for (let row = 0; row < part.height; row++) {
    const start = 3 * ((top + row) * image.width + left);
    part.data.set(image.data.subarray(start, start + 3 * part.width), 3 * row * part.width);
  }
  const factor = scale < 1 ? Math.min(1, MAX_CUT_SIDE / Math.max(part.height, part.width)) : 1;
  const [height, width] = [part.height, part.width].map((length) => Math.max(1, roundHalfEven(length * factor)));
  return { grey: toGrey(resizeImage(part, height, width), weights), box: [top, left, bottom, right] };
}

/**
 * Return an image with a margin of ground: a plane that most pixels of its border lie on. Mirrors `extend_image`.
 *
 * @param {import("../plane.js").ColourImage} image - The image.
 * @param {number} margin - Width of the margin.
 * @returns {import("../plane.js").ColourImage} The larger image.
 */
export function extendImage(image, margin) {
  const [height, width] = [image.height + 2 * margin, image.width + 2 * margin];
  const result = { data: new Float32Array(height * width * 3), width, height };
  for (let channel = 0; channel < 3; channel++) {
    const weights = fitBorder(image, channel);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const [y, x] = [row - margin, column - margin];
        const isInside = y >= 0 && y < image.height && x >= 0 && x < image.width;
        const terms = [1, fround(y / image.height), fround(x / image.width)];
        const value = isInside
          ? image.data[3 * (y * image.width + x) + channel]
          : clip(evaluateFit(terms, 0, weights), 0, 1);
        result.data[3 * (row * width + column) + channel] = value;
      }
    }
  }
  return result;
}

/** Return the plane that most pixels of the border of one channel lie on, as weights of 1, row and column. */
function fitBorder({ data, width, height }, channel) {
  const [values, terms] = [[], []];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (row > 0 && row < height - 1 && column > 0 && column < width - 1) continue;
      values.push(data[3 * (row * width + column) + channel]);
      terms.push(1, row / height, column / width);
    }
  }
  const border = { values: Float32Array.from(values), terms: Float32Array.from(terms) };
  let weights = [computeMedian(border.values), 0, 0];
  for (let step = 0; step < FIT_STEPS; step++) {
    const residual = Float64Array.from(border.values, (value, index) =>
      Math.abs(value - evaluateFit(border.terms, index, weights)),
    );
    const limit = Math.max(0.03, 1.5 * computeMedian(residual));
    const isNear = Uint8Array.from(residual, (value) => Number(value <= limit));
    if (!countNonZero(isNear)) break;
    weights = fitLeastSquares(border.terms, border.values, 3, (index) => isNear[index]);
  }
  return weights;
}
