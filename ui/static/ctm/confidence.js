/** Confidence of an answer: a calibrated probability of being correct. Mirrors `inference.confidence`. */

const MAX_SHIFTED_CONFIDENCE = 0.5;
const MIN_PROBABILITY = 1e-6;
const { fround } = Math;

/**
 * @typedef {object} AnswerFormat
 * @property {number | null} scoredPositions - Number of last positions that decide whether an answer is correct; null for all.
 * @property {boolean} isCtc - Whether the answer is emitted over the ticks (CTC).
 * @property {number} lastPosition - Index of the last position that counts.
 *
 * @typedef {object} ConfidenceLimit
 * @property {number} value - Largest P(correct).
 * @property {boolean} isUnfamiliar - Whether the input differs from the training samples.
 * @property {boolean} isMeasured - Whether the accuracy on inputs that differ in the same way was measured.
 *
 * @typedef {object} Confidence
 * @property {Float64Array} logProbability - Logarithm of the probability that the model gives to its answer, at every tick.
 * @property {Float64Array | null} pCorrect - P(the whole answer is correct) at every tick; null if it is not known.
 * @property {Float64Array | null} pLast - P(the last position is correct) at every tick; null if it is not shown.
 */

/** @type {ConfidenceLimit} */
export const FAMILIAR = Object.freeze({ value: 1, isUnfamiliar: false, isMeasured: false });

/**
 * Compute the confidence of the answers at every tick that ran. Mirrors `compute_confidence`.
 *
 * @param {import("./metadata.js").HaltingMetadata} metadata - Checked content of `halting.json`.
 * @param {AnswerFormat} format - Positions of the answer.
 * @param {import("./history.js").TickHistory} history - Outputs of all ticks.
 * @param {ConfidenceLimit} [limit] - Largest confidence that the input allows.
 * @returns {Confidence} The confidence.
 */
export function computeConfidence(metadata, format, history, limit = FAMILIAR) {
  const byPosition = computeLogProbabilities(history, getTemperatures(metadata, history.ticks, limit), format.isCtc);
  const { positions, ticks, energy } = history;
  const whole = sumScored(byPosition, history, format);
  const mapTicks = (compute) => Float64Array.from({ length: ticks }, (_, tick) => Math.min(limit.value, compute(tick)));
  const fitted = metadata.confidence;
  if (!fitted) {
    const model = energy && getEnergyModel(metadata.energy);
    const bound = (tick) => Math.min(model(energy[tick], history.meanCertainty[tick]), Math.exp(whole[tick]));
    return { logProbability: whole, pCorrect: model ? mapTicks(bound) : null, pLast: null };
  }
  const last = format.lastPosition;
  const predict = (model, tick, certainty, logP) =>
    applyConfidenceModel(model, energy ? energy[tick] : 0, certainty, logP);
  const pCorrect = mapTicks((tick) => predict(fitted.whole, tick, history.meanCertainty[tick], whole[tick]));
  const predictLast = (tick) => {
    const index = tick * positions + last;
    const pLast = predict(fitted.last, tick, history.certainty[index], byPosition[index]);
    return Math.max(pLast, pCorrect[tick]); // a correct whole has a correct last position
  };
  return { logProbability: whole, pCorrect, pLast: fitted.last ? mapTicks(predictLast) : null };
}

/**
 * Return the temperature of each tick; 1 for an input that is unfamiliar in an unknown way. Mirrors `get_temperatures`.
 *
 * @param {import("./metadata.js").HaltingMetadata} metadata - Checked content of `halting.json`.
 * @param {number} ticks - Number of ticks.
 * @param {ConfidenceLimit} limit - Largest confidence that the input allows.
 * @returns {Float32Array} Temperatures, (T).
 */
export function getTemperatures(metadata, ticks, limit) {
  const fitted = limit.isUnfamiliar && !limit.isMeasured ? null : metadata.confidence?.temperatures;
  return Float32Array.from({ length: ticks }, (_, tick) => (fitted ? fitted[Math.min(tick, fitted.length - 1)] : 1));
}

/**
 * Return the class probabilities of every position at every tick. Mirrors `training.thought_record.compute_probabilities`.
 *
 * @param {import("./history.js").TickHistory} history - Outputs of all ticks.
 * @param {Float32Array} temperatures - Temperature of each tick.
 * @returns {Float32Array} Probabilities, (t, P, C).
 */
export function computeProbabilities({ logits, ticks, positions, classes }, temperatures) {
  const out = new Float32Array(ticks * positions * classes);
  for (let start = 0; start < out.length; start += classes) {
    const temperature = temperatures[Math.floor(start / (positions * classes))];
    const { largest, total } = sumExponentials(logits, start, classes, temperature);
    for (let index = start; index < start + classes; index++)
      out[index] = Math.exp(logits[index] / temperature - largest) / total;
  }
  return out;
}

/** Return the largest scaled logit of a position, and the sum of the exponentials of all, divided by that of the largest. */
function sumExponentials(logits, start, classes, temperature) {
  let largest = Number.NEGATIVE_INFINITY;
  for (let index = start; index < start + classes; index++)
    largest = Math.max(largest, fround(logits[index] / temperature));
  let total = 0;
  for (let index = start; index < start + classes; index++)
    total += Math.exp(fround(logits[index] / temperature) - largest);
  return { largest, total };
}

/**
 * Return the logarithm of the largest class probability, (T, P); summed over the ticks for a CTC answer. It is rounded as PyTorch does:
 * low temperatures make logits so large that the rounding is visible in the confidence.
 */
function computeLogProbabilities({ logits, ticks, positions, classes }, temperatures, isCtc) {
  const out = new Float64Array(ticks * positions);
  for (let index = 0; index < out.length; index++) {
    const temperature = temperatures[Math.floor(index / positions)];
    const { largest, total } = sumExponentials(logits, index * classes, classes, temperature);
    const logP = fround(largest - fround(largest + fround(Math.log(total))));
    out[index] = logP + (isCtc && index >= positions ? out[index - positions] : 0);
  }
  return out;
}

/** Return the sum over the scored positions up to the last one that counts, (T). */
function sumScored(byPosition, { positions, ticks }, { scoredPositions, lastPosition }) {
  const first = scoredPositions === null ? 0 : Math.max(0, lastPosition - scoredPositions + 1);
  return Float64Array.from({ length: ticks }, (_, tick) => {
    let sum = 0;
    for (let position = first; position <= lastPosition; position++) sum += byPosition[tick * positions + position];
    return sum;
  });
}

/** Return P(correct) of a fitted logistic model, at most the probability itself. Mirrors `ConfidenceModel`. */
function applyConfidenceModel(model, energy, certainty, logProbability) {
  const p = Math.min(fround(1 - MIN_PROBABILITY), Math.max(fround(MIN_PROBABILITY), fround(Math.exp(logProbability))));
  const logOdds = Math.log(p) - Math.log1p(-p);
  const logit = model.energy * energy + model.certainty * certainty + model.log_odds * logOdds + model.bias;
  return Math.min(1 / (1 + Math.exp(-logit)), Math.exp(logProbability));
}

/** Return the function from energy and certainty to P(correct); null if the energy does not determine it. */
function getEnergyModel({ kind, margin, chance }) {
  if (chance) {
    return (energy, certainty) =>
      1 / (1 + Math.exp(chance.energy * energy + chance.certainty * certainty + chance.bias));
  }
  if (kind === "contrastive") return (energy) => Math.min(1, Math.max(0, 1 - energy / margin));
  return kind === "calibrated" ? (energy) => 1 / (1 + Math.exp(energy)) : null;
}

/**
 * Return the largest confidence that an input allows. Mirrors `compute_confidence_limit`.
 *
 * @param {import("./metadata.js").HaltingMetadata} metadata - Checked content of `halting.json`.
 * @param {Float32Array | null} features - The `pooledFeatures` of the encoded input; null if they are not compared with training inputs.
 * @param {boolean} isShifted - Whether the input is known to differ from the training samples.
 * @param {number | null} shiftedAccuracy - Accuracy on held-out samples that differ in the same way; null if it was not measured.
 * @returns {ConfidenceLimit} The limit.
 * @throws {Error} The features have another number than those of the training inputs.
 */
export function computeConfidenceLimit(metadata, features, isShifted, shiftedAccuracy) {
  const limit = isShifted ? (shiftedAccuracy ?? MAX_SHIFTED_CONFIDENCE) : 1;
  const measured = { value: limit, isUnfamiliar: isShifted, isMeasured: isShifted && shiftedAccuracy !== null };
  if (!metadata.familiarity || !features) return measured;
  const excess = computeDistance(metadata.familiarity, features) / metadata.familiarity.threshold;
  if (excess <= 1) return measured;
  return { value: Math.min(limit, MAX_SHIFTED_CONFIDENCE / excess), isUnfamiliar: true, isMeasured: false };
}

/** Return the squared Mahalanobis distance of features from those of training inputs. */
function computeDistance({ mean, components, variances, residual_variance: residualVariance }, features) {
  if (features.length !== mean.length) {
    throw new Error(`halting.json describes ${mean.length} features, but the model computes ${features.length}.`);
  }
  const centered = mean.map((value, index) => features[index] - value);
  const squared = (values) => values.reduce((sum, value) => sum + value * value, 0);
  const coordinates = components.map((row) => row.reduce((sum, value, index) => sum + value * centered[index], 0));
  const along = coordinates.reduce((sum, value, index) => sum + (value * value) / variances[index], 0);
  return along + Math.max(0, squared(centered) - squared(coordinates)) / residualVariance;
}
