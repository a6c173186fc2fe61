/** Prepare images for a model: brightness, background, crop and size. Mirrors `training.data.preprocessing`. */

import { createPlane, cutPlane, findBounds, isAbove, listBorder, roundHalfEven } from "./plane.js";
import { resizePlane } from "./resample.js";
import { computeMedian } from "./statistics.js";

/**
 * Return the brightness of the background: the median along the border. Mirrors `background_level`.
 *
 * @param {import("./plane.js").Plane} grey - The image.
 * @returns {number} The brightness.
 */
export function computeBackgroundLevel(grey) {
  return computeMedian(Float32Array.from(listBorder(grey)));
}

/**
 * Return the bounding box of the pixels that are brighter than a threshold. Mirrors `crop_to_foreground`.
 *
 * @param {import("./plane.js").Plane} foreground - Light on black; some pixels are brighter.
 * @param {number} threshold - The threshold.
 * @returns {import("./plane.js").Plane} The part.
 */
export function cropToForeground(foreground, threshold) {
  return cutPlane(foreground, findBounds(isAbove(foreground, threshold)));
}

/**
 * Scale an image to fit into a black square and center it. Mirrors `fit_into_square`.
 *
 * @param {import("./plane.js").Plane} foreground - The image.
 * @param {number} side - Side of the square.
 * @returns {import("./plane.js").Plane} The square.
 */
export function fitIntoSquare(foreground, side) {
  const scale = side / Math.max(foreground.width, foreground.height);
  const [width, height] = [foreground.width, foreground.height].map((length) =>
    Math.max(1, roundHalfEven(length * scale)),
  );
  const scaled = resizePlane(foreground, width, height, "bilinear");
  return placeOnBlack(scaled, side, Math.floor((side - height) / 2), Math.floor((side - width) / 2));
}

/**
 * Place an image on a black square.
 *
 * @param {import("./plane.js").Plane} image - The image.
 * @param {number} side - Side of the square.
 * @param {number} top - First row of the image in the square.
 * @param {number} left - First column of the image in the square.
 * @returns {import("./plane.js").Plane} The square.
 */
export function placeOnBlack(image, side, top, left) {
  const square = createPlane(side, side);
  for (let row = 0; row < image.height; row++) {
    const values = image.data.subarray(row * image.width, (row + 1) * image.width);
    square.data.set(values, (top + row) * side + left);
  }
  return square;
}
