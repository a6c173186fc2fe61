/** Comparison of the engine with golden files, in node and in a browser. See `tests/golden/browser/make.py`. */

import { loadCheckpoint } from "../../../ui/static/ctm/checkpoint.js";
import { computeConfidence, computeConfidenceLimit } from "../../../ui/static/ctm/confidence.js";
import { Engine } from "../../../ui/static/ctm/engine.js";
import { TickHistory } from "../../../ui/static/ctm/history.js";
import { parsePolicy } from "../../../ui/static/ctm/policy-parser.js";
import { decodeFloats, parseSafetensors } from "../../../ui/static/ctm/weights.js";

export const CHECKPOINT_FILES = ["model.safetensors", "config.json", "task.json", "halting.json"];
const NEAR_THRESHOLD = 1e-4;

/**
 * Read a golden file.
 *
 * @param {Uint8Array} bytes - Content of the file.
 * @returns {{facts: object, tensors: Map<string, {shape: number[], values: Float32Array}>}} Its facts and tensors.
 */
export function readGolden(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + Number(view.getBigUint64(0, true)))));
  const tensors = new Map();
  for (const [name, tensor] of parseSafetensors(bytes)) {
    tensors.set(name, { shape: tensor.shape, values: decodeFloats(tensor) });
  }
  return { facts: JSON.parse(header.__metadata__.golden), tensors };
}

/**
 * Compare a checkpoint with its golden file.
 *
 * @param {Map<string, Uint8Array>} files - Files of the checkpoint.
 * @param {Uint8Array} bytes - Content of the golden file.
 * @returns {object} Number of samples; worst difference of every output; per policy how many decisions are the same, how many differ
 *   because a score lies within 1e-4 of its threshold or two classes are tied, and which differ otherwise.
 */
export function compareGolden(files, bytes) {
  const checkpoint = loadCheckpoint(files);
  const { facts, tensors } = readGolden(bytes);
  const samples = facts.ticks.length;
  const report = { checkpoint: facts.checkpoint, samples, worst: {}, policies: [] };
  const counts = facts.policies.map(({ policy }) => ({ policy, same: 0, near: 0, different: [] }));
  for (let row = 0; row < samples; row++) {
    const input = selectRow(tensors.get("inputs"), row);
    const encoded = checkpoint.model.encode(input.values, input.shape);
    compareOutputs(checkpoint, encoded, facts, tensors, row, report.worst);
    if (tensors.has("limit")) {
      const features = encoded.pooledFeatures;
      const { value } = computeConfidenceLimit(checkpoint.halting, features, false, null);
      note(report.worst, "limit", Math.abs(value - tensors.get("limit").values[row]));
    }
    facts.policies.forEach((expected, index) => {
      comparePolicy(checkpoint.model, encoded, expected, row, counts[index]);
    });
  }
  report.policies = counts;
  return report;
}

/** Run all ticks of a row and compare their outputs, the confidence and, where they are stored, the states. */
function compareOutputs({ model, halting }, encoded, facts, tensors, row, worst) {
  if (encoded.ticks !== facts.ticks[row])
    throw new Error(`row ${row} has ${encoded.ticks} ticks, not ${facts.ticks[row]}`);
  const engine = new Engine(model, parsePolicy("ticks=999999"));
  const { history } = engine.run(encoded, ({ tick, channels }) =>
    compareChannels(channels, tensors, tick - 1, row, worst),
  );
  const logits = selectRow(tensors.get("logits"), row).values;
  const largest = logits.reduce((result, value) => Math.max(result, Math.abs(value)), 0);
  note(worst, "logits", measure(history.logits, logits) / largest);
  note(worst, "certainty", measure(history.certainty, selectRow(tensors.get("certainty"), row).values));
  if (history.energy) note(worst, "energy", measure(history.energy, selectRow(tensors.get("energy"), row).values));
  const format = { ...facts.answer_format, lastPosition: history.positions - 1 };
  if (!tensors.has("p_correct")) return;
  compareConfidence(computeConfidence(halting, format, history), tensors, row, "", worst);
  // Low temperatures magnify differences of the logits. The formulas are compared on the same outputs.
  const golden = buildGoldenHistory(model, encoded, tensors, row);
  compareConfidence(computeConfidence(halting, format, golden), tensors, row, "formula.", worst);
}

/** Build the history that golden outputs form. */
function buildGoldenHistory(model, encoded, tensors, row) {
  const history = new TickHistory(model, encoded);
  const select = (name, tick) => selectRow(selectRow(tensors.get(name), row), tick).values;
  for (let tick = 0; tick < encoded.ticks; tick++) {
    const energy = history.energy ? selectRow(tensors.get("energy"), row).values[tick] : null;
    history.append({ logits: select("logits", tick), certainty: select("certainty", tick), energy });
  }
  return history;
}

/** Compare the confidence at every tick. */
function compareConfidence({ pCorrect, pLast }, tensors, row, prefix, worst) {
  for (const [name, values] of Object.entries({ p_correct: pCorrect, p_last: pLast })) {
    if (tensors.has(name) !== (values !== null)) throw new Error(`${name} exists in one of both only`);
    if (values) note(worst, prefix + name, measure(values, selectRow(tensors.get(name), row).values));
  }
}

/** Compare the states of a tick, which a golden file stores for the first rows and ticks, or for none. */
function compareChannels(channels, tensors, tick, row, worst) {
  for (const [name, tensor] of tensors) {
    if (!name.startsWith("channels.") || tick >= tensor.shape[0] || row >= tensor.shape[1]) continue;
    const values = channels[name.slice("channels.".length)];
    const expected = selectRow(selectRow(tensor, tick), row).values;
    if (values?.length !== expected.length)
      throw new Error(`${name} has ${values?.length} values, not ${expected.length}`);
    const largest = expected.reduce((result, value) => Math.max(result, Math.abs(value)), 1);
    note(worst, name, measure(values, expected) / largest);
  }
}

/** Compare the halting decision and the answer of a row. */
function comparePolicy(model, encoded, expected, row, count) {
  const policy = parsePolicy(expected.policy);
  const { ticks, answerTick, haltedBy, history } = new Engine(model, policy).run(encoded);
  const start = (answerTick - 1) * history.positions;
  // Two classes whose logits differ in the last digits only may change places: such a row is counted apart, too.
  const answer = expected.answer[row];
  const hasAnswer = answer.every((choice, position) => history.choices[start + position] === choice);
  const isTied = answer.every((choice, position) => isNearlyChosen(history, answerTick, position, choice));
  const isSame = ticks === expected.ticks[row] && haltedBy === expected.halted_by[row];
  if (isSame && hasAnswer) count.same++;
  else if ((isSame && isTied) || isNearThreshold(policy, history, Math.min(ticks, expected.ticks[row]))) count.near++;
  else
    count.different.push({
      row,
      ticks,
      expected: expected.ticks[row],
      answerTick,
      expectedTick: expected.answer_tick[row],
    });
}

/** Return whether the logit of a class lies within 1e-4 of the largest one of its position. */
function isNearlyChosen({ logits, choices, positions, classes, size }, tick, position, choice) {
  const start = (tick - 1) * size + position * classes;
  const chosen = choices[(tick - 1) * positions + position];
  return Math.abs(logits[start + chosen] - logits[start + choice]) <= NEAR_THRESHOLD;
}

/** Return whether a score that a policy compares at a tick lies within 1e-4 of its threshold. */
function isNearThreshold(policy, history, tick) {
  if (policy.policies) return policy.policies.some((part) => isNearThreshold(part, history, tick));
  const ticks = history.ticks;
  history.ticks = tick;
  let distance = Number.POSITIVE_INFINITY;
  if (policy.read) distance = Math.abs(policy.read(history) - policy.threshold);
  else if (policy.tolerance !== undefined && tick > policy.patience) {
    const changes = Array.from({ length: policy.patience }, (_, back) =>
      Math.abs(history.energy[tick - 1 - back] - history.energy[tick - 2 - back]),
    );
    distance = Math.min(...changes.map((change) => Math.abs(change - policy.tolerance)));
  }
  history.ticks = ticks;
  return distance <= NEAR_THRESHOLD;
}

/** Return one row of a tensor. */
function selectRow({ shape, values }, row) {
  const size = values.length / shape[0];
  return { shape: shape.slice(1), values: values.subarray(row * size, (row + 1) * size) };
}

/** Return the largest absolute difference. */
function measure(actual, expected) {
  let worst = 0;
  for (let index = 0; index < actual.length; index++) {
    const difference = Math.abs(actual[index] - expected[index]);
    worst = difference <= worst ? worst : difference; // NaN stays
  }
  return worst;
}

/** Keep the largest difference of an output. */
function note(worst, name, difference) {
  worst[name] = difference <= (worst[name] ?? 0) ? (worst[name] ?? 0) : difference;
}
