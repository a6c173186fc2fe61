/** Dense kernels on typed arrays. Sums are accumulated in double precision; matrices are row-major. */

const NORM_EPSILON = 1e-5;

/**
 * Compute the logistic function.
 *
 * @param {number} x - Any number.
 * @returns {number} 1 / (1 + exp(-x)).
 */
export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/**
 * Apply a linear layer to one vector: `out[r] = bias[r] + sum_c weight[r, c] x[c]`. Mirrors `torch.nn.functional.linear`.
 *
 * @param {Float32Array} weight - Weight, (rows, columns).
 * @param {Float32Array} bias - Bias, (rows).
 * @param {Float32Array} x - Input, (columns).
 * @param {Float32Array} out - Output, (rows).
 */
export function applyLinear(weight, bias, x, out) {
  applyLinearSlice(weight, bias, 0, x, 0, x.length, out);
}

/**
 * Apply some rows of a linear layer to a slice of an array.
 *
 * @param {Float32Array} weight - Weight, (all rows, columns).
 * @param {Float32Array} bias - Bias, (all rows).
 * @param {number} firstRow - First row that is applied.
 * @param {Float32Array} x - Array that holds the input.
 * @param {number} start - Start of the input.
 * @param {number} columns - Length of the input.
 * @param {Float32Array} out - Output; its length is the number of rows that are applied.
 */
export function applyLinearSlice(weight, bias, firstRow, x, start, columns, out) {
  const rows = out.length;
  let row = 0;
  for (; row + 3 < rows; row += 4) {
    const first = (firstRow + row) * columns;
    const second = first + columns;
    const third = second + columns;
    const fourth = third + columns;
    let a = bias[firstRow + row];
    let b = bias[firstRow + row + 1];
    let c = bias[firstRow + row + 2];
    let d = bias[firstRow + row + 3];
    for (let column = 0; column < columns; column++) {
      const value = x[start + column];
      a += weight[first + column] * value;
      b += weight[second + column] * value;
      c += weight[third + column] * value;
      d += weight[fourth + column] * value;
    }
    out[row] = a;
    out[row + 1] = b;
    out[row + 2] = c;
    out[row + 3] = d;
  }
  for (; row < rows; row++) {
    out[row] = bias[firstRow + row] + dot(weight, (firstRow + row) * columns, x, start, columns);
  }
}

/**
 * Compute the dot product of two slices.
 *
 * @param {Float32Array} a - First array.
 * @param {number} aStart - Start of the slice of `a`.
 * @param {Float32Array} b - Second array.
 * @param {number} bStart - Start of the slice of `b`.
 * @param {number} size - Length of both slices.
 * @returns {number} The sum of the products.
 */
export function dot(a, aStart, b, bStart, size) {
  let sum = 0;
  for (let index = 0; index < size; index++) sum += a[aStart + index] * b[bStart + index];
  return sum;
}

/**
 * Multiply a matrix by a transposed matrix in blocks of 4 x 4: `out[i, j] = bias[j] + sum_k a[i, k] b[j, k]`.
 *
 * @param {Float32Array} a - Left matrix, (count, size).
 * @param {Float32Array} b - Right matrix, (width, size).
 * @param {Float32Array | null} bias - Bias, (width); null for none.
 * @param {number} count - Rows of `a`.
 * @param {number} width - Rows of `b`.
 * @param {number} size - Columns of both.
 * @returns {Float32Array} The product, (count, width).
 */
export function multiplyTransposed(a, b, bias, count, width, size) {
  const out = new Float32Array(count * width);
  const blockCount = count - (count % 4);
  const blockWidth = width - (width % 4);
  for (let i = 0; i < blockCount; i += 4) {
    for (let j = 0; j < blockWidth; j += 4) multiplyBlock(a, b, out, i, j, width, size);
  }
  for (let i = 0; i < count; i++) {
    for (let j = i < blockCount ? blockWidth : 0; j < width; j++) {
      out[i * width + j] = dot(a, i * size, b, j * size, size);
    }
    if (bias) for (let j = 0; j < width; j++) out[i * width + j] += bias[j];
  }
  return out;
}

/** Compute the 4 x 4 block of `multiplyTransposed` at (i, j). Its 16 sums stay in registers. */
function multiplyBlock(a, b, out, i, j, width, size) {
  const p0 = i * size;
  const p1 = p0 + size;
  const p2 = p1 + size;
  const p3 = p2 + size;
  const q0 = j * size;
  const q1 = q0 + size;
  const q2 = q1 + size;
  const q3 = q2 + size;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  let s20 = 0;
  let s21 = 0;
  let s22 = 0;
  let s23 = 0;
  let s30 = 0;
  let s31 = 0;
  let s32 = 0;
  let s33 = 0;
  for (let k = 0; k < size; k++) {
    const b0 = b[q0 + k];
    const b1 = b[q1 + k];
    const b2 = b[q2 + k];
    const b3 = b[q3 + k];
    const a0 = a[p0 + k];
    s00 += a0 * b0;
    s01 += a0 * b1;
    s02 += a0 * b2;
    s03 += a0 * b3;
    const a1 = a[p1 + k];
    s10 += a1 * b0;
    s11 += a1 * b1;
    s12 += a1 * b2;
    s13 += a1 * b3;
    const a2 = a[p2 + k];
    s20 += a2 * b0;
    s21 += a2 * b1;
    s22 += a2 * b2;
    s23 += a2 * b3;
    const a3 = a[p3 + k];
    s30 += a3 * b0;
    s31 += a3 * b1;
    s32 += a3 * b2;
    s33 += a3 * b3;
  }
  let o = i * width + j;
  out[o] = s00;
  out[o + 1] = s01;
  out[o + 2] = s02;
  out[o + 3] = s03;
  o += width;
  out[o] = s10;
  out[o + 1] = s11;
  out[o + 2] = s12;
  out[o + 3] = s13;
  o += width;
  out[o] = s20;
  out[o + 1] = s21;
  out[o + 2] = s22;
  out[o + 3] = s23;
  o += width;
  out[o] = s30;
  out[o + 1] = s31;
  out[o + 2] = s32;
  out[o + 3] = s33;
}

/**
 * Normalise a slice to mean 0 and variance 1, then scale and shift it. Mirrors `torch.layer_norm`.
 *
 * @param {Float32Array} x - Input.
 * @param {number} start - Start of the slice of `x`.
 * @param {{weight: Float32Array, bias: Float32Array}} norm - Scale and shift; their length is that of the slice.
 * @param {Float32Array} out - Output; may be `x`.
 * @param {number} [outStart] - Start of the slice of `out`.
 */
export function applyLayerNorm(x, start, norm, out, outStart = start) {
  const { weight, bias } = norm;
  const size = weight.length;
  let mean = 0;
  for (let index = 0; index < size; index++) mean += x[start + index];
  mean /= size;
  let variance = 0;
  for (let index = 0; index < size; index++) variance += (x[start + index] - mean) ** 2;
  const scale = 1 / Math.sqrt(variance / size + NORM_EPSILON);
  for (let index = 0; index < size; index++) {
    out[outStart + index] = (x[start + index] - mean) * scale * weight[index] + bias[index];
  }
}

/**
 * Apply a gated linear unit: the first half of the input times the logistic function of the second half.
 *
 * @param {Float32Array} x - Input, (2 * size).
 * @param {Float32Array} out - Output, (size); may be a view of the first half of `x`.
 */
export function applyGlu(x, out) {
  const size = out.length;
  for (let index = 0; index < size; index++) out[index] = x[index] * sigmoid(x[size + index]);
}

/**
 * Apply SiLU, x times the logistic function of x, in place.
 *
 * @param {Float32Array} x - Values.
 */
export function applySilu(x) {
  for (let index = 0; index < x.length; index++) x[index] *= sigmoid(x[index]);
}
