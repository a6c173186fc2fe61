/** Words for one thought: the verdict, the confidence, and why the model stopped. Mirrors `training.thought_sentence`. */

import { formatProbability } from "../../common/format.js";

const BUDGET = "budget"; // what stopped a thought that used all ticks
const MAX_GIVE_UP_CONFIDENCE = 0.2; // a model that stops with less has no hope of a correct answer
const UNFAMILIAR_FEATURES = "The input is unlike the training data, so the answer is not reliable.";
const NUMBER_HYPHEN = /(?<![\p{L}\p{Nl}\p{No}_])-(?= ?[\p{Nd}.])/gu; // hyphens in words stay

/**
 * What the sentences need of the record of a thought, under the names of the record.
 *
 * @typedef {object} ThoughtSummary
 * @property {number} ticks - Ticks that ran.
 * @property {number} iterations - Largest number of ticks.
 * @property {number} answer_tick - Tick whose answer counts, from 1.
 * @property {string} halted_by - Policy that stopped the thought, or "budget".
 * @property {boolean} is_adaptive - Whether the policy stops by what it sees and not at a fixed tick.
 * @property {number} probability - Probability that the model gives to its answer.
 * @property {number[] | null} p_correct - Estimated probability of a correct answer at every tick, if it is known.
 * @property {number[] | null} p_last - The same of the last position alone.
 * @property {string} unfamiliar - How the input differs from the training samples, see `describeUnfamiliarity`.
 * @property {string} verdict - Verdict on the answer, see `judgeAnswer`.
 * @property {string | null} truth - Correct answer as a short text, see `formatTruth`.
 */

/**
 * Return the verdict on an answer: "correct", "wrong", "gave up", "out of ticks" or "unknown". Mirrors `judge_answer`.
 *
 * @param {boolean | null} isCorrect - Whether the answer is correct; null if the correct answer is not known.
 * @param {ThoughtSummary} record - Record of the thought; its verdict and truth are not read.
 * @returns {string} The verdict.
 */
export function judgeAnswer(isCorrect, record) {
  if (isCorrect) return "correct";
  if (record.halted_by !== BUDGET && record.ticks < record.iterations) {
    const confidence = getShownConfidence(record);
    if (confidence !== null && confidence < MAX_GIVE_UP_CONFIDENCE && !record.unfamiliar) return "gave up";
  } else if (record.halted_by === BUDGET && record.is_adaptive) return "out of ticks";
  return isCorrect === null ? "unknown" : "wrong";
}

/**
 * Return the confidence in what the sentence says. Mirrors `get_shown_confidence`.
 *
 * @param {ThoughtSummary} record - Record of the thought.
 * @returns {number | null} A probability, or null if it is not known.
 */
export function getShownConfidence({ p_last: last, p_correct: whole, answer_tick: tick }) {
  const values = last?.length ? last : whole;
  return values ? values[tick - 1] : null;
}

/**
 * Return how an input differs from the training samples, as a sentence. Mirrors `describe_unfamiliarity`.
 *
 * @param {import("./task.js").TaskInput} input - The parsed input.
 * @param {boolean} isUnfamiliar - Whether the features of the model are unlike those of the training samples.
 * @returns {string} The sentence; empty if it does not differ.
 */
export function describeUnfamiliarity({ shift }, isUnfamiliar) {
  if (shift) return `Unlike the training data: ${shift.sentence[0].toLowerCase()}${shift.sentence.slice(1)}`;
  return isUnfamiliar ? UNFAMILIAR_FEATURES : "";
}

/**
 * Return the correct answer as a short text. Mirrors `format_truth` of `training.thought_record`.
 *
 * @param {import("./task.js").Task} task - The task.
 * @param {import("./task.js").TaskInput} input - The parsed input.
 * @returns {string | null} The text; null if it is not known, or if the answer itself says what is wrong.
 */
export function formatTruth(task, input) {
  return input.trueChoices && !task.statesResult ? task.formatAnswer(input, input.trueChoices).label : null;
}

/**
 * Return the answer, the verdict, the confidence, and why the model stopped, in a few sentences. Mirrors `format_sentence`.
 *
 * @param {string} answerText - Answer as a sentence without a period.
 * @param {ThoughtSummary} record - Record of the thought.
 * @param {string} haltReason - Why the policy stopped the thought; empty if the ticks were used up.
 * @param {boolean} statesResult - Whether the answer itself says whether it is correct.
 * @returns {string} The sentences.
 */
export function formatSentence(answerText, record, haltReason, statesResult) {
  const parts = [
    `${replaceNumberHyphens(answerText)}.`,
    statesResult ? "" : formatVerdict(record),
    formatConfidence(record),
    formatEnding(record, haltReason),
  ];
  return parts.filter(Boolean).join(" ");
}

function formatVerdict({ verdict, truth }) {
  if (verdict === "correct") return "Correct.";
  return truth === null ? "" : `Wrong: the correct answer is ${replaceNumberHyphens(truth)}.`;
}

/** Return the confidence as a sentence; without one, the probability that the model gives to its answer. */
function formatConfidence({ p_correct: whole, p_last: last, probability, answer_tick: tick }) {
  if (whole === null) return `Probability: ${formatProbability(probability)}.`;
  if (last === null) return `Confidence: ${formatProbability(whole[tick - 1])}.`;
  const [first, second] = [last, whole].map((values) => formatProbability(values[tick - 1]));
  return `Confidence: ${first} (in all intermediate results: ${second}).`;
}

/** Return when and why the model stopped, as a sentence. */
function formatEnding(
  { answer_tick: answerTick, ticks, iterations, verdict, halted_by: policy, ...record },
  haltReason,
) {
  if (iterations === 1) return "Feed-forward baseline: one pass, no ticks.";
  if (verdict === "gave up") return `It gave up at tick ${ticks} of ${iterations} (${haltReason}).`;
  if (policy !== BUDGET) {
    if (ticks === iterations) return `Stopped at the last tick, ${ticks} (${haltReason}).`;
    const saved = iterations - ticks;
    const unit = saved === 1 ? "tick" : "ticks";
    return `Stopped at tick ${ticks} of ${iterations} (${haltReason}); ${saved} ${unit} saved.`;
  }
  const ending = `It used all ${ticks} ticks${record.is_adaptive ? " without meeting the stopping rule" : ""}`;
  if (answerTick === ticks) return `${ending}.`;
  return `${ending}, so the answer is taken from tick ${answerTick}, where it was most certain.`;
}

/** Return a text whose numbers have true minus signs; hyphens in words stay. */
function replaceNumberHyphens(text) {
  return text.replace(NUMBER_HYPHEN, "\u2212");
}
