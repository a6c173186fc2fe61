/** Recognise the letter S, for a start, among letters of a maze. Mirrors `training.data.maze_reader.letters`. */

import { countNonZero, createPlane, cutPlane, findBounds, findMax, fround, isAbove, mapPlane } from "../plane.js";
import { resizePlane } from "../resample.js";
import { LETTERS } from "./letter-templates.js";

const GLYPH_SIZE = 12;

/**
 * Return ink cropped to its extent and scaled to 12 x 12, with mean 0 and length 1. Mirrors `normalize_glyph`.
 *
 * @param {import("../plane.js").Plane} ink - Ink, float32.
 * @returns {Float64Array} The glyph; zeros if there is no ink.
 */
export function normalizeGlyph(ink) {
  const isInked = isAbove(ink, fround(fround(0.4) * findMax(ink.data)));
  if (!countNonZero(isInked.data)) return createPlane(GLYPH_SIZE, GLYPH_SIZE, Float64Array).data;
  const cropped = cutPlane(ink, findBounds(isInked));
  const scaled = mapPlane(resizePlane(cropped, GLYPH_SIZE, GLYPH_SIZE, "bilinear"), (value) => value, Float64Array);
  const mean = scaled.data.reduce((sum, value) => sum + value, 0) / scaled.data.length;
  const centred = scaled.data.map((value) => value - mean);
  const length = Math.max(Math.sqrt(centred.reduce((sum, value) => sum + value * value, 0)), 1e-9);
  return centred.map((value) => value / length);
}

/**
 * Return how much more a glyph is like an S than like another letter that may stand in a maze. Mirrors `compute_likeness`.
 *
 * @param {Float64Array} glyph - Result of `normalizeGlyph`.
 * @returns {number} The difference.
 */
export function computeLikeness(glyph) {
  const likeness = {};
  for (const [letter, template] of Object.entries(LETTERS)) {
    likeness[letter] = glyph.reduce((sum, value, index) => sum + value * template[index], 0);
  }
  const others = Object.keys(LETTERS).filter((letter) => letter !== "S");
  return likeness.S - Math.max(...others.map((letter) => likeness[letter]));
}
