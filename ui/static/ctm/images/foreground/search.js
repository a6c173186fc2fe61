/** Find the figure that stands out from its ground in a grey image. Mirrors `training.data.foreground.search`. */

import { findMax, isAbove } from "../plane.js";
import { computeMaxima, countContacts, labelComponents, selectComponents } from "./components.js";
import {
  buildFlatGround,
  buildLocalGround,
  clearBorder,
  estimateNoise,
  findFlatLevels,
  hasLineAcross,
  includeRuling,
} from "./grounds.js";
import { examine, findFramesAndLines } from "./measures.js";
import { smooth } from "./morphology.js";
import { isSheet } from "./sheets.js";

const MAX_LEVELS = 6; // thresholds that are tried
const LEVEL_STEP = 1.5;
const MAX_SPAN = 0.85; // of the image, at thresholds above the lowest one
const MAX_EXAMINED = 5; // components of one threshold
const WINDOW_SHARES = [0.08, 0.2, 0.45]; // of the shorter side: more than the width of a stroke
const MIN_EDGE_SHARE = 0.85; // of the outline

/** Width of a stroke by the length of the figure; more is a blob. Mirrors `MAX_STROKE_RATIO`. */
export const MAX_STROKE_RATIO = 0.4;

/**
 * A component that may be the figure. Mirrors `Candidate`.
 *
 * @typedef {object} Candidate
 * @property {import("./grounds.js").Ground} ground - Ground that it stands out from.
 * @property {import("./components.js").Components} components - Components of the same threshold.
 * @property {number} index - This component.
 * @property {boolean[]} eligible - Which components may belong to a figure.
 * @property {number[]} sizes - Size of every component, pixels.
 * @property {number} threshold - Contrast above which pixels belong to components.
 * @property {boolean} isFirstLevel - Whether the threshold is the lowest one.
 * @property {import("./measures.js").Measures} measures - What is known of it.
 * @property {boolean} touchesEdge - Whether it touches the edge of the image.
 * @property {number} score - Size, weighted with contrast, place and shape.
 */

/**
 * Return the pixels of a candidate.
 *
 * @param {Candidate} candidate - The candidate.
 * @returns {import("../plane.js").Plane} Mask of the image.
 */
export function selectMask({ components, index }) {
  return selectComponents(components, [index]);
}

/**
 * Return the figure of an image with values from 0 to 1. Mirrors `find_candidate`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {Candidate | null} The figure; null if nothing stands out.
 */
export function findCandidate(grey) {
  const found = [];
  for (const level of findFlatLevels(grey)) {
    for (const sign of [-1, 1]) found.push(searchGround(buildFlatGround(grey, level, sign), grey));
    const best = chooseCandidate(found, grey);
    if (best && best.measures.strokeRatio <= MAX_STROKE_RATIO) return best;
  }
  if (found.some(Boolean)) return chooseCandidate(found, grey);
  const smoothed = smooth(grey);
  return chooseCandidate(
    [-1, 1].map((sign) => searchWindows(grey, smoothed, sign)),
    grey,
  );
}

/** Return the candidate of the best score, or what a sheet of paper shows if that candidate is the sheet. */
function chooseCandidate(candidates, grey) {
  const [first, second] = candidates.filter(Boolean).sort((a, b) => b.score - a.score);
  if (!second) return first ?? null;
  const isOnSheet = (outer, inner) =>
    outer.ground.sign !== inner.ground.sign &&
    inner.sizes[inner.index] > 0.05 * outer.sizes[outer.index] &&
    isSheet(grey, selectMask(outer), inner.components.boxes[inner.index], outer.ground.sign * outer.measures.contrast);
  if (isOnSheet(first, second)) return second;
  return first;
}

/** Return the best candidate of one sign; of nearly equal ones that of the smallest window. */
function searchWindows(grey, smoothed, sign) {
  const found = [];
  const [side, noise] = [Math.min(grey.width, grey.height), estimateNoise(grey)];
  for (const share of WINDOW_SHARES) {
    const window = Math.max(5, Math.trunc(share * side) | 1);
    if (window >= side) continue;
    const candidate = searchGround(buildLocalGround(smoothed, window, sign, noise), grey);
    if (candidate) found.push(candidate);
  }
  if (!found.length) return null;
  const best = found.reduce((a, b) => (b.score > a.score ? b : a));
  const isNearlyBest = ({ score, measures }) =>
    score >= 0.9 * best.score && measures.contrast >= 0.85 * best.measures.contrast;
  return found.find(isNearlyBest);
}

/** Return the best candidate over all thresholds; of nearly equal ones that of the lowest threshold. */
function searchGround(original, image) {
  let [ground, grey] = [original, image];
  const highest = findMax(ground.contrast.data);
  if (highest < ground.minContrast) return null;
  if (hasLineAcross(isAbove(clearBorder(ground.contrast, ground.threshold), ground.threshold))) {
    ({ ground, grey } = includeRuling(ground, grey));
  }
  const found = [];
  for (const threshold of listThresholds(ground.threshold, highest)) {
    const contrast = clearBorder(ground.contrast, threshold);
    const components = labelComponents(isAbove(contrast, threshold));
    const candidate = components.count ? searchComponents(ground, components, grey, threshold) : null;
    if (!candidate) continue;
    found.push(candidate);
    if (isAlone(candidate)) break;
  }
  const bestScore = Math.max(0, ...found.map(({ score }) => score));
  return found.find(({ score }) => score >= 0.7 * bestScore) ?? null;
}

/** Return rising thresholds, at least one. */
function listThresholds(lowest, highest) {
  const thresholds = [lowest];
  while (thresholds.length < MAX_LEVELS) {
    const next = thresholds.at(-1) * LEVEL_STEP;
    if (next >= 0.62 * highest) break;
    thresholds.push(next);
  }
  return thresholds;
}

/** Return whether a candidate is all that stands out, so that a higher threshold would change nothing. */
function isAlone({ components: { areas }, index, measures, touchesEdge }) {
  const share = areas[index] / areas.reduce((sum, area) => sum + area, 0);
  return share > 0.9 && measures.evenness > 0.95 && !touchesEdge;
}

/** Return the best component that passes the tests of its outline and its surroundings. */
function searchComponents(ground, components, grey, threshold) {
  const { boxes, areas } = components;
  const contacts = countContacts(components);
  const touches = contacts.map((counts) => counts.some(Boolean));
  const maxima = computeMaxima(components, ground.contrast);
  const isFrame = findFramesAndLines(components, contacts);
  const isHigher = threshold > ground.threshold; // the rest of a frame or of a shadow
  const minContrast = Math.fround(ground.minContrast);
  const eligible = boxes.map(([top, left, bottom, right], index) => {
    const [height, width] = [bottom - top, right - left];
    if (!(maxima[index] > minContrast) || Math.max(height, width) < 3 || areas[index] < 4 || isFrame[index])
      return false;
    return !isHigher || (height <= MAX_SPAN * grey.height && width <= MAX_SPAN * grey.width);
  });
  const sizes = boxes.map(computeSize);
  const weights = boxes.map((box, index) => computePlaceWeight(box, grey) * (touches[index] ? 0.3 : 1));
  const order = boxes.map((_, index) => index).filter((index) => eligible[index]);
  order.sort((a, b) => sizes[b] * weights[b] - sizes[a] * weights[a]);
  for (const index of order.slice(0, MAX_EXAMINED)) {
    const measures = examine(ground, components, index, grey);
    if (measures.edgeShare < MIN_EDGE_SHARE) continue;
    const score = sizes[index] * weights[index] * computeQuality(measures);
    const isFirstLevel = threshold === ground.threshold;
    const touchesEdge = touches[index];
    return { ground, components, index, eligible, sizes, threshold, isFirstLevel, measures, touchesEdge, score };
  }
  return null;
}

function computeSize([top, left, bottom, right]) {
  const [height, width] = [bottom - top, right - left];
  return Math.sqrt(height * Math.min(1.5 * height, Math.max(width, height / 3)));
}

function computePlaceWeight([top, left, bottom, right], grey) {
  const [row, column] = [(top + bottom) / 2 / grey.height - 0.5, (left + right) / 2 / grey.width - 0.5];
  return 1 - 0.4 * Math.hypot(row, column);
}

/** Return the factor of the score that measures how well a component looks like strokes on a ground. */
function computeQuality({ contrast, edgeShare, evenness, strokeRatio }) {
  const blob = Math.min(1, Math.max(0.25, 1 - 2.5 * (strokeRatio - MAX_STROKE_RATIO)));
  return contrast ** 0.75 * edgeShare ** 3 * evenness ** 3 * blob;
}
