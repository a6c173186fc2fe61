/**
 * Halting policies that stop when a score of the tick passes a threshold. Mirrors `inference.halting.threshold_policies`.
 *
 * Scores and thresholds are compared in float32, as PyTorch does.
 */

import { formatAgainstThreshold, formatForDisplay, formatNumber, HaltingPolicy, readEnergy } from "./policy-base.js";
import { truncateRepr } from "./python-format.js";

const { fround } = Math;

/** @typedef {import("./history.js").TickHistory} TickHistory */

/** Policy that stops as soon as a score of the tick exceeds a level. */
export class ThresholdPolicy extends HaltingPolicy {
  /**
   * @param {string} syntax - Text before the threshold; it ends in < or >.
   * @param {string} quantity - Quantity that is compared, as a noun.
   * @param {number} threshold - The threshold.
   * @param {(history: TickHistory) => number} read - Returns the quantity at the last tick, rounded to float32.
   */
  constructor(syntax, quantity, threshold, read) {
    super();
    Object.assign(this, { syntax, quantity, threshold, read });
    this.sign = syntax.endsWith("<") ? -1 : 1;
    this.side = this.sign < 0 ? "below" : "above";
    this.unit = /^(margin|probability)/.test(syntax) ? "%" : syntax === "change<" ? " nats" : "";
  }

  get needsEnergy() {
    return this.syntax === "energy<";
  }

  /** The first tick has no tick before it, from which its answer could have changed. */
  get minTicks() {
    return this.syntax === "change<" ? 2 : 1;
  }

  /** Certainty is at most 1, so that a higher threshold is never passed. */
  get isAdaptive() {
    return !this.syntax.startsWith("certainty") || this.threshold < 1;
  }

  get condition() {
    return `the ${this.quantity} is ${this.side} ${formatForDisplay(this.threshold, this.unit)}`;
  }

  shouldHalt(history) {
    return this.sign * this.read(history) > this.sign * fround(this.threshold);
  }

  describe() {
    if (!this.isAdaptive) return "Uses every tick; the answer is taken from the most certain one.";
    return super.describe();
  }

  explain(history) {
    return this.compare(this.read(history), this.threshold);
  }

  compare(value, threshold) {
    const text = formatAgainstThreshold(value, threshold, this.unit);
    return `${this.quantity} ${text}, ${this.side} ${formatForDisplay(threshold, this.unit)}`;
  }

  getChartLines() {
    if (this.syntax === "energy<") return [{ signal: "energy", level: this.threshold }];
    return this.syntax === "certainty>" && this.isAdaptive ? [{ signal: "certainty", level: this.threshold }] : [];
  }

  toString() {
    return this.syntax + formatNumber(this.threshold);
  }
}

/** Makers of the threshold policies, by the text before their threshold. */
export const THRESHOLD_POLICIES = {
  "certainty>": (threshold) => makeCertaintyPolicy(threshold),
  "certainty.mean>": (threshold) => makeCertaintyPolicy(threshold),
  "certainty.min>": (threshold) =>
    new ThresholdPolicy("certainty.min>", "certainty of the least certain position", threshold, (history) =>
      history.getLeastCertainty(),
    ),
  "margin>": (threshold) =>
    new ThresholdPolicy("margin>", "lead of the top answer over the next", threshold, (history) =>
      history.computeSignal("margin"),
    ),
  "probability>": (threshold) =>
    new ThresholdPolicy("probability>", "probability of the top answer", threshold, (history) =>
      history.computeSignal("probability"),
    ),
  "change<": (threshold) =>
    new ThresholdPolicy("change<", "change of the answer since the previous tick", threshold, (history) =>
      history.computeSignal("change"),
    ),
  "energy<": (threshold) => new ThresholdPolicy("energy<", "energy", threshold, (history) => readEnergy(history, 0)),
};

function makeCertaintyPolicy(threshold) {
  return new ThresholdPolicy(
    "certainty>",
    "certainty",
    threshold,
    ({ meanCertainty, ticks }) => meanCertainty[ticks - 1],
  );
}

/** Stop above a level that depends on the answered class. The answer must have one position. */
export class PerClassThreshold extends HaltingPolicy {
  /**
   * @param {ThresholdPolicy} base - Policy whose quantity is compared; its own threshold is not used.
   * @param {number[]} thresholds - One threshold per class.
   */
  constructor(base, thresholds) {
    super();
    Object.assign(this, { base, thresholds });
  }

  get needsEnergy() {
    return this.base.needsEnergy;
  }

  get minTicks() {
    return this.base.minTicks;
  }

  get condition() {
    return `the ${this.base.quantity} is ${this.base.side} the threshold of the current answer`;
  }

  shouldHalt(history) {
    const { sign } = this.base;
    return fround(sign * this.base.read(history) - sign * fround(this.#getThreshold(history))) > 0;
  }

  explain(history) {
    return `${this.base.compare(this.base.read(history), this.#getThreshold(history))}, the threshold of this answer`;
  }

  toString() {
    return `${this.base.syntax}[${this.thresholds.map(formatNumber).join(",")}]`;
  }

  #getThreshold({ choices, positions, ticks }) {
    const choice = choices[(ticks - 1) * positions];
    if (positions > 1 || choice >= this.thresholds.length) {
      throw new Error(
        `${truncateRepr(String(this))} has a threshold for each of ${this.thresholds.length} classes of a single answer; ` +
          "this model answers otherwise.",
      );
    }
    return this.thresholds[choice];
  }
}
