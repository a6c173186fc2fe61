/** Extract the figure of a drawing or of a photo, light on black. Mirrors `training.data.foreground.extraction`. */

import {
  clip,
  countNonZero,
  cutPlane,
  findMax,
  fround,
  isAbove,
  listBorder,
  mapPlane,
  roundHalfEven,
  selectValues,
} from "../plane.js";
import { resizePlane } from "../resample.js";
import { computeMedian, computeQuantile } from "../statistics.js";
import { cutImage, extendImage, iterateChannels, reduceImage, toGrey } from "./channels.js";
import { selectComponents } from "./components.js";
import { isFlat } from "./grounds.js";
import { dilate } from "./morphology.js";
import { findObject } from "./objects.js";
import { extend, joinParts, unite } from "./parts.js";
import { findCandidate, MAX_STROKE_RATIO, selectMask } from "./search.js";

const WEAK_CONTRAST = 0.2; // below it, single colour channels are searched, too
const MAX_BORDER_SHARE = 0.4; // of the border of an image that a figure covers
const FAINT_CONTRAST = 0.15; // below it, the answer has a note
const SEVERAL_FIGURES = "The picture shows several figures; only the largest one is read.";
const TOUCHES_EDGE = "The figure touches the edge of the picture, so part of it may be missing.";

/**
 * A figure, light on black. Mirrors `Foreground`.
 *
 * @typedef {object} Foreground
 * @property {import("../plane.js").Plane} pixels - The figure in its bounding box, 0 black to 1 for its strongest part.
 * @property {import("../plane.js").Box} box - Bounding box in the image.
 * @property {string[]} notes - What is doubtful, as sentences.
 */

/**
 * Return the strokes of the main figure of an image. Mirrors `extract_strokes`.
 *
 * @param {import("../plane.js").ColourImage} image - The image.
 * @returns {Foreground | null} The strokes; null if nothing stands out.
 */
export function extractStrokes(image) {
  const { image: reduced, scale } = reduceImage(image);
  const best = findInChannels(reduced);
  if (!best || isDoubtful(best.candidate)) {
    const margin = roundHalfEven(0.3 * Math.min(reduced.width, reduced.height)) + 2;
    const padded = extendImage(reduced, margin);
    const whole = findInChannels(padded);
    if (whole && (!best || isCroppedFigure(whole.candidate, best.candidate, margin))) {
      return shiftBox(cutStrokes(padded, 1, whole), margin, scale, image);
    }
  }
  return best ? cutStrokes(image, scale, best) : null;
}

/**
 * Return the main object of an image. Mirrors `extract_object`.
 *
 * @param {import("../plane.js").ColourImage} image - The image.
 * @returns {Foreground | null} The object; null if nothing stands out.
 */
export function extractObject(image) {
  const { image: reduced, scale } = reduceImage(image);
  for (const weights of iterateChannels(reduced)) {
    const figure = findObject(toGrey(reduced, weights));
    if (figure) return cutObject(image, scale, figure, weights);
  }
  return null;
}

/** Return the figure of an image and the weights of the channels where it stands out, or null. */
function findInChannels(image) {
  let best = null;
  for (const weights of iterateChannels(image)) {
    const candidate = findCandidate(toGrey(image, weights));
    if (candidate && (!best || candidate.score > 1.2 * best.candidate.score)) best = { candidate, weights };
    if (best && best.candidate.measures.contrast >= WEAK_CONTRAST) break;
  }
  return best;
}

/** Return whether a candidate may be a part of a figure that reaches from edge to edge. */
function isDoubtful({ measures, touchesEdge, ground }) {
  if (measures.evenness < 0.8 || touchesEdge || measures.strokeRatio > MAX_STROKE_RATIO) return true;
  const limit = fround(0.5 * measures.contrast);
  const border = listBorder(ground.contrast);
  const share = border.filter((value) => value > limit).length / border.length;
  return share > 0.02 && share < MAX_BORDER_SHARE;
}

/** Return whether a figure that reaches the edge is meant, and not the other candidate, such as its loop. */
function isCroppedFigure(whole, other, margin) {
  const { components, measures } = whole;
  const [rows, columns] = [components.height - 2 * margin, components.width - 2 * margin];
  const [top, left, bottom, right] = components.boxes[whole.index].map((edge) => edge - margin);
  if (Math.min(top, left, rows - bottom, columns - right) > 2 || measures.strokeRatio > MAX_STROKE_RATIO) return false;
  const mask = cutPlane(selectMask(whole), [margin, margin, margin + rows, margin + columns]);
  const contacts = listBorder(mask);
  const least = whole.ground.sign === other.ground.sign ? 0.9 : 0.75;
  if (countNonZero(contacts) / contacts.length > MAX_BORDER_SHARE) return false;
  if (measures.relativeContrast < least * other.measures.relativeContrast) return false;
  if (other.touchesEdge) return true;
  const isLarger = whole.sizes[whole.index] > 1.2 * other.sizes[other.index];
  return isLarger && components.areas[whole.index] > 0.06 * rows * columns;
}

/** Return a figure of the reduced and extended image as a figure of the full image; null if it lies outside. */
function shiftBox(foreground, margin, scale, { width, height }) {
  const edges = foreground.box.map((edge) => roundHalfEven((edge - margin) / scale));
  const box = [Math.max(edges[0], 0), Math.max(edges[1], 0), Math.min(edges[2], height), Math.min(edges[3], width)];
  if (box[0] >= box[2] || box[1] >= box[3]) return null;
  return { pixels: foreground.pixels, box, notes: [...new Set([TOUCHES_EDGE, ...foreground.notes])] };
}

/** Return the strokes of a candidate, cut out of the full image. */
function cutStrokes(image, scale, { candidate, weights }) {
  const { components, ground, measures } = candidate;
  const { members, hasOthers } = joinParts(candidate);
  const tight = unite(members.map((index) => components.boxes[index]));
  const margin = 3 + Math.floor(Math.max(tight[2] - tight[0], tight[3] - tight[1]) / 40);
  const box = extend(tight, margin, components);
  const { grey, box: fullBox } = cutImage(image, box, scale, weights);
  const small = dilate(selectComponents(components, members, box), margin - 1);
  const mask = resizeMask(small, grey);
  const level = isFlat(ground) ? null : resizePlane(cutPlane(ground.level, box), grey.width, grey.height, "bilinear");
  const contrast = mapPlane(grey, (value, index) => {
    const difference = fround(value - (level ? level.data[index] : ground.level));
    return mask.data[index] ? Math.max(ground.sign * difference, 0) : 0;
  });
  const floor = candidate.isFirstLevel ? 0 : 0.8 * candidate.threshold;
  const pixels = level ? normalise(contrast, level, ground.sign, floor, mask) : divideByMax(contrast);
  return { pixels, box: fullBox, notes: listNotes(hasOthers, candidate.touchesEdge, measures.contrast) };
}

function divideByMax(contrast) {
  const largest = findMax(contrast.data);
  return mapPlane(contrast, (value) => value / largest);
}

function resizeMask(mask, { width, height }) {
  const values = mapPlane(mask, (value) => value);
  return isAbove(resizePlane(values, width, height, "bilinear"), 0.5);
}

/** Return the strokes of a photo from 0 to 1: most of the figure is 1, noise and lines of the paper are 0. */
function normalise(original, level, sign, lowest, mask) {
  let [contrast, floor] = [original, lowest];
  if (sign < 0) {
    // The light falls on the ink, too.
    const light = mapPlane(level, (value) => Math.max(value, fround(0.05)));
    contrast = mapPlane(original, (value, index) => value / light.data[index]);
    floor = lowest / computeMedian(light.data);
  }
  const strongest = computeQuantile(selectValues(contrast, mask), 0.98);
  const limit = fround(fround(0.4) * strongest);
  const full = computeQuantile(
    contrast.data.filter((value) => value >= limit),
    0.75,
  );
  floor = floor ? Math.min(floor / full, 0.8) : 0.12;
  const [low, range] = [fround(floor), fround(1 - floor)];
  return mapPlane(contrast, (value) => clip(fround(fround(fround(value / full) - low) / range), 0, 1));
}

/** Return an object, cut out of the full image. */
function cutObject(image, scale, figure, weights) {
  const { grey, box } = cutImage(image, figure.box, scale, weights);
  const level = resizePlane(cutPlane(figure.ground, figure.box), grey.width, grey.height, "bilinear");
  const mask = resizeMask(cutPlane(figure.mask, figure.box), grey);
  const noise = fround(figure.noise);
  const pixels = mapPlane(grey, (value, index) => {
    const ground = level.data[index];
    const reach = Math.max(figure.sign < 0 ? ground : fround(1 - ground), fround(0.05));
    const pixel = clip(fround((figure.sign * fround(value - ground)) / reach), 0, 1);
    return mask.data[index] && pixel >= noise ? pixel : 0;
  });
  return { pixels, box, notes: listNotes(figure.hasOthers, figure.touchesEdge, figure.contrast) };
}

function listNotes(hasOthers, touchesEdge, contrast) {
  const notes = hasOthers ? [SEVERAL_FIGURES] : [];
  if (touchesEdge) notes.push(TOUCHES_EDGE);
  if (contrast < FAINT_CONTRAST) {
    const percent = roundHalfEven(100 * contrast);
    notes.push(`The figure is faint: it differs from the background by only ${percent}%.`);
  }
  return notes;
}
