/**
 * Parse policies and format numbers for comparison with Python: `node policy-table.mjs REQUEST_FILE` reads {policies, numbers,
 * histories} and prints the results as JSON.
 */

import { readFileSync } from "node:fs";
import { TickHistory } from "../../../ui/static/ctm/history.js";
import { checkPolicyFitsTask } from "../../../ui/static/ctm/policies.js";
import { parsePolicy } from "../../../ui/static/ctm/policy-parser.js";
import { formatGeneral, formatRepr } from "../../../ui/static/ctm/python-format.js";
import { computeCertainty } from "../../../ui/static/ctm/readout.js";

const MAX_TICKS = 7;

/** Return everything that a policy says about itself, or the error of its text. */
function describe(text) {
  try {
    const policy = parsePolicy(text);
    return {
      text: String(policy),
      condition: policy.condition,
      sentence: policy.describe(),
      minTicks: policy.minTicks,
      isAdaptive: policy.isAdaptive,
      needsEnergy: policy.needsEnergy,
      answersAtEnd: policy.answersAtEnd,
      lines: policy.getChartLines().map(({ signal, level }) => [signal, level]),
      unreachable: policy.describeUnreachable(MAX_TICKS),
      misfit: getError(() => checkPolicyFitsTask(policy, null)),
    };
  } catch (error) {
    return { error: error.message };
  }
}

function getError(run) {
  try {
    run();
    return null;
  } catch (error) {
    return error.message;
  }
}

/** Return, for every tick of a history, whether a policy stops there and why, or the error. */
function replay({ policy: text, logits, energy, positions, classes }) {
  const policy = parsePolicy(text);
  const model = { config: { positions, classes, energy_head_enabled: true } };
  const history = new TickHistory(model, { ticks: logits.length, inputTicks: 0 });
  const scratch = new Float32Array(classes);
  return logits.map((row, tick) => {
    const values = Float32Array.from(row);
    const certainty = Float32Array.from({ length: positions }, (_, position) =>
      computeCertainty(values, position * classes, scratch),
    );
    history.append({ logits: values, certainty, energy: energy[tick] });
    try {
      const part = policy.findHaltingPart(history);
      return part ? [String(part), policy.explain(history)] : [];
    } catch (error) {
      return { error: error.message };
    }
  });
}

const { policies, numbers, histories } = JSON.parse(readFileSync(process.argv[2], "utf-8"));
process.stdout.write(
  JSON.stringify({
    policies: policies.map(describe),
    numbers: numbers.map(([value, digits]) => [formatGeneral(value, digits), formatRepr(value)]),
    histories: histories.map(replay),
  }),
);
