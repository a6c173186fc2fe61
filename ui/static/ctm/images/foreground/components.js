/** Connected components of binary images. Mirrors `training.data.foreground.components`. */

/**
 * Connected components of a mask, by index from 0.
 *
 * @typedef {object} Components
 * @property {number} count - Number of components.
 * @property {Int32Array} labels - Component of every pixel, from 1; 0 for the background.
 * @property {number} width - Pixels per row.
 * @property {number} height - Rows.
 * @property {import("../plane.js").Box[]} boxes - Bounding box of each component.
 * @property {number[]} areas - Number of pixels of each component.
 */

/** Return the runs of set pixels, row after row. */
function listRuns({ data, width, height }) {
  const runs = { row: [], first: [], last: [], rowStarts: [] };
  for (let row = 0; row < height; row++) {
    runs.rowStarts.push(runs.row.length);
    for (let column = 0; column < width; column++) {
      if (!data[row * width + column]) continue;
      const first = column;
      while (column + 1 < width && data[row * width + column + 1]) column++;
      runs.row.push(row);
      runs.first.push(first);
      runs.last.push(column);
    }
  }
  runs.rowStarts.push(runs.row.length);
  return runs;
}

function findRoot(parents, index) {
  let root = index;
  while (parents[root] !== root) {
    parents[root] = parents[parents[root]];
    root = parents[root];
  }
  return root;
}

/** Join every run with the runs of the row above that it touches; the root is the first run of a component. */
function joinRuns({ row, first, last, rowStarts }) {
  const parents = Int32Array.from(row, (_, index) => index);
  for (let line = 1; line + 1 < rowStarts.length; line++) {
    let above = rowStarts[line - 1];
    for (let run = rowStarts[line]; run < rowStarts[line + 1]; run++) {
      while (above < rowStarts[line] && last[above] < first[run] - 1) above++;
      for (let other = above; other < rowStarts[line] && first[other] <= last[run] + 1; other++) {
        const [one, two] = [findRoot(parents, run), findRoot(parents, other)];
        parents[Math.max(one, two)] = Math.min(one, two);
      }
    }
  }
  return parents;
}

/**
 * Find the components of a mask whose pixels touch at an edge or at a corner, in the order of their first pixels.
 *
 * @param {import("../plane.js").Plane} mask - The mask.
 * @returns {Components} The components.
 */
export function labelComponents(mask) {
  const { width, height } = mask;
  const runs = listRuns(mask);
  const parents = joinRuns(runs);
  const result = { count: 0, labels: new Int32Array(width * height), width, height, boxes: [], areas: [] };
  const indices = new Int32Array(parents.length);
  for (let run = 0; run < parents.length; run++) {
    const root = findRoot(parents, run);
    const [row, first, last] = [runs.row[run], runs.first[run], runs.last[run]];
    if (root === run) {
      indices[run] = result.count++;
      result.boxes.push([row, first, row, first]);
      result.areas.push(0);
    }
    const index = indices[root];
    const box = result.boxes[index];
    box[1] = Math.min(box[1], first);
    box[2] = row + 1;
    box[3] = Math.max(box[3], last + 1);
    result.areas[index] += last - first + 1;
    result.labels.fill(index + 1, row * width + first, row * width + last + 1);
  }
  return result;
}

/**
 * Count the pixels of each component in the first and last row and in the first and last column.
 *
 * @param {Components} components - The components.
 * @returns {number[][]} Four counts per component.
 */
export function countContacts({ count, labels, width, height }) {
  const contacts = Array.from({ length: count }, () => [0, 0, 0, 0]);
  const add = (position, side) => {
    if (labels[position]) contacts[labels[position] - 1][side]++;
  };
  for (let column = 0; column < width; column++) {
    add(column, 0);
    add((height - 1) * width + column, 1);
  }
  for (let row = 0; row < height; row++) {
    add(row * width, 2);
    add(row * width + width - 1, 3);
  }
  return contacts;
}

/**
 * Return the largest value in each component, at least 0.
 *
 * @param {Components} components - The components.
 * @param {import("../plane.js").Plane} values - Values of the pixels.
 * @returns {number[]} The values.
 */
export function computeMaxima({ count, labels }, values) {
  const maxima = Array(count).fill(0);
  for (let index = 0; index < labels.length; index++) {
    if (labels[index]) maxima[labels[index] - 1] = Math.max(maxima[labels[index] - 1], values.data[index]);
  }
  return maxima;
}

/**
 * Return the mean value of each component.
 *
 * @param {Components} components - The components.
 * @param {import("../plane.js").Plane} values - Values of the pixels.
 * @returns {number[]} The values.
 */
export function computeMeans({ count, labels, areas }, values) {
  const sums = Array(count).fill(0);
  for (let index = 0; index < labels.length; index++) {
    if (labels[index]) sums[labels[index] - 1] += values.data[index];
  }
  return sums.map((sum, index) => sum / areas[index]);
}

/**
 * Return the pixels of some components within a box as a mask.
 *
 * @param {Components} components - The components.
 * @param {number[]} members - Indices of the components.
 * @param {import("../plane.js").Box} [box] - The box; the whole image by default.
 * @returns {import("../plane.js").Plane} The mask.
 */
export function selectComponents(components, members, box = [0, 0, components.height, components.width]) {
  const chosen = new Uint8Array(components.count + 1);
  for (const index of members) chosen[index + 1] = 1;
  const [top, left, bottom, right] = box;
  const mask = { data: new Uint8Array((bottom - top) * (right - left)), width: right - left, height: bottom - top };
  for (let row = 0; row < mask.height; row++) {
    for (let column = 0; column < mask.width; column++) {
      mask.data[row * mask.width + column] = chosen[components.labels[(top + row) * components.width + left + column]];
    }
  }
  return mask;
}
