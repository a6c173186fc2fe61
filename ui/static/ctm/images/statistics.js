/** Medians, percentiles, sums and fits as NumPy computes them. */

import { fround } from "./plane.js";

const PAIRWISE_BLOCK = 128;
const FLOAT32_EPSILON = 2 ** -23;
const MIN_EPSILON = 1e-7; // of a fit in float64: the squares of smaller singular values are lost
const JACOBI_SWEEPS = 60;

/**
 * Return the median. Mirrors `np.median`; float32 values have a float32 median.
 *
 * @param {Float32Array | Float64Array | Uint8Array} values - The values, at least one.
 * @returns {number} The median.
 */
export function computeMedian(values) {
  const parts = values.slice();
  const middle = parts.length >> 1;
  const upper = selectRank(parts, middle);
  if (parts.length % 2) return upper;
  let lower = parts[0];
  for (let index = 1; index < middle; index++) if (parts[index] > lower) lower = parts[index];
  return values instanceof Float32Array ? fround(fround(lower + upper) / 2) : (lower + upper) / 2;
}

/** Move the value of a rank to its place, smaller ones before it and larger ones after it, and return it (quickselect). */
function selectRank(values, rank) {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let [left, right] = [low, high];
    while (left <= right) {
      while (values[left] < pivot) left++;
      while (values[right] > pivot) right--;
      if (left > right) break;
      const swapped = values[left];
      values[left++] = values[right];
      values[right--] = swapped;
    }
    if (rank <= right) high = right;
    else if (rank >= left) low = left;
    else break;
  }
  return values[rank];
}

/**
 * Return a quantile with linear interpolation. Mirrors `np.quantile`; float32 values have a float32 quantile.
 *
 * @param {Float32Array | Float64Array} values - The values, at least one.
 * @param {number} share - Share of the values below it, 0 to 1.
 * @returns {number} The quantile.
 */
export function computeQuantile(values, share) {
  const ordered = values.slice().sort();
  const round = values instanceof Float32Array ? fround : (value) => value;
  const position = (ordered.length - 1) * share;
  const index = Math.floor(position);
  const [before, after] = [ordered[index], ordered[Math.min(index + 1, ordered.length - 1)]];
  const [part, difference] = [position - index, round(after - before)];
  if (part < 0.5) return round(before + round(difference * round(part)));
  return round(after - round(difference * round(1 - part)));
}

/**
 * Return the sum of float32 values in float32, in the order of NumPy: in pairs of halves, in eight interleaved parts.
 *
 * @param {Float32Array} values - The values.
 * @returns {number} The sum.
 */
export function sumFloat32(values) {
  const count = values.length;
  if (count > PAIRWISE_BLOCK) {
    const half = (count >> 1) - ((count >> 1) % 8);
    return fround(sumFloat32(values.subarray(0, half)) + sumFloat32(values.subarray(half)));
  }
  let sum = 0;
  let index = 0;
  if (count >= 8) {
    const parts = values.slice(0, 8);
    for (index = 8; index < count - (count % 8); index++) parts[index % 8] += values[index];
    const [a, b, c, d] = [0, 2, 4, 6].map((part) => fround(parts[part] + parts[part + 1]));
    sum = fround(fround(a + b) + fround(c + d));
  }
  for (; index < count; index++) sum = fround(sum + values[index]);
  return sum;
}

/**
 * Return the standard deviation of float32 values. Mirrors `np.std`.
 *
 * @param {Float32Array} values - The values.
 * @returns {number} The standard deviation.
 */
export function computeDeviation(values) {
  const mean = fround(sumFloat32(values) / values.length);
  const squares = values.map((value) => fround(value - mean) ** 2);
  return fround(Math.sqrt(fround(sumFloat32(squares) / values.length)));
}

/**
 * Return eigenvalues and eigenvectors of a symmetric matrix (Jacobi).
 *
 * @param {number[][]} matrix - The matrix.
 * @returns {{values: number[], vectors: number[][]}} Eigenvalues in any order, and the eigenvector of each.
 */
export function decomposeSymmetric(matrix) {
  const size = matrix.length;
  const a = matrix.map((row) => [...row]);
  const vectors = matrix.map((_, row) => matrix.map((__, column) => Number(row === column)));
  for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
    let rest = 0;
    for (let p = 0; p < size; p++) for (let q = p + 1; q < size; q++) rest += a[p][q] ** 2;
    if (rest === 0) break;
    for (let p = 0; p < size; p++) for (let q = p + 1; q < size; q++) rotate(a, vectors, p, q);
  }
  return { values: a.map((row, index) => row[index]), vectors };
}

/** Make one element beside the diagonal 0; rows of `vectors` are eigenvectors. */
function rotate(a, vectors, p, q) {
  if (a[p][q] === 0) return;
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const cos = 1 / Math.hypot(t, 1);
  const sin = t * cos;
  for (let k = 0; k < a.length; k++)
    [a[k][p], a[k][q]] = [cos * a[k][p] - sin * a[k][q], sin * a[k][p] + cos * a[k][q]];
  for (const rows of [a, vectors]) {
    const [first, second] = [rows[p], rows[q]];
    rows[p] = first.map((value, k) => cos * value - sin * second[k]);
    rows[q] = first.map((value, k) => sin * value + cos * second[k]);
  }
  a[p][q] = 0;
  a[q][p] = 0;
}

/**
 * Return the weights of the terms that fit values best, the shortest ones if several do. Mirrors `np.linalg.lstsq`.
 *
 * @param {Float32Array | Float64Array} terms - Terms of every value, value after value.
 * @param {ArrayLike<number>} values - The values.
 * @param {number} size - Number of terms.
 * @param {(index: number) => unknown} isUsed - Whether a value counts.
 * @returns {number[]} Weight of each term; float32 numbers if the terms are float32.
 */
export function fitLeastSquares(terms, values, size, isUsed) {
  const normal = Array.from({ length: size }, () => Array(size).fill(0));
  const right = Array(size).fill(0);
  let count = 0;
  for (let index = 0; index < values.length; index++) {
    if (!isUsed(index)) continue;
    count++;
    const start = index * size;
    for (let i = 0; i < size; i++) {
      right[i] += terms[start + i] * values[index];
      for (let j = 0; j < size; j++) normal[i][j] += terms[start + i] * terms[start + j];
    }
  }
  const isSingle = terms instanceof Float32Array;
  const cut = Math.max(MIN_EPSILON, isSingle ? FLOAT32_EPSILON * Math.max(count, size) : 0);
  const { values: eigenvalues, vectors } = decomposeSymmetric(normal);
  const least = cut ** 2 * Math.max(...eigenvalues);
  const weights = Array(size).fill(0);
  for (const [index, eigenvalue] of eigenvalues.entries()) {
    if (!(eigenvalue > least)) continue;
    const share = vectors[index].reduce((sum, value, i) => sum + value * right[i], 0) / eigenvalue;
    for (let i = 0; i < size; i++) weights[i] += share * vectors[index][i];
  }
  return isSingle ? weights.map(fround) : weights;
}

/**
 * Return the value of a fit at one place.
 *
 * @param {Float32Array | Float64Array} terms - Terms, place after place.
 * @param {number} index - The place.
 * @param {number[]} weights - Weights of the terms.
 * @returns {number} Sum of the weighted terms.
 */
export function evaluateFit(terms, index, weights) {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += terms[index * weights.length + i] * weights[i];
  return sum;
}
