/** Estimate the period and the position of the walls of a maze along one axis. Mirrors `training.data.maze_reader.combs`. */

import { findArgMax, findMax, fround } from "../plane.js";
import { computeMedian, sumFloat32 } from "../statistics.js";
import { computeSpectrum } from "./fourier.js";

const MIN_WIDTH = 0.4; // pixels of a wall or a path
const MAX_PEAKS = 12; // of the spectrum of an axis
const HARMONIC_WEIGHTS = [1, 0.8, 0.6, 0.4];
const EDGE_TOLERANCES = [0, 0.02, 0.06, 0.12]; // in periods
const MAX_AXES = 5; // that are verified per axis of the image
const NUM_HARMONICS = 8;
const NUM_PHASES = 128;
const TOOTH_WIDTH = 0.08; // in periods, around a peak, in which edges count for its position
const EDGE_SHARE = 0.35; // of a strip that must be visible at the edge of the image
const MAX_ROUNDING_ERROR = 1e-9; // of a folded profile, as a share of its largest value
const NUM_TRIED = 13; // frequencies near one that is refined

/**
 * The lattice along one axis, in pixels. Mirrors `Axis`.
 *
 * @typedef {object} Axis
 * @property {number} period - Distance of two dark strips.
 * @property {number} darkStart - Position where a dark strip begins.
 * @property {number} darkWidth - Thickness of the dark strips.
 */

/** Return the remainder with the sign of the divisor. */
function modulo(value, divisor) {
  const rest = value % divisor;
  return rest !== 0 && rest < 0 !== divisor < 0 ? rest + divisor : rest;
}

/**
 * Return the strips within an image. Mirrors `Axis.get_strips`.
 *
 * @param {Axis} axis - The lattice.
 * @param {number} length - Pixels of the image along the axis.
 * @returns {{strips: number[][], areDark: boolean[]}} Start and end of all strips that are visible, and whether each is dark.
 */
export function listStrips({ period, darkStart, darkWidth }, length) {
  const first = Math.floor(-darkStart / period) - 1;
  const count = Math.ceil(length / period) + 3;
  const edges = [];
  for (let index = first; index < first + count; index++) {
    const dark = darkStart + period * index;
    edges.push(dark, dark + darkWidth);
  }
  const [strips, areDark] = [[], []];
  for (let index = 0; index + 1 < edges.length; index++) {
    const [start, end] = [edges[index], edges[index + 1]];
    const visible = Math.min(end, length) - Math.max(start, 0);
    if (!(visible > Math.max(EDGE_SHARE * (end - start), 0.3))) continue;
    strips.push([start, end]);
    areDark.push(index % 2 === 0);
  }
  return { strips, areDark };
}

/**
 * Return lattices along the horizontal axis that may explain the vertical edges. Mirrors `propose_axes`.
 *
 * @param {import("../plane.js").Plane} brightness - Brightness of the pixels.
 * @param {import("../plane.js").Plane} isTwoColoured - Mask of the pixels with a colour of walls or paths.
 * @param {boolean} isTransposed - Whether the image is transposed; NumPy sums it in another order.
 * @returns {{share: number, axis: Axis}[]} The lattices with the share of edges on them, the best first.
 */
export function proposeAxes(brightness, isTwoColoured, isTransposed) {
  const [falling, rising] = [-1, 1].map((sign) => sumSlopes(brightness, isTwoColoured, sign, isTransposed));
  const axes = [];
  for (const period of findPeriods(falling, rising, brightness.width)) {
    const [darkStart, darkEnd] = [falling, rising].map((profile) => findTeeth(profile, period));
    let darkWidth = modulo(darkEnd - darkStart, period);
    if (!(darkWidth > MIN_WIDTH && darkWidth < period - MIN_WIDTH)) darkWidth = period / 2;
    const axis = { period, darkStart: modulo(darkStart, period), darkWidth };
    axes.push({ share: computeEdgeShare(falling, rising, axis), axis });
  }
  return axes.sort((a, b) => b.share - a.share).slice(0, MAX_AXES);
}

/** Return the sum of the slopes of one sign over the rows, above the median sum. */
function sumSlopes({ data, width, height }, { data: mask }, sign, isTransposed) {
  const profile = new Float32Array(width - 1);
  const column = new Float32Array(height);
  for (let x = 0; x < width - 1; x++) {
    for (let row = 0; row < height; row++) {
      const place = row * width + x;
      const slope = mask[place] && mask[place + 1] ? fround(data[place + 1] - data[place]) : 0;
      column[row] = Math.max(sign * slope, 0);
    }
    profile[x] = isTransposed ? sumFloat32(column) : column.reduce((sum, value) => fround(sum + value), 0);
  }
  const median = computeMedian(profile);
  return profile.map((value) => Math.max(fround(value - median), 0));
}

/** Return the share of the edges that lie near the boundaries of strips, less the share that does so by chance. */
function computeEdgeShare(falling, rising, { period, darkStart, darkWidth }) {
  const shares = EDGE_TOLERANCES.map(() => 0);
  const tolerances = EDGE_TOLERANCES.map((share) => Math.max(share * period, Math.min(0.75, 0.25 * period)));
  for (const [profile, start] of [
    [falling, darkStart],
    [rising, darkStart + darkWidth],
  ]) {
    const total = Math.max(sumFloat32(profile), 1e-9);
    const distances = Array.from(profile, (_, index) => Math.abs(wrap(index + 1 - start, period)));
    tolerances.forEach((tolerance, k) => {
      let [near, count] = [0, 0];
      distances.forEach((distance, index) => {
        if (distance > tolerance) return;
        near += profile[index];
        count++;
      });
      shares[k] += (near / total - count / profile.length) / 2;
    });
  }
  return Math.max(...shares);
}

/** Return the distance from the nearest multiple of a period. */
function wrap(distance, period) {
  return modulo(distance + period / 2, period) - period / 2;
}

function subtractMean(profile) {
  const mean = fround(sumFloat32(profile) / profile.length);
  return profile.map((value) => value - mean);
}

/** Return the periods of two profiles of edges, refined to a small part of a pixel. */
function findPeriods(falling, rising, length) {
  const size = 2 ** Math.ceil(Math.log2(16 * falling.length));
  const centred = [falling, rising].map(subtractMean);
  const [spectrum, other] = centred.map((profile) => computeSpectrum(profile, size));
  for (let index = 0; index < spectrum.length; index++) spectrum[index] += other[index];
  const [low, high] = [Math.ceil((size * 1.6) / length), size / 2];
  const strengths = Array.from({ length: Math.max(0, high - low + 1) }, (_, i) =>
    computeStrength(spectrum, low + i, high),
  );
  const peaks = strengths.flatMap((strength, i) => {
    const isPeak = strength >= (strengths[i - 1] ?? 0) && strength > (strengths[i + 1] ?? 0);
    // Of equal combs, the one with the largest period.
    return isPeak ? [{ index: low + i, preference: strength * (low + i) ** -0.15 }] : [];
  });
  peaks.sort((a, b) => b.preference - a.preference);
  const found = [];
  for (const { index } of peaks) {
    if (found.some((frequency) => Math.abs(index / size - frequency) < 0.3 / length)) continue;
    found.push(refineFrequency(centred, index / size));
    if (found.length === MAX_PEAKS) break;
  }
  return found.map((frequency) => 1 / frequency);
}

/** Return the weighted mean of the spectrum over the first multiples of a frequency. */
function computeStrength(spectrum, index, high) {
  let [sum, count] = [0, 0];
  HARMONIC_WEIGHTS.forEach((weight, k) => {
    if ((k + 1) * index > high) return;
    sum += weight * spectrum[(k + 1) * index];
    count += weight;
  });
  return sum / count;
}

/** Return the frequency near another one whose harmonics are strongest. */
function refineFrequency(centred, frequency) {
  const length = centred[0].length;
  const tried = Array.from({ length: NUM_TRIED }, (_, i) => frequency + (i * 0.02 - 0.12) / length);
  const strengths = tried.map((candidate) => {
    let strength = 0;
    for (let k = 1; k < 5 && k * frequency <= 0.5 + 1e-9; k++) {
      for (const profile of centred) strength += Math.hypot(...computeHarmonic(profile, k * candidate));
    }
    return strength;
  });
  return Math.min(tried[findArgMax(strengths)], 0.5);
}

/** Return real and imaginary part of the transform at one frequency. */
function computeHarmonic(profile, frequency) {
  let [real, imaginary] = [0, 0];
  for (let index = 0; index < profile.length; index++) {
    const angle = -2 * Math.PI * frequency * index;
    real += Math.cos(angle) * profile[index];
    imaginary += Math.sin(angle) * profile[index];
  }
  return [real, imaginary];
}

/** Return the mean profile over one period at `NUM_PHASES` phases, from its harmonics. */
function foldProfile(profile, period) {
  const fold = new Float64Array(NUM_PHASES);
  for (let harmonic = 1; harmonic <= NUM_HARMONICS; harmonic++) {
    if (harmonic / period > 0.5 + 1e-9) break;
    const weight = Math.exp(-0.5 * (harmonic / (0.6 * NUM_HARMONICS)) ** 2);
    const [real, imaginary] = computeHarmonic(profile, harmonic / period).map((part) => part * weight);
    for (let phase = 0; phase < NUM_PHASES; phase++) {
      const angle = (2 * Math.PI * harmonic * phase) / NUM_PHASES;
      fold[phase] += real * Math.cos(angle) - imaginary * Math.sin(angle);
    }
  }
  return fold;
}

/** Return the position of the first tooth of a comb in pixels; an edge between pixels x and x + 1 is at x + 1. */
function findTeeth(profile, period) {
  const start = findPeak(foldProfile(profile, period)) * period + 1;
  const reach = Math.max(1, TOOTH_WIDTH * period);
  let [sum, total] = [0, 0];
  for (let index = 0; index < profile.length; index++) {
    const distance = wrap(index + 1 - start, period);
    if (Math.abs(distance) > reach) continue;
    sum += profile[index] * distance;
    total += profile[index];
  }
  return start + sum / Math.max(total, 1e-9);
}

/** Return the phase of the largest value, between 0 and 1. */
function findPeak(fold) {
  // Of equal peaks the first one counts, and not the one that rounding errors favour.
  const least = findMax(fold) - MAX_ROUNDING_ERROR * findMax(fold.map(Math.abs));
  const top = fold.findIndex((value) => value >= least);
  const [before, at, after] = [fold.at(top - 1), fold[top], fold[(top + 1) % fold.length]];
  const bend = before - 2 * at + after;
  return (top + (bend < 0 ? (0.5 * (before - after)) / bend : 0)) / fold.length;
}
