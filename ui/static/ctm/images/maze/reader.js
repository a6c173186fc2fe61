/** Read a maze from an image: its walls and paths, its start and its goal. Mirrors `training.data.maze_reader.reader`. */

import { GOAL, MAX_SIDE, MIN_SIDE, PATH, START, WALL } from "../../tasks/maze.js";
import { InputError } from "../../tasks/text.js";
import { clip, fround, mapPlane, roundHalfEven } from "../plane.js";
import { computeMedian } from "../statistics.js";
import { splitColours } from "./colours.js";
import { readExact } from "./exact.js";
import { findLattice } from "./lattice.js";
import { buildLayout, cutMarginOutsideOpenings, findOpenings } from "./layout.js";
import { buildMarkers, findMarkers } from "./markers.js";
import { computeMeans, integrate, selectChannel } from "./position-means.js";

const MEAN_READ_SIDE = 800; // pixels, to about which a larger image is reduced by a whole number
const MIN_PURITY = 0.88; // share of the crossings that are as in a maze
const MIN_EDGE_SHARE = 0.4; // of the edges of an image that lie within the maze
const MIN_CONNECTED_SHARE = 0.6; // of the paths that are connected
const CLEAR_PURITY = 0.97;
const MIN_READ_SIDE = 5; // pixels
const MAX_RATIO = 20; // of the sides of an image
const MIN_PLAIN_SHARE = 0.9; // of the pixels of a cell that show its path, for it to count for the colour of paths
const MIN_PLAIN_CELLS = 4;
const MAX_MARKER_PLAUSIBILITY = 4;
const OPENINGS_NOTE = "The two openings of the outer wall are read as start and goal.";
const NO_MAZE =
  "No maze is recognised in this picture. A maze has walls and paths of two colours on a regular grid, a red start and a " +
  "green goal.";

/**
 * Return what is recognised in an image. Mirrors `read_maze`.
 *
 * @param {import("../plane.js").ColourImage} pixels - The image.
 * @returns {import("./reading.js").MazeReading} The reading.
 * @throws {InputError} There is no maze; one sentence says why.
 */
export function readMaze(pixels) {
  const reading = readPrepared(preparePixels(pixels));
  const { width, height } = reading.grid;
  if (Math.min(width, height) < MIN_SIDE || Math.max(width, height) > MAX_SIDE) {
    throw new InputError(`A maze has ${MIN_SIDE} to ${MAX_SIDE} positions per side, got ${width} x ${height}.`);
  }
  return reading;
}

function readPrepared(pixels) {
  const exact = readExact(pixels);
  if (exact?.confidence === 1) return exact;
  const colours = splitColours(pixels);
  if (!colours) {
    throw new InputError("The picture has one colour only. A maze has walls and paths of two colours.");
  }
  const lattice = findLattice(colours.brightness, colours.isTwoColoured);
  const isMaze =
    lattice && lattice.purity >= MIN_PURITY && computeEdgeShare(colours.brightness, lattice) >= MIN_EDGE_SHARE;
  if (exact?.start && exact.goal && !isMaze) return exact;
  if (!isMaze) throw new InputError(NO_MAZE);
  return readLattice(pixels, colours, lattice);
}

/** Return an image of limited size. */
function preparePixels(pixels) {
  const { width, height } = pixels;
  if (Math.min(width, height) < MIN_READ_SIDE || Math.max(width, height) > MAX_RATIO * Math.min(width, height)) {
    throw new InputError(
      `A maze has ${MIN_SIDE} to ${MAX_SIDE} positions per side; this picture has ${width} x ${height} pixels.`,
    );
  }
  const factor = Math.max(1, roundHalfEven(Math.max(width, height) / MEAN_READ_SIDE));
  return factor > 1 ? averagePixels(pixels, factor) : pixels;
}

function averagePixels(pixels, factor) {
  const [width, height] = [Math.floor(pixels.width / factor), Math.floor(pixels.height / factor)];
  const data = new Float32Array(width * height * 3);
  for (let index = 0; index < data.length; index++) {
    const [place, channel] = [Math.floor(index / 3), index % 3];
    const [top, left] = [Math.floor(place / width) * factor, (place % width) * factor];
    let sum = 0;
    for (let row = top; row < top + factor; row++) {
      for (let column = left; column < left + factor; column++) {
        sum = fround(sum + pixels.data[3 * (row * pixels.width + column) + channel]);
      }
    }
    data[index] = clip(fround(sum / factor ** 2), 0, 1);
  }
  return { data, width, height };
}

/** Return the share of the edges of an image that lie within a lattice. */
function computeEdgeShare({ data, width, height }, { rowStrips, columnStrips }) {
  const [[top, bottom], [left, right]] = [
    [rowStrips, height],
    [columnStrips, width],
  ].map(([strips, length]) => [
    clip(roundHalfEven(strips[0][0]) - 1, 0, length),
    clip(roundHalfEven(strips.at(-1)[1]) + 1, 0, length),
  ]);
  let [inside, total] = [0, 0];
  for (const [down, across] of [
    [1, 0],
    [0, 1],
  ]) {
    for (let row = 0; row < height - down; row++) {
      for (let column = 0; column < width - across; column++) {
        const place = row * width + column;
        const slope = Math.abs(fround(data[place + down * width + across] - data[place]));
        total += slope;
        if (row >= top && row < bottom && column >= left && column < right) inside += slope;
      }
    }
  }
  return inside / Math.max(total, 1e-9);
}

/** Return the maze on a lattice, with walls of the colour for which more speaks. */
function readLattice(pixels, colours, lattice) {
  const { layout, markers } = chooseLayout(pixels, colours, lattice);
  const isMarked = Boolean(markers.start && markers.goal);
  const isClear = layout.connectedShare >= MIN_CONNECTED_SHARE && lattice.purity >= CLEAR_PURITY;
  if (Math.min(layout.isWall.width, layout.isWall.height) < MIN_SIDE || !(isMarked || isClear)) {
    throw new InputError(NO_MAZE);
  }
  const isUnmarked = !markers.start && !markers.goal && !markers.problems.length;
  const opened = isUnmarked ? cutMarginOutsideOpenings(layout) : null;
  if (!opened) return buildReading(layout, markers, lattice);
  const [start, goal] = findOpenings(opened.isWall);
  return buildReading(opened, buildMarkers({ start, goal, notes: [OPENINGS_NOTE] }), lattice);
}

function chooseLayout(pixels, colours, lattice) {
  const layouts = [true, false].map((wallsAreDark) => buildLayout(lattice, wallsAreDark));
  const best = Math.max(...layouts.map(({ plausibility }) => plausibility));
  let chosen = null;
  for (const layout of layouts) {
    if (layout.plausibility + MAX_MARKER_PLAUSIBILITY < best) continue;
    const markers = findMarkers(pixels, layout, estimateColours(pixels, layout, colours));
    const plausibility = layout.plausibility + computeMarkerPlausibility(layout, markers);
    if (!chosen || plausibility > chosen.plausibility) chosen = { plausibility, layout, markers };
  }
  return chosen;
}

function buildReading(layout, markers, lattice) {
  const grid = mapPlane(layout.isWall, (isWall) => (isWall ? WALL : PATH), Uint8Array);
  for (const [kind, position] of [
    [START, markers.start],
    [GOAL, markers.goal],
  ]) {
    if (position) grid.data[position[0] * grid.width + position[1]] = kind;
  }
  const { start, goal, problems } = markers;
  const notes = [...markers.notes];
  if (lattice.purity < CLEAR_PURITY) notes.push("Some walls are unclear; check them.");
  return { grid, start, goal, confidence: lattice.purity, notes, problems };
}

/** Return how much the markers speak for a layout: both lie on crossings of paths. */
function computeMarkerPlausibility({ isCell }, { start, goal }) {
  const onCells = [start, goal].filter((position) => position && isCell.data[position[0] * isCell.width + position[1]]);
  return (MAX_MARKER_PLAUSIBILITY / 2) * onCells.length;
}

/** Return the colours of walls and paths. */
function estimateColours(pixels, layout, colours) {
  const { width, height, data } = pixels;
  const stacked = { data: new Float32Array(4 * width * height), width, height, channels: 4 };
  for (let index = 0; index < width * height; index++) {
    const isPlain = colours.isTwoColoured.data[index];
    stacked.data.set([data[3 * index], data[3 * index + 1], data[3 * index + 2], isPlain], 4 * index);
  }
  const means = computeMeans(integrate(stacked), layout.rowStrips, layout.columnStrips);
  const [wall, path] = layout.wallsAreDark ? [colours.dark, colours.bright] : [colours.bright, colours.dark];
  const share = selectChannel(means, 3).data;
  const plain = share.reduce((count, value, i) => count + Number(layout.isCell.data[i] && value > MIN_PLAIN_SHARE), 0);
  if (plain < MIN_PLAIN_CELLS) return { wall, path };
  const isPlain = (_, index) => layout.isCell.data[index] && share[index] > MIN_PLAIN_SHARE;
  return { wall, path: [0, 1, 2].map((channel) => computeMedian(selectChannel(means, channel).data.filter(isPlain))) };
}
