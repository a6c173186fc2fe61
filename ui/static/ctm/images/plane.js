/**
 * Images of one or three channels as typed arrays, and how NumPy computes with them.
 *
 * The modules of this directory give the pixels that the Python modules of the same names give. NumPy computes in float32 where
 * these arrays are float32, so results are rounded with `Math.fround` in the same places.
 *
 * @typedef {object} Plane
 * @property {Float32Array | Float64Array | Uint8Array} data - Values, rows first. A mask has 0 and 1 in a `Uint8Array`.
 * @property {number} width - Values per row.
 * @property {number} height - Rows.
 *
 * @typedef {object} ColourImage
 * @property {Float32Array} data - Red, green and blue of every pixel in [0, 1], rows first.
 * @property {number} width - Pixels per row.
 * @property {number} height - Rows.
 *
 * @typedef {number[]} Box First row and column, row and column after the last ones.
 */

/**
 * Round to the nearest float32. Mirrors float32 arithmetic of NumPy.
 *
 * @type {(value: number) => number}
 */
export const fround = Math.fround;

/**
 * Round to the nearest integer, halves to the even one. Mirrors `round` and `np.rint`.
 *
 * @param {number} value - The number.
 * @returns {number} The integer.
 */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Limit a number to a range. Mirrors `np.clip`.
 *
 * @param {number} value - The number.
 * @param {number} low - Lower limit.
 * @param {number} high - Upper limit; it wins where the limits cross.
 * @returns {number} The limited number.
 */
export function clip(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/**
 * Create a plane of zeros.
 *
 * @param {number} height - Rows.
 * @param {number} width - Values per row.
 * @param {Float32ArrayConstructor | Float64ArrayConstructor | Uint8ArrayConstructor} [Type] - Type of the values.
 * @returns {Plane} The plane.
 */
export function createPlane(height, width, Type = Float32Array) {
  return { data: new Type(height * width), width, height };
}

/**
 * Apply a function to every value.
 *
 * @param {Plane} plane - The plane.
 * @param {(value: number, index: number) => number} convert - Returns the new value.
 * @param {Float32ArrayConstructor | Float64ArrayConstructor | Uint8ArrayConstructor} [Type] - Type of the new values.
 * @returns {Plane} A new plane.
 */
export function mapPlane(plane, convert, Type = Float32Array) {
  const result = createPlane(plane.height, plane.width, Type);
  for (let index = 0; index < plane.data.length; index++) result.data[index] = convert(plane.data[index], index);
  return result;
}

/**
 * Return the mask of the values above a threshold. NumPy compares float32 arrays in float32.
 *
 * @param {Plane} plane - The plane.
 * @param {number} threshold - The threshold.
 * @returns {Plane} The mask.
 */
export function isAbove(plane, threshold) {
  const limit = plane.data instanceof Float32Array ? fround(threshold) : threshold;
  return mapPlane(plane, (value) => Number(value > limit), Uint8Array);
}

/**
 * Return a part of a plane.
 *
 * @param {Plane} plane - The plane.
 * @param {Box} box - The part; limited to the plane.
 * @returns {Plane} A copy.
 */
export function cutPlane(plane, [top, left, bottom, right]) {
  const [lastRow, lastColumn] = [Math.min(bottom, plane.height), Math.min(right, plane.width)];
  const [height, width] = [Math.max(0, lastRow - top), Math.max(0, lastColumn - left)];
  const result = createPlane(height, width, plane.data.constructor);
  for (let row = 0; row < height; row++) {
    const start = (top + row) * plane.width + left;
    result.data.set(plane.data.subarray(start, start + width), row * width);
  }
  return result;
}

/**
 * Exchange rows and columns.
 *
 * @param {Plane} plane - The plane.
 * @returns {Plane} The transposed plane.
 */
export function transpose(plane) {
  const { width, height, data } = plane;
  const result = createPlane(width, height, data.constructor);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) result.data[column * height + row] = data[row * width + column];
  }
  return result;
}

/**
 * Continue a plane beyond its border with the values at the border, or with zeros. Mirrors `np.pad`.
 *
 * @param {Plane} plane - The plane.
 * @param {number} rows - Rows to add at the top and at the bottom.
 * @param {number} columns - Columns to add at both sides.
 * @param {"edge" | "zero"} [mode] - What to continue with.
 * @returns {Plane} The larger plane.
 */
export function padPlane(plane, rows, columns, mode = "edge") {
  const { width, height, data } = plane;
  const result = createPlane(height + 2 * rows, width + 2 * columns, data.constructor);
  for (let row = 0; row < result.height; row++) {
    const source = clip(row - rows, 0, height - 1);
    if (mode === "zero" && source !== row - rows) continue;
    const start = row * result.width;
    result.data.set(data.subarray(source * width, (source + 1) * width), start + columns);
    if (mode === "zero") continue;
    result.data.fill(data[source * width], start, start + columns);
    result.data.fill(data[source * width + width - 1], start + columns + width, start + result.width);
  }
  return result;
}

/**
 * Return the values where a mask is set, rows first.
 *
 * @param {Plane} plane - The values.
 * @param {Plane} mask - Mask of the same size.
 * @returns {Float32Array | Float64Array | Uint8Array} The values.
 */
export function selectValues(plane, mask) {
  return plane.data.filter((_, index) => mask.data[index]);
}

/**
 * Return the values along the border: first and last row, first and last column.
 *
 * @param {Plane} plane - The plane.
 * @returns {number[]} The values; those of the corners twice.
 */
export function listBorder({ data, width, height }) {
  const rows = [...data.subarray(0, width), ...data.subarray((height - 1) * width)];
  for (const column of [0, width - 1]) {
    for (let row = 0; row < height; row++) rows.push(data[row * width + column]);
  }
  return rows;
}

/**
 * Return the largest value.
 *
 * @param {ArrayLike<number>} values - The values.
 * @returns {number} The largest one; -Infinity if there is none.
 */
export function findMax(values) {
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < values.length; index++) if (values[index] > largest) largest = values[index];
  return largest;
}

/**
 * Return the smallest value.
 *
 * @param {ArrayLike<number>} values - The values.
 * @returns {number} The smallest one; Infinity if there is none.
 */
export function findMin(values) {
  let smallest = Number.POSITIVE_INFINITY;
  for (let index = 0; index < values.length; index++) if (values[index] < smallest) smallest = values[index];
  return smallest;
}

/**
 * Return the index of the first of the largest values. Mirrors `np.argmax`.
 *
 * @param {ArrayLike<number>} values - The values.
 * @returns {number} The index; 0 if there is none.
 */
export function findArgMax(values) {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

/**
 * Count the values that are not 0.
 *
 * @param {ArrayLike<number>} values - The values, such as those of a mask.
 * @returns {number} How many.
 */
export function countNonZero(values) {
  let count = 0;
  for (let index = 0; index < values.length; index++) if (values[index]) count++;
  return count;
}

/**
 * Return the smallest box around the set pixels of a mask, which has some.
 *
 * @param {Plane} mask - The mask.
 * @returns {Box} The box.
 */
export function findBounds({ data, width, height }) {
  const box = [height, width, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!data[row * width + column]) continue;
      box[0] = Math.min(box[0], row);
      box[1] = Math.min(box[1], column);
      box[2] = row + 1;
      box[3] = Math.max(box[3], column + 1);
    }
  }
  return box;
}
