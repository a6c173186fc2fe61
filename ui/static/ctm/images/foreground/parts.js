/** Join the parts of a figure, and tell them from other figures. Mirrors `training.data.foreground.parts`. */

import { computeMeans } from "./components.js";

const MIN_PART_SIZE = 0.12; // of the size of the figure
const MIN_PART_CONTRAST = 0.6; // of the contrast of the figure
const MIN_OTHER_SIZE = 0.5; // of the size of the figure, for another figure

/**
 * Return the components of the figure, and whether there are other figures. Mirrors `join_parts`.
 *
 * @param {import("./search.js").Candidate} candidate - The figure.
 * @returns {{members: number[], hasOthers: boolean}} Indices of the components, the candidate first.
 */
export function joinParts({ components, index: main, ground, sizes, eligible }) {
  const means = computeMeans(components, ground.contrast);
  const relativeSizes = sizes.map((size) => size / sizes[main]);
  let others = eligible.flatMap((isEligible, index) => {
    const isStrong = relativeSizes[index] > MIN_PART_SIZE && means[index] > MIN_PART_CONTRAST * means[main];
    return isEligible && isStrong && index !== main ? [index] : [];
  });
  const members = [main];
  let box = components.boxes[main];
  const height = box[2] - box[0];
  const length = Math.max(height, box[3] - box[1]);
  while (true) {
    const near = others.filter((index) => isPart(components.boxes[index], box, length, height, relativeSizes[index]));
    if (!near.length) break;
    members.push(...near);
    others = others.filter((index) => !near.includes(index));
    const large = near.filter((index) => relativeSizes[index] > 0.3);
    box = unite([box, ...large.map((index) => components.boxes[index])]);
  }
  return { members, hasOthers: others.some((index) => relativeSizes[index] > MIN_OTHER_SIZE) };
}

/** Return whether a component belongs to the figure in a box. */
function isPart([top, left, bottom, right], box, length, height, relativeSize) {
  const gap = Math.max(top - box[2], box[0] - bottom, left - box[3], box[1] - right, 0);
  const overlap = Math.min(right, box[3]) - Math.max(left, box[1]);
  const isBeside = bottom - top > 0.6 * height && overlap < 0.2 * Math.min(right - left, box[3] - box[1]);
  if (isBeside) return gap <= 0.06 * length;
  return gap <= (relativeSize < 0.25 ? 0.1 : 0.2) * length;
}

/**
 * Return the smallest box that contains all boxes. Mirrors `unite`.
 *
 * @param {import("../plane.js").Box[]} boxes - The boxes.
 * @returns {import("../plane.js").Box} The box.
 */
export function unite(boxes) {
  return [0, 1, 2, 3].map((side) => Math[side < 2 ? "min" : "max"](...boxes.map((box) => box[side])));
}

/**
 * Return a box that is larger on each side, as far as the image reaches. Mirrors `extend`.
 *
 * @param {import("../plane.js").Box} box - The box.
 * @param {number} margin - Pixels to add.
 * @param {{width: number, height: number}} image - The image.
 * @returns {import("../plane.js").Box} The larger box.
 */
export function extend([top, left, bottom, right], margin, { width, height }) {
  const [lastRow, lastColumn] = [Math.min(bottom + margin, height), Math.min(right + margin, width)];
  return [Math.max(top - margin, 0), Math.max(left - margin, 0), lastRow, lastColumn];
}
