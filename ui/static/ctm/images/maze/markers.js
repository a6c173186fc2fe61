/** Find the start and the goal of a maze in an image. Mirrors `training.data.maze_reader.markers`. */

import { clip, cutPlane, findMax, fround, mapPlane, roundHalfEven, selectValues } from "../plane.js";
import { computeMedian } from "../statistics.js";
import { computeDistance, computeLengths, projectColours } from "./colours.js";
import { computeLikeness, normalizeGlyph } from "./letters.js";
import { computeMeans, integrate, selectChannel } from "./position-means.js";

const MARKER_SHARE = 0.8; // of a strip, in which the colours of a marker are looked for
const MIN_SCORE = 0.06; // difference of a marker from a path, where 1 is the difference of a wall
const MAX_SCORE = 0.4; // that may be asked for
const MIN_DARKENING = 0.05; // of a path by a letter
const MAX_COLOUR_DISTANCE = 0.4; // between positions that count as one colour
const MIN_SATURATION = 0.15;
const MIN_TINT = 0.04;
const MIN_GLYPH_SIZE = 5; // pixels of a position, below which it shows no letter
const GUESS_NOTE = "The start and the goal are guessed from their colours; red is a start and green a goal.";
const UNCLEAR_NOTE = "It is unclear which of the two marks is the start.";
const MIN_OWN_DARKENING = 0.25;
const MIN_NEIGHBOUR_SHARE = 0.6; // of the score of a stronger neighbour
const MIN_GROUP_SHARE = 0.55; // of the score of the strongest position of a colour
const MIN_ROUTE = 3; // positions of one colour that are a route and no marker
const MAX_FOUND = 400;
const HUES = { red: 0, green: 120 };
const MAX_HUE_DISTANCE = { red: 26, green: 50 };
const MIN_HUE_PREFERENCE = 20; // between the two ways to call two markers start and goal

/**
 * Start and goal of an image. Mirrors `Markers`.
 *
 * @typedef {object} Markers
 * @property {number[] | null} start - Position of the start, [row, column], or null.
 * @property {number[] | null} goal - Position of the goal, or null.
 * @property {string[]} notes - What is doubtful, as sentences.
 * @property {string[]} problems - Why start or goal are missing, as predicates.
 */

/**
 * Build markers; what is not given is missing.
 *
 * @param {Partial<Markers>} given - What is known.
 * @returns {Markers} The markers.
 */
export function buildMarkers({ start = null, goal = null, notes = [], problems = [] }) {
  return { start, goal, notes, problems };
}

/**
 * Return the start and the goal. Mirrors `find_markers`.
 *
 * @param {import("../plane.js").ColourImage} pixels - The image.
 * @param {import("./layout.js").Layout} layout - Walls and paths.
 * @param {{wall: number[], path: number[]}} colours - Colour of the walls and of the paths.
 * @returns {Markers} The markers.
 */
export function findMarkers(pixels, layout, { wall, path }) {
  const { residual, share: darkness } = projectColours(pixels, path, wall);
  const maps = { pixels, residual, darkness, layout };
  const groups = groupCandidates(findCandidates(maps));
  const coloured = groups.filter(([first]) => first.hue !== null);
  const markers = chooseColoured(coloured);
  const signs = groups.filter((group) => group[0].hue === null && group.length < MIN_ROUTE).flat();
  if (markers.problems.length || (markers.start && markers.goal) || !signs.length) return markers;
  if (markers.start || markers.goal) {
    if (signs.length > 1) return markers;
    return { ...markers, [markers.start ? "goal" : "start"]: signs[0].position };
  }
  if (signs.length !== 2 || coloured.length) return markers;
  const tallest = Math.max(...layout.rowStrips.map(([start, end]) => end - start));
  return tallest < MIN_GLYPH_SIZE ? chooseFaint(signs) : chooseLettered(maps, signs);
}

/** Return two almost grey positions of a few pixels as start and goal, as JPEG makes of red and green. */
function chooseFaint(candidates) {
  const sum = ({ colour }) => colour[0] + colour[1] + colour[2];
  const [start, goal] = candidates.toSorted((a, b) => sum(a) - sum(b));
  return buildMarkers({ start: start.position, goal: goal.position, notes: [GUESS_NOTE] });
}

/** Return the pixels of a position as a box. */
function getBox({ pixels, layout }, [row, column]) {
  const [rows, columns] = [
    [layout.rowStrips[row], pixels.height],
    [layout.columnStrips[column], pixels.width],
  ].map(([[start, end], length]) => {
    const low = clip(roundHalfEven(start), 0, length - 1);
    return [low, clip(roundHalfEven(end), low + 1, length)];
  });
  return [rows[0], columns[0], rows[1], columns[1]];
}

/** Return the positions that differ from walls and paths, the most different first, without weaker neighbours. */
function findCandidates(maps) {
  const { layout } = maps;
  const scores = computeScores(maps);
  const { score, darkness, threshold } = scores;
  const { width } = layout.isWall;
  const found = [];
  for (let index = 0; index < score.data.length; index++) if (score.data[index] > threshold) found.push(index);
  found.sort((a, b) => score.data[b] - score.data[a]);
  const kept = [];
  for (const index of found.slice(0, MAX_FOUND)) {
    const [row, column] = [Math.floor(index / width), index % width];
    const near = kept.filter(
      ({ position }) => Math.max(Math.abs(position[0] - row), Math.abs(position[1] - column)) <= 2,
    );
    const isDark = darkness.data[index] > MIN_OWN_DARKENING; // itself, while the colour of a neighbour only stains it
    if (!isDark && near.some((one) => score.data[index] < MIN_NEIGHBOUR_SHARE * one.score)) continue;
    const colour = estimateColour(maps, [row, column]);
    const tint = averageAround(scores.means, row, column);
    kept.push(describeCandidate([row, column], score.data[index], colour, tint));
  }
  return kept;
}

/** Return how much each position differs from walls and paths, and from where on this counts. */
function computeScores({ pixels, residual, darkness: shares, layout }) {
  const { isWall, isCell, rowStrips, columnStrips } = layout;
  const stacked = {
    data: new Float32Array(4 * shares.data.length),
    width: pixels.width,
    height: pixels.height,
    channels: 4,
  };
  for (let index = 0; index < shares.data.length; index++) {
    stacked.data.set(
      [residual[3 * index], residual[3 * index + 1], residual[3 * index + 2], shares.data[index]],
      4 * index,
    );
  }
  const means = computeMeans(integrate(stacked), rowStrips, columnStrips, MARKER_SHARE);
  const colour = computeLengths(means.data.filter((_, index) => index % 4 < 3));
  const plain = selectChannel(means, 3);
  const level = computeMedian(selectValues(plain, isCell));
  const relative = mapPlane(plain, (value) => value - level, Float64Array);
  const spread = 1.5 * computeMedian(selectValues(relative, isCell).map(Math.abs));
  const least = Math.max(MIN_DARKENING, 5 * spread);
  const darkness = mapPlane(relative, (v, i) => (v < least || !isCell.data[i] ? 0 : v), Float64Array);
  const difference = (value, i) => (isWall.data[i] ? 0 : Math.hypot(colour[i], value));
  const raw = mapPlane(darkness, difference, Float64Array);
  const usual = selectValues(raw, isCell);
  const median = computeMedian(usual);
  const usualSpread = 1.5 * computeMedian(usual.map((value) => Math.abs(value - median)));
  const threshold = Math.min(Math.max(MIN_SCORE, median + 6 * usualSpread), MAX_SCORE);
  // Markers lie on crossings; the positions between them receive their blurred colours.
  const score = mapPlane(raw, (value, index) => (isCell.data[index] ? value : 0.75 * value), Float64Array);
  return { score, darkness, threshold, means };
}

/** Return the mean residual of the positions around one. */
function averageAround({ data, width, height }, row, column) {
  const sums = [0, 0, 0];
  let count = 0;
  for (let y = Math.max(0, row - 1); y < Math.min(height, row + 2); y++) {
    for (let x = Math.max(0, column - 1); x < Math.min(width, column + 2); x++) {
      for (let channel = 0; channel < 3; channel++) sums[channel] += data[4 * (y * width + x) + channel];
      count++;
    }
  }
  return sums.map((sum) => sum / count);
}

/**
 * Return a candidate with its hue in degrees, null for grey, and its name, "red", "green" or null.
 *
 * JPEG spreads the hue of a small position over its neighbours, so theirs counts where the position has none.
 */
function describeCandidate(position, score, colour, tint) {
  const hue = computeHue(colour, MIN_SATURATION) ?? computeHue(tint, MIN_TINT);
  const isNear = (name) => hue !== null && getHueDistance(hue, HUES[name]) <= MAX_HUE_DISTANCE[name];
  return { position, score, colour, hue, name: Object.keys(HUES).find(isNear) ?? null };
}

/** Return the colour of what covers a position, whole or in part. */
function estimateColour(maps, position) {
  const { pixels, residual, darkness } = maps;
  const [top, left, bottom, right] = getBox(maps, position);
  const places = [];
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) places.push(row * pixels.width + column);
  }
  const lengths = computeLengths(
    Float32Array.from(places.flatMap((place) => [...residual.subarray(3 * place, 3 * place + 3)])),
  );
  const isGrey = findMax(lengths) < fround(0.1);
  const strengths = places.map((place, index) => (isGrey ? Math.max(0, darkness.data[place]) : lengths[index]));
  const weights = strengths.map((value) => fround(fround(value ** 3) + fround(1e-9)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return [0, 1, 2].map((channel) => {
    return places.reduce((sum, place, index) => sum + weights[index] * pixels.data[3 * place + channel], 0) / total;
  });
}

/** Return the candidates by colour, without positions much weaker than the strongest one of a colour. */
function groupCandidates(candidates) {
  const groups = [];
  for (const candidate of candidates) {
    const group = groups.find(([first]) => isOneColour(candidate, first));
    if (group) group.push(candidate);
    else groups.push([candidate]);
  }
  return groups.map((group) => group.filter(({ score }) => score > MIN_GROUP_SHARE * group[0].score));
}

/** Return whether two positions have the same colour; how strong it is may differ where a picture is blurred. */
function isOneColour(one, other) {
  if (one.hue === null || other.hue === null) return one.hue === other.hue;
  if (one.name && one.name === other.name) return true;
  return getHueDistance(one.hue, other.hue) < 20 && computeDistance(one.colour, other.colour) < MAX_COLOUR_DISTANCE;
}

/** Choose start and goal from the colours that stand out. */
function chooseColoured(groups) {
  const byScore = (a, b) => b.score - a.score;
  const lone = groups.filter((group) => group.length === 1).map(([first]) => first);
  const single = (name) => lone.filter((one) => one.name === name).sort(byScore)[0]?.position ?? null;
  const [start, goal] = [single("red"), single("green")];
  if (start && goal) return buildMarkers({ start, goal });
  const problems = [];
  for (const [name, role, position] of [
    ["red", "start", start],
    ["green", "goal", goal],
  ]) {
    const isSeveral = (group) => group[0].name === name && group.length > 1 && group.length < MIN_ROUTE;
    const several = position ? null : groups.find(isSeveral);
    if (several) problems.push(`has ${several.length} ${name} positions instead of one ${role}`);
  }
  if (problems.length) return buildMarkers({ start, goal, problems });
  const [first, second] = lone.toSorted(byScore);
  if (second) return orderByHue(first, second);
  if (first?.name) return buildMarkers({ [first.name === "red" ? "start" : "goal"]: first.position });
  return buildMarkers({});
}

/** Return two positions as start and goal: the start is nearer to red, the goal nearer to green. */
function orderByHue(first, second) {
  const cost = (start, goal) => getHueDistance(start.hue, HUES.red) + getHueDistance(goal.hue, HUES.green);
  const [given, swapped] = [cost(first, second), cost(second, first)];
  const [start, goal] = given <= swapped ? [first, second] : [second, first];
  const notes = Math.abs(given - swapped) >= MIN_HUE_PREFERENCE ? [] : [GUESS_NOTE];
  return buildMarkers({ start: start.position, goal: goal.position, notes });
}

/** Return two positions with letters or other signs as start and goal: S is the start, otherwise the first position. */
function chooseLettered(maps, candidates) {
  const ordered = candidates.toSorted((a, b) => a.position[0] - b.position[0] || a.position[1] - b.position[1]);
  const [first, second] = ordered.map(({ position }) => computeLikeness(extractGlyph(maps, position)));
  const preference = first - second;
  const [start, goal] = preference >= 0 ? ordered : ordered.toReversed();
  const notes = Math.abs(preference) > 0.05 ? [] : [UNCLEAR_NOTE];
  return buildMarkers({ start: start.position, goal: goal.position, notes });
}

/** Return what is drawn on a position, cropped and scaled. */
function extractGlyph(maps, position) {
  const ink = mapPlane(cutPlane(maps.darkness, getBox(maps, position)), (value) => clip(value, 0, 1));
  const side = Math.min(ink.width, ink.height);
  const border = side >= 6 ? Math.max(1, roundHalfEven(0.06 * side)) : 0;
  return normalizeGlyph(cutPlane(ink, [border, border, ink.height - border, ink.width - border]));
}

/** Return the hue of a colour in degrees, or null for grey. */
function computeHue([red, green, blue], minSaturation) {
  if (Math.max(red, green, blue) - Math.min(red, green, blue) < minSaturation) return null;
  const degrees = (Math.atan2(Math.sqrt(3) * (green - blue), 2 * red - green - blue) * 180) / Math.PI;
  return (degrees + 360) % 360;
}

/** Return the angle between two hues in degrees. */
function getHueDistance(one, other) {
  const turned = (((one - other + 180) % 360) + 360) % 360;
  return Math.abs(turned - 180);
}
