/** Outputs of one row at every tick, as halting policies, recorders and the page read them. Mirrors `inference.tick_history`. */

import { computeMean, writeLogProbabilities } from "./readout.js";

const MAX_VALUES = 50_000_000;
const { fround } = Math;

/** Logits, certainty, choices and energy up to the current tick. All memory is allocated at the start. */
export class TickHistory {
  /**
   * @param {import("./models.js").TickModel} model - The model.
   * @param {import("./input-encoder.js").EncodedInput} encoded - The encoded input.
   * @throws {Error} The outputs of all ticks would not fit the memory of a page.
   */
  constructor(model, { ticks, inputTicks }) {
    const { positions, classes } = model.config;
    const size = positions * classes;
    if (ticks * size > MAX_VALUES) {
      throw new Error(
        `The answers of ${ticks} ticks hold ${ticks * size} numbers; a page takes at most ${MAX_VALUES}.`,
      );
    }
    Object.assign(this, { positions, classes, size, inputTicks, budget: ticks });
    /** Number of ticks so far. */
    this.ticks = 0;
    /** Logits, (T, P * C). */
    this.logits = new Float32Array(ticks * size);
    /** Certainty of every position, (T, P). */
    this.certainty = new Float32Array(ticks * positions);
    /** Mean certainty over the positions, (T). */
    this.meanCertainty = new Float32Array(ticks);
    /** Class of the largest logit of every position, (T, P). */
    this.choices = new Int32Array(ticks * positions);
    /** Energy, (T); null without an energy head. */
    this.energy = model.config.energy_head_enabled ? new Float32Array(ticks) : null;
    /** Tick so far, from 1, that answers if no policy halts: the one of the highest mean certainty; 0 before the first. */
    this.bestTick = 0;
    this.bestScore = Number.NEGATIVE_INFINITY;
    this.logP = new Float32Array(classes);
    this.logQ = new Float32Array(classes);
  }

  /** Whether the answer of the current tick counts. */
  get isReady() {
    return this.inputTicks < this.ticks;
  }

  /**
   * Add the outputs of a tick.
   *
   * @param {import("./readout.js").Readout} readout - Readout after the tick.
   */
  append({ logits, certainty, energy }) {
    const tick = this.ticks++;
    this.logits.set(logits, tick * this.size);
    this.certainty.set(certainty, tick * this.positions);
    this.meanCertainty[tick] = computeMean(certainty, 0, this.positions);
    if (this.energy) this.energy[tick] = energy;
    for (let position = 0; position < this.positions; position++) {
      const start = position * this.classes;
      let best = 0;
      for (let index = 1; index < this.classes; index++) if (logits[start + index] > logits[start + best]) best = index;
      this.choices[tick * this.positions + position] = best;
    }
    const score = this.isReady ? this.meanCertainty[tick] : Number.NEGATIVE_INFINITY;
    // The newest tick as long as no answer counts.
    if (score > this.bestScore || this.bestScore === Number.NEGATIVE_INFINITY) {
      this.bestScore = score;
      this.bestTick = this.ticks;
    }
  }

  /**
   * Return the smallest certainty of the positions at the last tick.
   *
   * @returns {number} The certainty.
   */
  getLeastCertainty() {
    const start = (this.ticks - 1) * this.positions;
    let least = 1;
    for (let position = 0; position < this.positions; position++)
      least = Math.min(least, this.certainty[start + position]);
    return least;
  }

  /**
   * Compute a signal of the answer at the last tick. Mirrors `ctm.modules.readout.compute_answer_signals`.
   *
   * @param {"margin" | "probability" | "change"} name - margin: lead of the likeliest class over the next one; probability: that of
   *   the likeliest class, both the minimum over positions; change: KL divergence from the previous tick, mean over positions.
   * @returns {number} The signal, rounded to float32.
   */
  computeSignal(name) {
    if (name === "change") return this.#computeChange();
    let least = Number.POSITIVE_INFINITY;
    for (let position = 0; position < this.positions; position++) {
      writeLogProbabilities(this.logits, (this.ticks - 1) * this.size + position * this.classes, this.logP);
      let first = Number.NEGATIVE_INFINITY;
      let second = Number.NEGATIVE_INFINITY;
      for (let index = 0; index < this.classes; index++) {
        const value = this.logP[index];
        if (value > first) {
          second = first;
          first = value;
        } else if (value > second) second = value;
      }
      const p = fround(Math.exp(first));
      least = Math.min(least, name === "probability" ? p : fround(p - fround(Math.exp(second))));
    }
    return least;
  }

  /** Compute the KL divergence from the previous tick in nats, mean over positions; infinite at the first tick. */
  #computeChange() {
    if (this.ticks < 2) return Number.POSITIVE_INFINITY;
    let total = 0;
    for (let position = 0; position < this.positions; position++) {
      const start = (this.ticks - 1) * this.size + position * this.classes;
      writeLogProbabilities(this.logits, start, this.logP);
      writeLogProbabilities(this.logits, start - this.size, this.logQ);
      let sum = 0;
      for (let index = 0; index < this.classes; index++) {
        const ratio = fround(this.logP[index] - this.logQ[index]);
        sum = fround(sum + fround(fround(Math.exp(this.logP[index])) * ratio));
      }
      total = fround(total + sum);
    }
    return Math.max(0, fround(total / this.positions));
  }
}
