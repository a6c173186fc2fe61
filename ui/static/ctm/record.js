/** View model of one thought: the record that the page draws, from the engine's result. Mirrors `training.thought_record`. */

import { computeConfidence, computeProbabilities, getTemperatures } from "./confidence.js";
import { estimateResult } from "./estimated-result.js";
import { parsePolicy } from "./policy-parser.js";
import { describeUnfamiliarity, formatSentence, formatTruth, judgeAnswer } from "./tasks/sentence.js";

const TOP_CLASSES_PER_TICK = 8; // with many classes, only those are displayed that are among the likeliest 8 at some tick
const MAX_DISPLAYED_CLASSES = 12; // up to this number, all classes are displayed
const NUM_TOP_CLASSES = 5;
const MAX_NEURONS = 512; // rows of the activity panel
const BUDGET = "budget";

/**
 * What a record is built from.
 *
 * @typedef {object} Thought
 * @property {string} name - Name of the checkpoint.
 * @property {import("./checkpoint.js").Checkpoint} checkpoint - The checkpoint.
 * @property {import("./tasks/task.js").Task} task - Its task.
 * @property {import("./tasks/task.js").TaskInput} input - The parsed input.
 * @property {import("./policy-base.js").HaltingPolicy} policy - Halting policy of the run.
 * @property {import("./engine.js").EngineResult} result - Result of the engine.
 * @property {import("./recorder.js").Recorder} recorder - States at every tick.
 * @property {import("./confidence.js").ConfidenceLimit} limit - Largest confidence that the input allows.
 * @property {number} durationMs - Duration of the computation.
 * @property {Record<string, string>} [guarantees] - Sentence about the guarantee of a policy, by its text.
 */

/**
 * Build everything that the page displays of one thought.
 *
 * @param {Thought} thought - The thought.
 * @returns {Record<string, unknown>} The record. Lists by tick have one entry for each tick that ran.
 */
export function buildRecord(thought) {
  const { name, checkpoint, task, input, policy, result, limit, durationMs, guarantees } = thought;
  const { history, answerTick, haltedBy } = result;
  const { confidence, table, answers, taskAnswers } = readAnswers(thought, history);
  const answer = taskAnswers[answerTick - 1];
  const iterations = history.budget;
  const unfamiliar = describeUnfamiliarity(input, limit.isUnfamiliar);
  const record = {
    id: makeId(),
    checkpoint: name,
    task: task.name,
    iterations,
    ticks: result.ticks,
    answer_tick: answerTick,
    listening: input.display.listening ?? 0,
    halted_by: haltedBy,
    policy: String(policy),
    promise: limit.isUnfamiliar || iterations === 1 ? "" : (guarantees?.[String(policy)] ?? ""),
    estimate: limit.isUnfamiliar ? null : estimateResult(checkpoint.halting, String(policy)),
    unfamiliar,
    answer: answer.value,
    label: answer.label,
    probability: Math.exp(confidence.logProbability[answerTick - 1]),
    milliseconds: round(durationMs, 2),
    answers_by_tick: answers,
    likeliest: listTopClasses(table[answerTick - 1], task.labels),
    lines: policy.getChartLines().map(({ signal, level }) => ({ of: signal, at: level })),
    notes: [...(input.display.notes ?? []), ...policy.describeUnreachable(iterations)],
    input: buildInputView(input.display),
    ...buildTickLists(thought, history, { confidence, table, taskAnswers }),
  };
  const summary = { ...record, is_adaptive: policy.isAdaptive };
  record.verdict = judgeAnswer(task.isCorrect(input, answers[answerTick - 1]), summary);
  record.truth = formatTruth(task, input);
  const haltReason = haltedBy === BUDGET ? "" : parsePolicy(haltedBy).explain(history);
  const sentence = formatSentence(answer.sentence, { ...summary, ...record }, haltReason, task.statesResult);
  record.sentence = [sentence, unfamiliar, ...record.notes].filter(Boolean).join(" ");
  return record;
}

/**
 * Build the entries of a record that have one value per tick, after all ticks of the budget.
 *
 * @param {Thought} thought - The thought; its result and duration are not needed.
 * @param {import("./history.js").TickHistory} history - Outputs of all ticks.
 * @returns {Record<string, unknown>} The entries; those up to the halting tick equal the ones of the record.
 */
export function buildContinuation(thought, history) {
  return { ticks: history.ticks, ...buildTickLists(thought, history, readAnswers(thought, history)) };
}

/** Compute confidence, probabilities and answers at every tick. */
function readAnswers({ checkpoint, task, input, limit }, history) {
  const { halting } = checkpoint;
  const { scoredPositions, ctcLength } = task.spec;
  const format = { scoredPositions, isCtc: ctcLength !== null, lastPosition: input.positions - 1 };
  const confidence = computeConfidence(halting, format, history, limit);
  const all = computeProbabilities(history, getTemperatures(halting, history.ticks, limit));
  const table = buildProbabilityTable(all, history, input.positions);
  const answers = task.decode(table.map((positions) => positions.map(({ best }) => best)));
  return { confidence, table, answers, taskAnswers: answers.map((choices) => task.formatAnswer(input, choices)) };
}

/** Build the entries of the record that have one value per tick. */
function buildTickLists({ checkpoint, task, recorder }, history, { confidence, table, taskAnswers }) {
  return {
    energy: roundValues(history.energy?.subarray(0, history.ticks)),
    p_correct: roundValues(confidence.pCorrect),
    p_last: roundValues(confidence.pLast),
    certainty: roundValues(history.meanCertainty.subarray(0, history.ticks)),
    labels_by_tick: taskAnswers.map(({ label }) => label),
    choices: buildChoices(table, task.labels, task.spec.ctcLength),
    routes: buildRoutes(taskAnswers),
    attention: buildAttentionView(recorder),
    activity: buildActivityView(recorder, checkpoint.model.config.d_model),
  };
}

/**
 * Probabilities of one position at one tick.
 *
 * @typedef {{p: Float32Array, best: number}} PositionProbabilities
 */

/** Return the probabilities of the positions that count, by tick and position. @returns {PositionProbabilities[][]} */
function buildProbabilityTable(probabilities, { ticks, positions, classes }, numPositions) {
  return Array.from({ length: ticks }, (_, tick) =>
    Array.from({ length: Math.min(numPositions, positions) }, (_, position) => {
      const start = (tick * positions + position) * classes;
      const p = probabilities.subarray(start, start + classes);
      return { p, best: findLargest(p) };
    }),
  );
}

function findLargest(values) {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

/** Return the answer probabilities by tick: emissions of a CTC answer, classes of a single choice, or classes by position. */
function buildChoices(table, labels, ctcLength) {
  const getBest = ({ p, best }) => round(p[best], 4);
  if (ctcLength) {
    const first = table.map((positions) => positions[0]);
    return {
      kind: "spoken",
      of: ctcLength,
      chosen: first.map(({ best }) => best),
      probability: first.map(getBest),
    };
  }
  if (table[0].length === 1) {
    const classes = selectClasses(table.map(([{ p }]) => p));
    return {
      kind: "classes",
      of: labels.length,
      labels: classes.map((index) => labels[index]),
      probabilities: table.map(([{ p }]) => classes.map((index) => round(p[index], 6))),
    };
  }
  return {
    kind: "positions",
    labels,
    chosen: table.map((positions) => positions.map(({ best }) => best)),
    probability: table.map((positions) => positions.map(getBest)),
  };
}

/** Return the classes to display, in ascending order: all of a few, and of many those that were likely at some tick. */
function selectClasses(byTick) {
  const classes = Array.from(byTick[0].keys());
  if (classes.length <= MAX_DISPLAYED_CLASSES) return classes;
  const selected = new Set(byTick.flatMap((p) => sortByProbability(p).slice(0, TOP_CLASSES_PER_TICK)));
  return classes.filter((index) => selected.has(index));
}

/** Return the classes by falling probability; equal ones in ascending order. */
function sortByProbability(p) {
  return Array.from(p.keys()).sort((first, second) => p[second] - p[first] || first - second);
}

/** Return the likeliest classes of a single choice, the likeliest first; [] for an answer of several positions. */
function listTopClasses(positions, labels) {
  if (positions.length > 1) return [];
  const [{ p }] = positions;
  return sortByProbability(p)
    .slice(0, NUM_TOP_CLASSES)
    .map((index) => ({ label: labels[index], probability: round(p[index], 4) }));
}

/** Return the path of the answer at every tick, as row, column, row, column, ...; null if answers are no paths. */
function buildRoutes(answers) {
  if (answers.some(({ route }) => !route)) return null;
  return answers.map(({ route }) => route.flat());
}

/** Return the input as the page displays it, with the pixels of an image as base64. */
function buildInputView(display) {
  if (display.kind !== "picture") return { group: 1, ...display };
  const { pixels, ...rest } = display;
  const { width, height, channels, data } = pixels;
  return { ...rest, width, height, channels, data: encodeBytes(data, (value) => value * 255) };
}

/** Return the attention maps of all heads at every tick, scaled to their maximum; null without attention. */
function buildAttentionView(recorder) {
  const channel = recorder.getChannel("attention");
  if (!channel) return null;
  const [height, width] = getMapSize(recorder.attentionMapShape);
  const size = height * width;
  const scaled = new Float32Array(channel.values.length);
  for (let start = 0; start < scaled.length; start += size) {
    let largest = 1e-9;
    for (let index = start; index < start + size; index++) largest = Math.max(largest, channel.values[index]);
    for (let index = start; index < start + size; index++) scaled[index] = channel.values[index] / largest;
  }
  return {
    heads: channel.width / size,
    map: [...recorder.attentionMapShape],
    data: encodeBytes(scaled, (value) => value * 255),
  };
}

function getMapSize(shape) {
  return shape.length === 1 ? [1, shape[0]] : [shape[0], shape.slice(1).reduce((product, side) => product * side, 1)];
}

/** Return the activations of up to `MAX_NEURONS` neurons at every tick; null if the model has none. */
function buildActivityView(recorder, of) {
  const channel = recorder.getChannel("post_activations");
  if (!channel) return null;
  const { values, width } = channel;
  const neurons = Math.min(width, MAX_NEURONS);
  const step = neurons > 1 ? (width - 1) / (neurons - 1) : 0;
  const indices = Array.from({ length: neurons }, (_, index) => roundHalfToEven(index * step));
  const selected = new Float32Array((values.length / width) * neurons);
  for (let index = 0; index < selected.length; index++) {
    selected[index] = values[Math.floor(index / neurons) * width + indices[index % neurons]];
  }
  return { neurons, of, data: encodeBytes(selected, (value) => 128 + value * 127) };
}

/** Return numbers from 0 to 255 as base64, a tenth of the size of a JSON list. */
function encodeBytes(values, scale) {
  let text = "";
  for (const value of values) text += String.fromCharCode(Math.min(255, Math.max(0, roundHalfToEven(scale(value)))));
  return btoa(text);
}

/** Round as NumPy does. */
function roundHalfToEven(value) {
  const nearest = Math.round(value);
  return Math.abs(value % 1) === 0.5 && nearest % 2 ? nearest - 1 : nearest;
}

function round(value, digits) {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}

function roundValues(values) {
  return values ? Array.from(values, (value) => round(value, 7)) : null;
}

function makeId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
