/**
 * Halting policies: when a thought stops. Mirrors `inference.halting.policies`.
 *
 * `String(policy)` and `parsePolicy` are inverse to each other.
 */

import {
  checkCount,
  formatAgainstThreshold,
  formatCount,
  formatForDisplay,
  formatNumber,
  HaltingPolicy,
  readEnergy,
} from "./policy-base.js";
import { formatThousands, truncateRepr } from "./python-format.js";

const { fround } = Math;

/** Stop after a fixed number of ticks. */
export class FixedTicks extends HaltingPolicy {
  constructor(ticks) {
    super();
    this.ticks = checkCount("ticks=N", ticks);
  }

  get minTicks() {
    return this.ticks;
  }

  get isAdaptive() {
    return false;
  }

  get condition() {
    return `${formatCount(this.ticks, "tick")} ${this.ticks === 1 ? "has" : "have"} run`;
  }

  shouldHalt(history) {
    return history.ticks >= this.ticks;
  }

  describe() {
    return `Stops after ${formatCount(this.ticks, "tick")}.`;
  }

  explain() {
    return `set to ${formatCount(this.ticks, "tick")}`;
  }

  toString() {
    return `ticks=${this.ticks}`;
  }
}

/** Stop when the energy changed by less than a tolerance at each of the last ticks. */
export class EnergyConverged extends HaltingPolicy {
  constructor(tolerance, patience = 1) {
    super();
    this.tolerance = tolerance;
    this.patience = checkCount(`converged<${formatNumber(tolerance)}xN`, patience);
  }

  get needsEnergy() {
    return true;
  }

  get minTicks() {
    return this.patience + 1;
  }

  get condition() {
    return `the energy changes by less than ${formatForDisplay(this.tolerance)}${this.#duration}`;
  }

  get #duration() {
    return this.patience === 1 ? "" : ` at ${formatThousands(this.patience)} ticks in a row`;
  }

  shouldHalt(history) {
    if (history.ticks <= this.patience) return false;
    const tolerance = fround(this.tolerance);
    for (let back = 0; back < this.patience; back++) if (!(readChange(history, back) < tolerance)) return false;
    return true;
  }

  explain(history) {
    let change = 0;
    for (let back = 0; back < this.patience; back++) change = Math.max(change, readChange(history, back));
    const text = formatAgainstThreshold(change, this.tolerance);
    return `energy changed by at most ${text}, less than ${formatForDisplay(this.tolerance)}${this.#duration}`;
  }

  toString() {
    return `converged<${formatNumber(this.tolerance)}x${this.patience}`;
  }
}

/** Return the absolute change of the energy a number of ticks before the last one. */
function readChange(history, back) {
  return Math.abs(fround(readEnergy(history, back) - readEnergy(history, back + 1)));
}

/** Stop when the whole answer was the same at a number of ticks in a row. */
export class SameAnswer extends HaltingPolicy {
  constructor(ticks) {
    super();
    this.ticks = checkCount("same=N", ticks);
  }

  get minTicks() {
    return this.ticks;
  }

  get condition() {
    return this.ticks > 1
      ? `the answer is the same at ${formatThousands(this.ticks)} ticks in a row`
      : "one tick has run";
  }

  shouldHalt({ choices, positions, ticks }) {
    if (ticks < this.ticks) return false;
    const last = ticks * positions;
    for (let index = (ticks - this.ticks + 1) * positions; index < last; index++) {
      if (choices[index] !== choices[index - positions]) return false;
    }
    return true;
  }

  explain() {
    return this.ticks > 1 ? `the same answer at ${formatThousands(this.ticks)} ticks in a row` : "the first answer";
  }

  toString() {
    return `same=${this.ticks}`;
  }
}

/** Stop when a number of labels was emitted (CTC). The blank is the class after the labels; repeats count once. */
export class LabelsEmitted extends HaltingPolicy {
  constructor(labels) {
    super();
    this.labels = checkCount("said=N", labels);
  }

  get answersAtEnd() {
    return true;
  }

  get minTicks() {
    return this.labels;
  }

  get condition() {
    return `all ${formatCount(this.labels, "item")} of the answer are output`;
  }

  shouldHalt({ choices, positions, ticks }) {
    let count = 0;
    let before = this.labels;
    for (let tick = 0; tick < ticks; tick++) {
      const label = choices[tick * positions];
      if (label < this.labels && label !== before) count++;
      before = label;
    }
    return count >= this.labels;
  }

  explain() {
    return this.condition;
  }

  toString() {
    return `said=${this.labels}`;
  }
}

/** Combination of several policies. */
export class CompositePolicy extends HaltingPolicy {
  constructor(policies) {
    super();
    this.policies = policies;
  }

  get needsEnergy() {
    return this.policies.some((policy) => policy.needsEnergy);
  }

  get answersAtEnd() {
    return this.policies.some((policy) => policy.answersAtEnd);
  }

  get isAdaptive() {
    return this.policies.some((policy) => policy.isAdaptive);
  }

  describeUnreachable(maxTicks) {
    return [...new Set(this.policies.flatMap((policy) => policy.describeUnreachable(maxTicks)))];
  }

  /** Join the texts of the parts; those for which a test holds are put in brackets. */
  join(separator, write, isBracketed) {
    return this.policies.map((policy) => (isBracketed(policy) ? `(${write(policy)})` : write(policy))).join(separator);
  }
}

/** Stop when any of the policies would. */
export class AnyOf extends CompositePolicy {
  get minTicks() {
    return Math.min(...this.policies.map((policy) => policy.minTicks));
  }

  get condition() {
    return this.join(", or ", (policy) => policy.condition, isAnyOf);
  }

  shouldHalt(history) {
    return this.findHaltingPart(history) !== null;
  }

  /** Return the first part that stops: each can halt by itself. All parts are evaluated, so that each reports its errors. */
  findHaltingPart(history) {
    let found = null;
    for (const policy of this.policies) {
      const part = policy.findHaltingPart(history);
      found ??= part;
    }
    return found;
  }

  explain(history) {
    return this.policies.find((policy) => policy.shouldHalt(history)).explain(history);
  }

  getChartLines() {
    return this.policies.flatMap((policy) => policy.getChartLines());
  }

  toString() {
    return this.join("|", String, isAnyOf);
  }
}

/** Stop when all of the policies would, at the same tick. Crossing one of their lines does not stop, so it has none. */
export class AllOf extends CompositePolicy {
  get minTicks() {
    return Math.max(...this.policies.map((policy) => policy.minTicks));
  }

  get condition() {
    return this.join(
      " and ",
      (policy) => policy.condition,
      (policy) => policy instanceof CompositePolicy,
    );
  }

  /** Return whether all parts stop. All are evaluated, so that each reports its errors. */
  shouldHalt(history) {
    let halts = true;
    for (const policy of this.policies) halts = policy.shouldHalt(history) && halts;
    return halts;
  }

  explain(history) {
    return this.policies.map((policy) => policy.explain(history)).join(", and ");
  }

  toString() {
    return this.join("&", String, (policy) => policy instanceof CompositePolicy);
  }
}

function isAnyOf(policy) {
  return policy instanceof AnyOf;
}

/**
 * Check that a policy for emitted labels is only used with a CTC task. Mirrors `check_policy_fits_task`.
 *
 * @param {HaltingPolicy} policy - The policy.
 * @param {number | null} ctcLength - Number of labels that the task emits; null if it gives its whole answer at every tick.
 * @throws {Error} The policy waits for emissions and the task has none.
 */
export function checkPolicyFitsTask(policy, ctcLength) {
  if (!policy.answersAtEnd || ctcLength) return;
  throw new Error(
    `${truncateRepr(String(policy))} waits for labels that are emitted one after the other, but this model gives its whole ` +
      "answer at every tick: use another policy, such as certainty>0.9.",
  );
}
