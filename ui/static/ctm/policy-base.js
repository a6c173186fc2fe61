/** Base class of halting policies, and the numbers in their descriptions. Mirrors `inference.halting.base`. */

import { formatGeneral, formatRepr, formatThousands } from "./python-format.js";

const MAX_FLOAT_DIGITS = 17; // significant digits that represent any float exactly

/** @typedef {import("./history.js").TickHistory} TickHistory */
/** @typedef {{signal: "energy" | "certainty", level: number}} ChartLine */

/** Base class of halting policies. */
export class HaltingPolicy {
  /** Whether the policy reads the energy. */
  get needsEnergy() {
    return false;
  }

  /** Whether the answer is emitted over the ticks, so that only the last tick has all of it. */
  get answersAtEnd() {
    return false;
  }

  /** Smallest number of ticks after which the policy can stop. */
  get minTicks() {
    return 1;
  }

  /** Whether the number of ticks depends on the outputs of the model. */
  get isAdaptive() {
    return true;
  }

  /**
   * Return the first part of this policy that stops at the last tick. Mirrors `compute_halt_masks`.
   *
   * @param {TickHistory} history - Outputs so far.
   * @returns {HaltingPolicy | null} The part, or null.
   */
  findHaltingPart(history) {
    return this.shouldHalt(history) ? this : null;
  }

  /** Return one sentence for a user: what the policy stops on. */
  describe() {
    return `Stops when ${this.condition}.`;
  }

  /**
   * Return the threshold lines of the policy in a chart of energy and certainty.
   *
   * @returns {ChartLine[]} The lines.
   */
  getChartLines() {
    return [];
  }

  /**
   * Return a sentence for each part that needs more ticks than a model has.
   *
   * @param {number} maxTicks - Number of ticks at which the model ends.
   * @returns {string[]} The sentences.
   */
  describeUnreachable(maxTicks) {
    if (this.minTicks <= maxTicks) return [];
    const limit = formatThousands(maxTicks);
    const needed = formatCount(this.minTicks, "tick");
    return [`The rule ${this} needs ${needed}, but this model has ${limit}: no more than ${limit} can run.`];
  }
}

/** Return the energy a number of ticks before the last one. */
export function readEnergy({ energy, ticks }, back) {
  if (!energy)
    throw new Error("This checkpoint has no energy head: choose a certainty, same-answer or fixed-ticks policy.");
  return energy[ticks - 1 - back];
}

/** Check that a count is at least 1, and return it. */
export function checkCount(syntax, count) {
  if (count < 1) throw new Error(`In ${syntax}, N must be at least 1: got ${count}.`);
  return count;
}

/** Format a number with as few characters as read back as the same number. */
export function formatNumber(value) {
  const text = formatGeneral(value);
  return Number(text) === value ? text : formatRepr(value);
}

/** Format a number for a user: with a minus sign, and as a percentage if the unit is "%". */
export function formatForDisplay(value, unit = "", digits = 0) {
  let text = digits ? formatGeneral(value, digits) : formatNumber(value);
  if (unit === "%") text = formatGeneral(100 * value, digits || 12); // 12 digits hide the rounding error of the product
  return text.replaceAll("-", "\u2212") + unit;
}

/** Format a value with three significant digits, or with more where rounding would move it across its threshold. */
export function formatAgainstThreshold(value, threshold, unit = "") {
  for (let digits = 3; digits < MAX_FLOAT_DIGITS; digits++) {
    const rounded = Number(formatGeneral(value, digits));
    if (rounded !== threshold && rounded > threshold === value > threshold)
      return formatForDisplay(rounded, unit, digits);
  }
  return formatForDisplay(value, unit, MAX_FLOAT_DIGITS);
}

/** Return a count and its noun, in the plural where it belongs. */
export function formatCount(count, noun) {
  return `${formatThousands(count)} ${noun}${count === 1 ? "" : "s"}`;
}
