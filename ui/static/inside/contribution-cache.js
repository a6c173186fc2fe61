/** Contributions that were requested, and approximate ones for ticks that only pass by while the unroll is played. */

import { isNumber } from "../common/validate.js";
import { decodeArray, rankClasses } from "./data.js";

/**
 * @typedef {object} ShownContributions
 * @property {ArrayLike<number>} values - Contribution of every answering pair.
 * @property {number} bias - What is added to their sum.
 * @property {number} output - The output that is explained.
 * @property {boolean} isExact - Whether bias and values add up to the output.
 * @property {boolean} isApproximate - Whether they come from rounded values.
 */

/**
 * Return the request for the contributions that are shown.
 *
 * @param {import("./component.js").InsideState} state - What is selected.
 * @param {import("./data.js").Overview} overview - The overview.
 * @returns {import("./sources.js").ContributionQuery} The request.
 */
export function buildRequest({ query, tick }, overview) {
  if (query.of === "energy") return { of: "energy", tick };
  const [best, second] = rankClasses(overview, tick, query.position);
  const start = query.position * overview.classes;
  const against = query.against === "runner-up" ? second : query.against;
  return {
    of: "answer",
    target: start + (query.target ?? best),
    against: isNumber(against) ? start + against : null,
    tick,
  };
}

/** Contributions of one unroll. */
export class ContributionCache {
  #exact = new Map(); // by request; null while it runs
  #weights = new Map(); // weights and bias by logits

  /** Forget everything, for another unroll. */
  clear() {
    this.#exact.clear();
    this.#weights.clear();
  }

  /**
   * Note that a request is sent.
   *
   * @param {import("./sources.js").ContributionQuery} request - The request.
   * @returns {boolean} Whether it has to be sent; it does not if it was sent before.
   */
  reserve(request) {
    const key = JSON.stringify(request);
    if (this.#exact.has(key)) return false;
    this.#exact.set(key, null);
    return true;
  }

  /**
   * Forget a request that failed.
   *
   * @param {import("./sources.js").ContributionQuery} request - The request.
   */
  release(request) {
    this.#exact.delete(JSON.stringify(request));
  }

  /**
   * Take the answer to a request.
   *
   * @param {import("./sources.js").ContributionQuery} request - The request.
   * @param {Record<string, any>} answer - Its answer.
   */
  take(request, answer) {
    const { bias, output, is_exact: isExact } = answer;
    this.#exact.set(JSON.stringify(request), { values: decodeArray(answer.values), bias, output, isExact });
    const weights = decodeArray(answer.weights);
    if (weights) this.#weights.set(getWeightKey(request), { weights, bias });
  }

  /**
   * Return contributions.
   *
   * @param {import("./sources.js").ContributionQuery} request - Which ones.
   * @param {import("./data.js").Overview} overview - The overview.
   * @returns {ShownContributions | null} Those of the answer, else those from rounded synchronisation; null if neither is known.
   */
  get(request, overview) {
    const exact = this.#exact.get(JSON.stringify(request));
    if (exact) return { ...exact, isApproximate: false };
    const known = this.#weights.get(getWeightKey(request));
    if (!known) return null;
    const { sync, count } = overview.pairs.out;
    const start = (request.tick - 1) * count;
    const values = Float32Array.from(known.weights, (weight, pair) => weight * sync[start + pair]);
    const output = values.reduce((sum, value) => sum + value, known.bias);
    return { values, bias: known.bias, output, isExact: true, isApproximate: true };
  }
}

function getWeightKey({ target, against }) {
  return JSON.stringify([target, against]);
}
