/** Find one solid object on a plain ground in a grey image. Mirrors `training.data.foreground.objects`. */

import {
  countNonZero,
  createPlane,
  cutPlane,
  findArgMax,
  findBounds,
  findMax,
  fround,
  isAbove,
  mapPlane,
  roundHalfEven,
  selectValues,
} from "../plane.js";
import { resizePlane } from "../resample.js";
import { computeDeviation, computeMedian, evaluateFit, fitLeastSquares } from "../statistics.js";
import { computeMaxima, countContacts, labelComponents, selectComponents } from "./components.js";
import { clearBorder, findFlatLevels } from "./grounds.js";
import { findFramesAndLines } from "./measures.js";
import { dilate, smooth } from "./morphology.js";
import { isSheet } from "./sheets.js";

const MIN_CONTRAST = 0.1;
const MIN_PART_SHARE = 0.05; // of the area of the largest component
const SURFACE_SIDE = 96; // pixels of the reduced image that the surface is fitted to
const NUM_TERMS = 6; // of the surface
const BAND_SHARE = 0.12; // width of the band along the border where the fit starts
const FIT_STEPS = 8;
const MIN_TOLERANCE = 0.02;
const MIN_LARGE_SHEET_SHARE = 0.4; // of the image
const SHEET_MARGIN = 0.04; // width of the border of a sheet that is left out
const MIN_SHEET_RECTANGULARITY = 0.93; // clothing may have 0.9
const MIN_INNER_CONTRAST = 0.5; // of the contrast of a sheet, for an object on it
const MIN_INNER_SHARE = 0.05; // of the area of a sheet, for an object on it

/**
 * An object in an image. Mirrors `ObjectFigure`.
 *
 * @typedef {object} ObjectFigure
 * @property {import("../plane.js").Box} box - Bounding box.
 * @property {import("../plane.js").Plane} mask - Pixels of the object, without other things.
 * @property {import("../plane.js").Plane} ground - Brightness of the ground.
 * @property {number} sign - -1 for an object that is darker than the ground, 1 for a lighter one.
 * @property {number} noise - Relative contrast below which pixels belong to the ground.
 * @property {number} contrast - Median contrast.
 * @property {boolean} hasOthers - Whether the image shows other objects.
 * @property {boolean} touchesEdge - Whether it touches the edge of the image.
 */

/**
 * Return the largest object of an image. A sheet is the ground of what lies on it. Mirrors `find_object`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {ObjectFigure | null} The object; null if nothing stands out.
 */
export function findObject(grey) {
  const figure = findOnGround(grey);
  if (!figure || !isLargeSheet(figure, grey)) return figure;
  const [top, left, bottom, right] = figure.box;
  const margin = roundHalfEven(SHEET_MARGIN * Math.min(bottom - top, right - left));
  const [row, column] = [top + margin, left + margin];
  const inner = findOnGround(cutPlane(grey, [row, column, bottom - margin, right - margin]));
  if (!inner || inner.touchesEdge || inner.contrast < MIN_INNER_CONTRAST * figure.contrast) return figure;
  if (countNonZero(inner.mask.data) < MIN_INNER_SHARE * countNonZero(figure.mask.data)) return figure;
  const mask = createPlane(grey.height, grey.width, Uint8Array);
  const ground = { ...figure.ground, data: figure.ground.data.slice() };
  for (const [target, source] of [
    [mask, inner.mask],
    [ground, inner.ground],
  ]) {
    for (let line = 0; line < source.height; line++) {
      const values = source.data.subarray(line * source.width, (line + 1) * source.width);
      target.data.set(values, (row + line) * target.width + column);
    }
  }
  return { ...inner, box: inner.box.map((edge, side) => edge + (side % 2 ? column : row)), mask, ground };
}

/** Return whether a figure is a sheet of paper that fills much of the image. */
function isLargeSheet(figure, grey) {
  const [top, left, bottom, right] = figure.box;
  if ((bottom - top) * (right - left) < MIN_LARGE_SHEET_SHARE * grey.data.length) return false;
  const [row, column] = [Math.floor((top + bottom) / 2), Math.floor((left + right) / 2)];
  const center = [row, column, row + 1, column + 1];
  return isSheet(grey, figure.mask, center, figure.sign * figure.contrast, MIN_SHEET_RECTANGULARITY);
}

/** Return the largest object of an image on the ground at its border, or null if nothing stands out. */
function findOnGround(grey) {
  const levels = findFlatLevels(grey);
  const flatGrounds = levels.slice(0, 2).map((level) => ({ ground: mapPlane(grey, () => level), noise: 0 }));
  const seen = levels.length ? grey : smooth(grey);
  const figures = [];
  for (const { ground, noise } of levels.length ? flatGrounds : [fitGround(grey)]) {
    for (const sign of [-1, 1]) {
      const contrast = mapPlane(seen, (value, index) => Math.max(sign * fround(value - ground.data[index]), 0));
      const figure = searchObject(contrast, ground, sign, noise);
      if (figure) figures.push(figure);
    }
    if (figures.some(({ touchesEdge }) => !touchesEdge)) break;
  }
  return figures.length ? figures[findArgMax(figures.map(computeWeight))] : null;
}

/** Return the contrast of a figure times its area; less if it touches the edge. */
function computeWeight({ contrast, mask, touchesEdge }) {
  return contrast * countNonZero(mask.data) * (touchesEdge ? 0.3 : 1);
}

/** Fit a quadratic surface to the ground, from the border inwards; return it and the deviation of the noise about it. */
function fitGround(grey) {
  const factor = Math.min(1, SURFACE_SIDE / Math.max(grey.width, grey.height));
  const [height, width] = [grey.height, grey.width].map((length) => Math.max(1, roundHalfEven(length * factor)));
  const { data } = resizePlane(grey, width, height, "box");
  const basis = buildBasis(height, width);
  const depth = (index, length) => (length > 1 ? Math.min(index / (length - 1), 1 - index / (length - 1)) : 0);
  let chosen = Uint8Array.from(data, (_, index) =>
    Number(Math.min(depth(Math.floor(index / width), height), depth(index % width, width)) < BAND_SHARE),
  );
  let weights = [];
  for (let step = 0; step < FIT_STEPS; step++) {
    const used = chosen;
    weights = fitLeastSquares(basis, data, NUM_TERMS, (index) => used[index]);
    const residual = Float64Array.from(data, (value, index) => Math.abs(value - evaluateFit(basis, index, weights)));
    const median = computeMedian(residual.filter((_, index) => used[index]));
    const tolerance = Math.max(MIN_TOLERANCE, 3 * 1.4826 * median);
    const closer = Uint8Array.from(residual, (value) => Number(value < tolerance));
    if (countNonZero(closer) < 0.05 * data.length) break;
    chosen = closer;
  }
  const smoothed = smooth(grey);
  const noise = computeDeviation(grey.data.map((value, index) => value - smoothed.data[index])) / 0.8;
  const terms = buildBasis(grey.height, grey.width);
  return { ground: mapPlane(grey, (_, index) => evaluateFit(terms, index, weights)), noise: Math.min(noise, 0.1) };
}

/** Return the terms of a quadratic surface at every pixel. */
function buildBasis(height, width) {
  const terms = new Float64Array(height * width * NUM_TERMS);
  const place = (index, length) => index * (length > 1 ? 2 / (length - 1) : 1) - 1;
  for (let index = 0; index < height * width; index++) {
    const [y, x] = [place(Math.floor(index / width), height), place(index % width, width)];
    terms.set([1, x, y, x * x, x * y, y * y], index * NUM_TERMS);
  }
  return terms;
}

/** Return the largest object of one sign, or null. */
function searchObject(contrast, ground, sign, noise) {
  const threshold = Math.max(MIN_CONTRAST / 2, 0.08 * findMax(contrast.data), 3 * noise);
  const components = labelComponents(isAbove(clearBorder(contrast, threshold), threshold));
  if (!components.count) return null;
  const contacts = countContacts(components);
  const limit = fround(Math.max(MIN_CONTRAST, 2 * threshold));
  const isStrong = computeMaxima(components, contrast).map((value) => value > limit);
  const isFrame = findFramesAndLines(components, contacts);
  let eligible = isStrong.map((value, index) => value && !isFrame[index]);
  if (!eligible.some(Boolean)) eligible = isStrong;
  if (!eligible.some(Boolean)) return null;
  const touches = contacts.map((counts) => counts.some(Boolean));
  const areas = components.areas.map((area, index) => (eligible[index] ? area : 0));
  const main = findArgMax(areas.map((area, index) => area * (touches[index] ? 0.5 : 1)));
  const members = areas.flatMap((area, index) => (area >= MIN_PART_SHARE * areas[main] ? [index] : []));
  const mask = selectComponents(components, members);
  return {
    box: findBounds(mask),
    mask: dilate(mask, 2),
    ground,
    sign,
    noise: 2 * noise,
    contrast: computeMedian(selectValues(contrast, mask)),
    hasOthers: areas.filter((area) => area >= 0.5 * areas[main]).length > 1,
    touchesEdge: members.some((index) => touches[index]),
  };
}
