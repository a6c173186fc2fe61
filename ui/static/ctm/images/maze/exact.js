/** Read mazes in the published colours that are enlarged by a whole number. Mirrors `training.data.maze_reader.exact`. */

import { COLOURS, GOAL, MAX_SIDE, Maze, MIN_SIDE, PATH, SOLUTION, START, WALL } from "../../tasks/maze.js";
import { fround } from "../plane.js";

const MAX_COLOUR_DISTANCE = 0.45; // Euclidean distance in RGB up to which a pixel has a colour of a maze
const MAX_OFF_COLOUR_FRACTION = 0.1; // of the pixels of a maze, such as those blurred by JPEG
const MIN_UNIFORM_FRACTION = 0.9; // of the pixels that have the kind of the centre of their block
const MAX_PURE_DISTANCE = 0.02; // of each pixel from its colour in an image that an editor wrote
const NUM_SAMPLED = 64; // rows and columns of pixels that are looked at first

/**
 * Return the maze of an image that has one pixel, or a block of n x n pixels, per position. Mirrors `read_exact`.
 *
 * @param {import("../plane.js").ColourImage} pixels - Image with approximate colours.
 * @returns {import("./reading.js").MazeReading | null} The reading, without start or goal if their number is not one; or null.
 */
export function readExact(pixels) {
  if (!hasMazeColours(findNearestColours(subsample(pixels)).distances)) return null;
  const { kinds, distances } = findNearestColours(pixels);
  if (!hasMazeColours(distances)) return null;
  const scale = detectScale(kinds, pixels);
  const [width, height] = [Math.floor(pixels.width / scale), Math.floor(pixels.height / scale)];
  if (Math.min(width, height) < MIN_SIDE || Math.max(width, height) > MAX_SIDE) return null;
  const grid = { data: findNearestColours(averageBlocks(pixels, scale, width, height)).kinds, width, height };
  grid.data.forEach((kind, index) => {
    if (kind === SOLUTION) grid.data[index] = PATH;
  });
  const [start, goal] = [findSingle(grid, START), findSingle(grid, GOAL)];
  const limit = fround(MAX_PURE_DISTANCE);
  const isPure = scale === 1 && distances.every((distance) => distance < limit);
  const hasEndpoints = Boolean(start && goal);
  // An editor writes pure pixels; there the sentence about an unsolvable maze is right.
  const isCertain = hasEndpoints && (isPure || (isSolvable(grid) && isEnclosed(grid)));
  return { grid, start, goal, confidence: isCertain ? 1 : 0.5, notes: [], problems: [] };
}

function isSolvable(grid) {
  const maze = new Maze(grid);
  return maze.countSteps(maze.start) >= 0;
}

function subsample({ data, width, height }) {
  const [rowStep, columnStep] = [height, width].map((side) => Math.max(1, Math.floor(side / NUM_SAMPLED)));
  const values = [];
  for (let row = 0; row < height; row += rowStep) {
    for (let column = 0; column < width; column += columnStep) {
      const start = 3 * (row * width + column);
      values.push(data[start], data[start + 1], data[start + 2]);
    }
  }
  return { data: Float32Array.from(values) };
}

/** Return the mean colour of the middle of every block. */
function averageBlocks(pixels, scale, width, height) {
  const margin = Math.floor(scale / 4); // of each position, where the colours of neighbours may blur
  const count = (scale - 2 * margin) ** 2;
  const data = new Float32Array(width * height * 3);
  for (let index = 0; index < data.length; index++) {
    const [position, channel] = [Math.floor(index / 3), index % 3];
    const [top, left] = [Math.floor(position / width) * scale, (position % width) * scale];
    let sum = 0;
    for (let row = top + margin; row < top + scale - margin; row++) {
      for (let column = left + margin; column < left + scale - margin; column++) {
        sum = fround(sum + pixels.data[3 * (row * pixels.width + column) + channel]);
      }
    }
    data[index] = sum / count;
  }
  return { data };
}

/** Return whether most pixels are near the colours of a maze. */
function hasMazeColours(distances) {
  const limit = fround(MAX_COLOUR_DISTANCE);
  return distances.filter((distance) => distance > limit).length / distances.length <= MAX_OFF_COLOUR_FRACTION;
}

/** Return the only position of a kind, or null if there is none or several. */
function findSingle({ data, width }, kind) {
  const index = data.indexOf(kind);
  return index >= 0 && data.lastIndexOf(kind) === index ? [Math.floor(index / width), index % width] : null;
}

/** Return whether one row of walls surrounds a grid, and paths lie beside it on all sides. */
function isEnclosed({ data, width, height }) {
  const rowAt = (row) => data.subarray(row * width, (row + 1) * width);
  const columnAt = (column) => data.filter((_, index) => index % width === column);
  const outer = [rowAt(0), rowAt(height - 1), columnAt(0), columnAt(width - 1)];
  const inner = [rowAt(1), rowAt(height - 2), columnAt(1), columnAt(width - 2)];
  return (
    outer.every((line) => line.every((kind) => kind === WALL)) &&
    inner.every((line) => line.some((kind) => kind !== WALL))
  );
}

/** Return the index of the nearest colour of `COLOURS` of every pixel, and the Euclidean distance to it in float32. */
function findNearestColours({ data }) {
  const count = data.length / 3;
  const [kinds, distances] = [new Uint8Array(count), new Float32Array(count)];
  for (let index = 0; index < count; index++) {
    let best = Number.POSITIVE_INFINITY;
    for (let kind = 0; kind < COLOURS.length; kind++) {
      const colour = COLOURS[kind];
      const [x, y, z] = [
        fround(data[3 * index] - colour[0]),
        fround(data[3 * index + 1] - colour[1]),
        fround(data[3 * index + 2] - colour[2]),
      ];
      const distance = fround(Math.sqrt(fround(fround(fround(x * x) + fround(y * y)) + fround(z * z))));
      if (distance >= best) continue;
      best = distance;
      kinds[index] = kind;
    }
    distances[index] = best;
  }
  return { kinds, distances };
}

/** Return the enlargement of a maze in pixels per position; 1 if there is none. */
function detectScale(kinds, { width, height }) {
  for (let scale = Math.floor(Math.min(width, height) / MIN_SIDE); scale > 1; scale--) {
    if (height % scale || width % scale) continue;
    const middle = scale >> 1;
    let same = 0;
    for (let index = 0; index < kinds.length; index++) {
      const [row, column] = [Math.floor(index / width), index % width];
      const center = (row - (row % scale) + middle) * width + column - (column % scale) + middle;
      if (kinds[index] === kinds[center]) same++;
    }
    if (same / kinds.length > MIN_UNIFORM_FRACTION) return scale;
  }
  return 1;
}
