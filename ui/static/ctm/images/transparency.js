/** Place partly transparent images on the background that their visible pixels stand out from.
 *
 * Mirrors `remove_transparency` of `training.data.pixel_values`, for files that declare no color transparent.
 */

import { countNonZero, fround, roundHalfEven } from "./plane.js";
import { computeMedian } from "./statistics.js";

const MAX_SAMPLED_PIXELS = 250_000; // on which a background is chosen
const USEFUL_CONTRAST = 0.5; // contrast above which more does not make a stroke easier to see
const MIN_SHEET_FILL = 0.7; // share of its bounding box that an opaque sheet covers
const MIN_STRAIGHT_SHARE = 0.95; // share of the middle of each of its sides that is straight
const SHEET_INSET = 0.03; // of the side, from where the sheet begins
const MIN_SHEET_AREA = 0.5; // share of the image that the bounding box of a sheet covers
const SHEET_TOLERANCE = 0.25; // difference in brightness from the sheet of what is drawn on it
const MIN_DRAWN_SHARE = 0.002;
const OPAQUE = 128; // alpha from which a pixel counts as visible

/**
 * Return the colors of an image without transparency.
 *
 * @param {{data: Uint8Array | Uint8ClampedArray, width: number, height: number}} image - RGBA bytes, not multiplied by alpha.
 * @returns {Uint8Array} RGB bytes.
 */
export function removeTransparency({ data, width, height }) {
  const colors = new Uint8Array(width * height * 3);
  let [lowest, highest] = [255, 0];
  for (let index = 0; index < width * height; index++) {
    for (let channel = 0; channel < 3; channel++) colors[3 * index + channel] = data[4 * index + channel];
    lowest = Math.min(lowest, data[4 * index + 3]);
    highest = Math.max(highest, data[4 * index + 3]);
  }
  if (lowest === highest) return colors;
  const fill = chooseFill(sampleImage({ data, width, height }));
  for (let index = 0; index < width * height; index++) {
    const alpha = data[4 * index + 3];
    for (let channel = 0; channel < 3; channel++) {
      const mixed = fill[channel] * (255 - alpha) + colors[3 * index + channel] * alpha + 128;
      colors[3 * index + channel] = ((mixed >> 8) + mixed) >> 8; // Pillow divides by 255 in this way
    }
  }
  return colors;
}

/** Return at most about `MAX_SAMPLED_PIXELS` of an image: brightness, opacity and colors. */
function sampleImage({ data, width, height }) {
  const step = Math.max(1, roundHalfEven(Math.sqrt((width * height) / MAX_SAMPLED_PIXELS)));
  const [rowStep, columnStep] = [Math.min(step, height), Math.min(step, width)];
  const sample = { width: Math.ceil(width / columnStep), height: Math.ceil(height / rowStep) };
  const count = sample.width * sample.height;
  Object.assign(sample, {
    levels: new Float32Array(count),
    alphas: new Uint8Array(count),
    sources: new Int32Array(count),
  });
  for (let index = 0; index < count; index++) {
    const [row, column] = [Math.floor(index / sample.width) * rowStep, (index % sample.width) * columnStep];
    const source = 4 * (row * width + column);
    const grey = (data[source] * 19595 + data[source + 1] * 38470 + data[source + 2] * 7471 + 0x8000) >> 16;
    sample.levels[index] = grey / 255;
    sample.alphas[index] = data[source + 3];
    sample.sources[index] = source;
  }
  return { ...sample, data };
}

/** Return the color of the background. Mirrors `choose_background`. */
function chooseFill(sample) {
  const sheetLevel = findSheet(sample);
  const useBlack = computeContrast(sample, 0) > computeContrast(sample, 1) + 0.01;
  const background = sheetLevel ?? (useBlack ? 0 : 1);
  if (background === 0 || background === 1) return Array(3).fill(255 * background);
  return [0, 1, 2].map((channel) => {
    const visible = sample.sources.filter((_, index) => sample.alphas[index] >= OPAQUE);
    return Math.trunc(computeMedian(Float64Array.from(visible, (source) => sample.data[source + channel])));
  });
}

/** Return the mean difference of visible pixels from a background; each counts up to `USEFUL_CONTRAST`. */
function computeContrast({ levels, alphas }, background) {
  let [sum, total] = [0, 0];
  for (let index = 0; index < levels.length; index++) {
    sum += Math.min(Math.abs(levels[index] - background), USEFUL_CONTRAST) * alphas[index];
    total += alphas[index];
  }
  return sum / total;
}

/** Return the brightness of an opaque rectangle that something is drawn on, or null. */
function findSheet({ levels, alphas, width, height }) {
  const isVisible = alphas.map((alpha) => Number(alpha >= OPAQUE));
  const box = findVisibleBox(isVisible, width, height);
  if (!box) return null;
  const inside = { width: box.right - box.left, height: box.bottom - box.top };
  const isInside = (row, column) => isVisible[(box.top + row) * width + box.left + column];
  const area = inside.width * inside.height;
  if (countNonZero(isVisible) / area < MIN_SHEET_FILL || area < MIN_SHEET_AREA * isVisible.length) return null;
  if (!hasStraightSides(isInside, inside)) return null;
  const [marginY, marginX] = [inside.height, inside.width].map((length) => Math.max(1, Math.floor(length / 10)));
  const visible = [];
  for (let row = marginY; row < inside.height - marginY; row++) {
    for (let column = marginX; column < inside.width - marginX; column++) {
      if (isInside(row, column)) visible.push(levels[(box.top + row) * width + box.left + column]);
    }
  }
  if (!visible.length) return null;
  const level = computeMedian(Float32Array.from(visible));
  const drawn = visible.filter((value) => Math.abs(fround(value - level)) > SHEET_TOLERANCE);
  return drawn.length / visible.length > MIN_DRAWN_SHARE ? level : null;
}

function findVisibleBox(isVisible, width, height) {
  const box = { top: height, left: width, bottom: 0, right: 0 };
  for (let index = 0; index < isVisible.length; index++) {
    if (!isVisible[index]) continue;
    const [row, column] = [Math.floor(index / width), index % width];
    box.top = Math.min(box.top, row);
    box.left = Math.min(box.left, column);
    box.bottom = row + 1;
    box.right = Math.max(box.right, column + 1);
  }
  return box.bottom ? box : null;
}

/** Return whether the middle half of each side of a mask is covered, as that of a rectangle with rounded corners. */
function hasStraightSides(isInside, { width, height }) {
  const [insetY, insetX] = [Math.trunc(SHEET_INSET * height), Math.trunc(SHEET_INSET * width)];
  const sides = [
    [width, (place) => isInside(insetY, place)],
    [width, (place) => isInside(height - 1 - insetY, place)],
    [height, (place) => isInside(place, insetX)],
    [height, (place) => isInside(place, width - 1 - insetX)],
  ];
  return sides.every(([length, isCovered]) => {
    const [start, end] = [Math.floor(length / 4), length - Math.floor(length / 4)];
    let covered = 0;
    for (let place = start; place < end; place++) covered += isCovered(place) ? 1 : 0;
    return covered / (end - start) >= MIN_STRAIGHT_SHARE;
  });
}
