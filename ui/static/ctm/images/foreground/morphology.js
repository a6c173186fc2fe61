/** Morphology with square windows. Mirrors `training.data.foreground.morphology`. */

import { createPlane, cutPlane, fround, mapPlane, padPlane } from "../plane.js";

/** Take the maximum, or the minimum, of every value and the one `offset` values later, in place. */
function combineLater(data, offset, end, isMax) {
  if (isMax) {
    for (let index = 0; index < end; index++)
      if (data[index + offset] > data[index]) data[index] = data[index + offset];
  } else {
    for (let index = 0; index < end; index++)
      if (data[index + offset] < data[index]) data[index] = data[index + offset];
  }
}

/** Combine every `size` neighbouring values in place; the last `size` - 1 results of a line are of no use. */
function slideAxis(data, stride, size, isMax) {
  for (let done = 1; done < size; ) {
    const span = Math.min(done, size - done);
    combineLater(data, span * stride, data.length - span * stride, isMax);
    done += span;
  }
}

function slideSquare(plane, size, isMax) {
  const { width, height } = plane;
  const data = new Float32Array(plane.data); // one type, so that the loops above stay fast
  slideAxis(data, width, size, isMax);
  slideAxis(data, 1, size, isMax);
  return cutPlane({ data, width, height }, [0, 0, height - size + 1, width - size + 1]);
}

/**
 * Return the largest value of every square of pixels. Mirrors `slide_square` with `np.maximum`.
 *
 * @param {import("../plane.js").Plane} plane - Values, at least one square.
 * @param {number} size - Side of the square.
 * @returns {import("../plane.js").Plane} Plane that is smaller by `size` - 1 along both axes, float32.
 */
export function slideMax(plane, size) {
  return slideSquare(plane, size, true);
}

/**
 * Return the smallest value of every square of pixels. Mirrors `slide_square` with `np.minimum`.
 *
 * @param {import("../plane.js").Plane} plane - Values, at least one square.
 * @param {number} size - Side of the square.
 * @returns {import("../plane.js").Plane} Plane that is smaller by `size` - 1 along both axes, float32.
 */
export function slideMin(plane, size) {
  return slideSquare(plane, size, false);
}

/** Continue rows beyond the border with their own gradient. Mirrors `np.pad` with `reflect_type="odd"`. */
function reflectRows({ data, width, height }, count) {
  const result = createPlane(height + 2 * count, width);
  result.data.set(data, count * width);
  for (let step = 1; step <= count; step++) {
    for (let column = 0; column < width; column++) {
      const [first, last] = [data[column], data[(height - 1) * width + column]];
      const before = data[step * width + column];
      const after = data[(height - 1 - step) * width + column];
      result.data[(count - step) * width + column] = fround(2 * first) - before;
      result.data[(count + height - 1 + step) * width + column] = fround(2 * last) - after;
    }
  }
  return result;
}

function reflectColumns({ data, width, height }, count) {
  const result = createPlane(height, width + 2 * count);
  for (let row = 0; row < height; row++) {
    const [start, target] = [row * width, row * result.width + count];
    const [first, last] = [fround(2 * data[start]), fround(2 * data[start + width - 1])];
    result.data.set(data.subarray(start, start + width), target);
    for (let step = 1; step <= count; step++) {
      result.data[target - step] = first - data[start + step];
      result.data[target + width - 1 + step] = last - data[start + width - 1 - step];
    }
  }
  return result;
}

/**
 * Return the morphological closing: dark areas that a square does not fit into are filled. Mirrors `close_image`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @param {number} size - Side of the square.
 * @returns {import("../plane.js").Plane} The closing.
 */
export function closeImage(grey, size) {
  const inner = [grey.height, grey.width].map((length) => Math.min(size - 1, length - 1));
  const reflected = reflectColumns(reflectRows(grey, inner[0]), inner[1]);
  const padded = padPlane(reflected, size - 1 - inner[0], size - 1 - inner[1]);
  return slideMin(slideMax(padded, size), size);
}

/**
 * Filter an image with the binomial kernel (1, 2, 1) / 4 along both axes. Mirrors `smooth`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @returns {import("../plane.js").Plane} The filtered image.
 */
export function smooth(grey) {
  const { width, height } = grey;
  const { data } = padPlane(grey, 1, 1);
  const stride = width + 2;
  const rows = createPlane(height, stride);
  for (let index = 0; index < rows.data.length; index++) {
    rows.data[index] = addThree(data[index], data[index + stride], data[index + 2 * stride]);
  }
  const result = createPlane(height, width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const start = row * stride + column;
      result.data[row * width + column] = addThree(rows.data[start], rows.data[start + 1], rows.data[start + 2]);
    }
  }
  return result;
}

function addThree(before, middle, after) {
  return fround(fround(before + fround(2 * middle)) + after) / 4;
}

/**
 * Return the difference between the largest and the smallest value around every pixel. Mirrors `compute_local_range`.
 *
 * @param {import("../plane.js").Plane} grey - The image.
 * @param {number} size - Side of the square, odd.
 * @returns {import("../plane.js").Plane} The differences.
 */
export function computeLocalRange(grey, size) {
  const padded = padPlane(grey, size >> 1, size >> 1);
  const [range, lowest] = [slideMax(padded, size), slideMin(padded, size)];
  for (let index = 0; index < range.data.length; index++) range.data[index] -= lowest.data[index];
  return range;
}

/**
 * Extend a mask in all eight directions. Mirrors `dilate`.
 *
 * @param {import("../plane.js").Plane} mask - The mask.
 * @param {number} distance - Pixels by which it grows.
 * @returns {import("../plane.js").Plane} The larger mask.
 */
export function dilate(mask, distance) {
  const grown = slideMax(padPlane(mask, distance, distance, "zero"), 2 * distance + 1);
  return { ...grown, data: new Uint8Array(grown.data) };
}

/**
 * Return the pixels of a mask that have a neighbour outside it. Mirrors `find_outline`.
 *
 * @param {import("../plane.js").Plane} mask - The mask.
 * @returns {import("../plane.js").Plane} The outline.
 */
export function findOutline(mask) {
  const { width } = mask;
  const { data } = padPlane(mask, 1, 1, "zero");
  const stride = width + 2;
  return mapPlane(
    mask,
    (value, index) => {
      const position = (Math.floor(index / width) + 1) * stride + (index % width) + 1;
      const isInside = data[position - stride] & data[position + stride] & data[position - 1] & data[position + 1];
      return value && !isInside ? 1 : 0;
    },
    Uint8Array,
  );
}

/**
 * Return the side of the largest square that fits into a mask. Mirrors `measure_thickness`.
 *
 * @param {import("../plane.js").Plane} mask - Mask that is not empty.
 * @returns {number} The side in pixels.
 */
export function measureThickness(mask) {
  let [low, high] = [1, Math.min(mask.width, mask.height)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (slideMin(mask, middle).data.includes(1)) low = middle;
    else high = middle - 1;
  }
  return low;
}
