/**
 * Parsing the record of a thought.
 *
 * A record arrives whole. Whatever is missing or malformed leaves its panel out. The answer and the input are parsed here; what
 * belongs to one panel is parsed by that panel's module.
 */

import { formatCount } from "../common/format.js";
import {
  clamp,
  decodeBytes,
  isNumber,
  readArray,
  readInteger,
  readObject,
  readSeries,
  readShare,
  readTable,
  readText,
} from "../common/validate.js";
import { MAX_POSITIONS, MAX_TICKS } from "./limits.js";
import { isGrowing } from "./live-record.js";
import { parseActivity } from "./panels/activity.js";
import { parseAttention } from "./panels/attention.js";
import { parseEmissions } from "./panels/ctc.js";
import { parseRoutes } from "./panels/route.js";
import { parseSchedule } from "./panels/schedule.js";
import { parseStack } from "./panels/stack.js";
import { parseTrajectory } from "./panels/tracking.js";

const VERDICTS = ["correct", "wrong", "gave up", "out of ticks"];
const MAX_CLASSES = 20000;
const MAX_CLASSES_ON_DISK = 1e9;
const MAX_THRESHOLDS = 4;
const MAX_SAMPLES = 1e9;
const MAX_PICTURE_SIDE = 4096;
const MAX_BARS = 12;
const LIKELIEST_BARS = 10;
const MAX_LABEL = 80; // characters

/**
 * A parsed record.
 *
 * @typedef {object} Thought
 * @property {number} ticks - Ticks that were used, at least 1: the model halted after the last one.
 * @property {number} computedTicks - Ticks that the lists cover: those after `ticks` show what would have followed.
 * @property {number} iterations - Ticks that were possible.
 * @property {number} answerTick - The tick whose answer counts, from 1.
 * @property {string} sentence - The answer in words.
 * @property {string[]} labels - The answer of every tick in a few words; empty where it is not known.
 * @property {string} verdict - Verdict on the answer: "correct", "wrong", "gave up", "out of ticks"; empty if it is not known.
 * @property {boolean} isUnfamiliar - Whether the input is unlike the training data.
 * @property {string} policy - The halting policy as text.
 * @property {{accuracy: number, meanTicks: number, n: number} | null} estimate - What the policy reaches on calibration samples.
 * @property {string} guarantee - The guarantee of the halting policy; empty if there is none.
 * @property {boolean} isPartial - Whether the unroll has no result: it still runs, or it was stopped.
 * @property {boolean} isGrowing - Whether the unroll still runs.
 * @property {number | null} milliseconds - How long it took.
 * @property {boolean} isFromBrowser - Whether this browser computed it.
 * @property {number[] | null} energy - Energy by tick.
 * @property {number[] | null} chance - Chance of being right by tick, 0 to 1.
 * @property {number[]} certainty - Certainty by tick, 0 to 1.
 * @property {{quantity: string, level: number}[]} thresholds - Lines of the halting policy in the chart.
 * @property {number} inputTicks - Ticks before an answer counts.
 * @property {object | null} answer - The answer by tick, of kind "classes", "positions" or "spoken".
 * @property {object | null} input - The input, of kind "picture" or "sequence".
 * @property {number[][][] | null} routes - By tick, the places that the answer goes through, as [row, column].
 * @property {object | null} trajectory - A dot that moves.
 * @property {object | null} stack - Brackets and their stack.
 * @property {object | null} emissions - Numbers that are emitted one after the other.
 * @property {object[] | null} schedule - What is shown from which tick until which.
 * @property {object | null} attention - Attention weights of all heads by tick.
 * @property {object | null} activity - Activations of neurons by tick.
 */

/**
 * Parse a record.
 *
 * @param {unknown} value - The component's value.
 * @returns {Thought | null} The thought; null if the value has no tick.
 */
export function parseRecord(value) {
  const record = readObject(value);
  const ticks = countTicks(record);
  if (!ticks) return null;
  const continuation = readObject(record.continuation);
  const computedTicks = Math.max(ticks, countTicks(continuation));
  const lists = computedTicks > ticks ? { ...record, ...continuation } : record;
  const answerTick = isNumber(record.answer_tick) ? readInteger(record.answer_tick, 1, ticks) : ticks;
  const answer = parseAnswer(readObject(lists.choices ?? lists.answer), computedTicks, answerTick);
  const input = parseInput(readObject(record.input));
  return {
    ticks,
    computedTicks,
    iterations: readInteger(record.iterations, computedTicks, MAX_TICKS),
    answerTick,
    sentence: readText(record.sentence) || `It used ${formatCount(ticks, "tick")}.`,
    labels: readArray(lists.labels_by_tick, computedTicks).map((label) => readText(label, MAX_LABEL)),
    verdict: VERDICTS.includes(record.verdict) ? record.verdict : "",
    isUnfamiliar: readText(record.unfamiliar) !== "",
    policy: readText(record.policy),
    estimate: parseEstimate(readObject(record.estimate)),
    guarantee: readText(record.promise),
    isPartial: record.is_complete === false,
    isGrowing: isGrowing(record),
    milliseconds: isNumber(record.milliseconds) ? record.milliseconds : null,
    isFromBrowser: record.computed_by === "browser",
    thresholds: parseThresholds(record.lines),
    ...parseQuantities(lists, computedTicks),
    inputTicks: readInteger(record.listening, 0, MAX_TICKS),
    answer,
    input,
    ...parsePanels(lists, computedTicks, input, answer),
  };
}

/** Count the ticks of a record or of its continuation; 0 if it has none. */
function countTicks({ ticks, certainty }) {
  return Math.min(readInteger(ticks, 0, MAX_TICKS), readArray(certainty).length);
}

function parseQuantities(lists, ticks) {
  const energy = readSeries(lists.energy, ticks);
  return {
    energy: energy?.some(isNumber) ? energy : null,
    chance: readSeries(lists.p_correct, ticks),
    certainty: readSeries(lists.certainty, ticks).map((x) => clamp(x, 0, 1)),
  };
}

function parseThresholds(lines) {
  const known = readArray(lines)
    .map(readObject)
    .filter((line) => isNumber(line.at));
  return known.slice(0, MAX_THRESHOLDS).map((line) => ({ quantity: line.of, level: line.at }));
}

function parseEstimate({ accuracy, mean_ticks: meanTicks, n }) {
  if (![accuracy, meanTicks, n].every(isNumber)) return null;
  return { accuracy: readShare(accuracy), meanTicks, n: readInteger(n, 0, MAX_SAMPLES) };
}

function parsePanels(record, ticks, input, answer) {
  const details = readObject(record.input);
  return {
    routes: parseRoutes(record.routes, ticks, input),
    trajectory: parseTrajectory(readObject(details.path), answer),
    stack: parseStack(readObject(details.stack), input, answer),
    emissions: parseEmissions(details.numbers, input, answer),
    schedule: parseSchedule(details.phases, input),
    attention: parseAttention(readObject(record.attention), ticks, input),
    activity: parseActivity(readObject(record.activity), ticks),
  };
}

function parseAnswer(answer, ticks, answerTick) {
  const labels = readArray(answer.labels).map((label) => readText(label, 80));
  if (answer.kind === "classes") return parseClasses(answer, labels, ticks, answerTick);
  if (answer.kind === "spoken") return parseCtcAnswer(answer, ticks);
  if (answer.kind === "positions") return parsePositions(answer, labels, ticks);
  return null;
}

/** Parse probabilities by tick; classes that were never likely are left out of the rows, so `size` says how many there are. */
function parseClasses(answer, labels, ticks, answerTick) {
  const rows = readTable(answer.probabilities, ticks, MAX_CLASSES);
  if (!rows) return null;
  const size = readInteger(answer.of, rows[0].length, MAX_CLASSES_ON_DISK);
  return { kind: "classes", rows, size, labels, shown: selectClasses(rows[answerTick - 1]) };
}

/** Parse the item that is chosen at every tick; `size`, one more than the last item, is the blank. */
function parseCtcAnswer(answer, ticks) {
  const chosen = readSeries(answer.chosen, ticks);
  const probability = readSeries(answer.probability, ticks);
  const size = readInteger(answer.of, 0, MAX_POSITIONS);
  if (!size || !chosen || !probability) return null;
  return {
    kind: "spoken",
    size,
    chosen: chosen.map((index) => (isNumber(index) ? readInteger(index, 0, size) : size)),
    probability: probability.map(readShare),
  };
}

function parsePositions(answer, labels, ticks) {
  const chosen = readTable(answer.chosen, ticks, MAX_POSITIONS);
  const probability = readTable(answer.probability, ticks, MAX_POSITIONS);
  if (!chosen || !probability || chosen[0].length !== probability[0].length) return null;
  return {
    kind: "positions",
    chosen,
    probability,
    size: chosen[0].length,
    labels,
    classes: Math.max(labels.length, 2),
  };
}

/**
 * Select the classes that have a bar: all of a few, else the likeliest ones. The choice holds for all ticks, so bars do not jump.
 *
 * @param {number[]} probabilities - Probabilities at the tick that answers.
 * @returns {number[]} Numbers of the classes.
 */
export function selectClasses(probabilities) {
  const all = probabilities.map((_, index) => index);
  if (probabilities.length <= MAX_BARS) return all;
  return all.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, LIKELIEST_BARS);
}

function parseInput(input) {
  if (input.kind === "picture") return parsePicture(input);
  if (input.kind !== "sequence") return null;
  const items = readArray(input.items, MAX_POSITIONS).map((item) => readText(item, 12));
  if (!items.length) return null;
  return {
    kind: "sequence",
    items,
    places: readArray(input.places, MAX_POSITIONS).map((place) => readText(place, 12)),
    group: readInteger(input.group, 1, items.length),
  };
}

function parsePicture(input) {
  const width = readInteger(input.width, 0, MAX_PICTURE_SIDE);
  const height = readInteger(input.height, 0, MAX_PICTURE_SIDE);
  const channels = input.channels === 3 ? 3 : 1;
  const pixels = width && height ? decodeBytes(input.data, width * height * channels) : null;
  if (!pixels) return null;
  const parsePlace = (place) => {
    if (readArray(place).length !== 2 || !place.every(isNumber)) return null;
    return [readInteger(place[0], 0, height - 1), readInteger(place[1], 0, width - 1)];
  };
  const ends = { start: parsePlace(input.start), goal: parsePlace(input.goal) };
  return { kind: "picture", width, height, channels, pixels, ...ends };
}
