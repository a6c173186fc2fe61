/**
 * Inference engine: runs ticks until a halting policy stops or the budget is exhausted. Mirrors `inference.engine` for one row.
 *
 * A row that never halts is answered with its most certain tick and not with the last one.
 */

import { TickHistory } from "./history.js";

export const BUDGET = "budget";

/**
 * @typedef {object} TickEvent
 * @property {number} tick - Number of the tick, from 1.
 * @property {TickHistory} history - Outputs of all ticks so far.
 * @property {Record<string, Float32Array>} channels - State of the model; the next tick overwrites it. See `TickModel`.
 * @property {string | null} haltReason - The policy that stops at this tick, or "budget"; null if the thought goes on.
 * @property {number} budget - The tick at which the thought ends.
 * @property {number[]} attentionMapShape - Shape of the places that attention covers.
 * @property {boolean} isAfterHalt - Whether the thought had ended before this tick, see `stream`.
 *
 * @typedef {object} EngineResult
 * @property {number} ticks - Ticks run.
 * @property {number} answerTick - Tick whose answer is taken, from 1; differs from `ticks` if the budget was exhausted.
 * @property {string} haltedBy - The policy that halted the row, or "budget".
 * @property {Float32Array} logits - Logits at the answer tick, (P * C).
 * @property {Float32Array} certainty - Certainty of every position at the answer tick, (P).
 * @property {number | null} energy - Energy at the answer tick; null without an energy head.
 * @property {TickHistory} history - Outputs of all ticks that ran.
 */

/** Model and the halting policy that ends its unroll. */
export class Engine {
  /**
   * @param {import("./models.js").TickModel} model - The model.
   * @param {import("./policy-base.js").HaltingPolicy} policy - The halting policy.
   * @param {"best" | "last"} [fallback] - Which tick answers when the budget is exhausted: "best" is the most certain one.
   * @throws {Error} The policy needs an energy head and the model has none.
   */
  constructor(model, policy, fallback = "best") {
    if (policy.needsEnergy && !model.config.energy_head_enabled) {
      throw new Error(`The policy ${policy} needs an energy head, and this checkpoint has none.`);
    }
    Object.assign(this, { model, policy, fallback });
  }

  /**
   * Yield every tick until the row halts. The same event object is yielded again and again, with new values.
   *
   * @param {import("./input-encoder.js").EncodedInput} encoded - Result of `model.encode`.
   * @param {boolean} [continuesAfterHalt] - Whether the remaining ticks of the budget are computed after the row has halted. Call
   *   `conclude` at the halting tick, before the history grows.
   * @yields {TickEvent} One event per tick.
   */
  *stream(encoded, continuesAfterHalt = false) {
    const { model, policy } = this;
    const history = new TickHistory(model, encoded);
    model.start(encoded);
    const { attentionMapShape, ticks: budget } = encoded;
    const event = {
      tick: 0,
      history,
      channels: model.channels,
      haltReason: null,
      budget,
      attentionMapShape,
      isAfterHalt: false,
    };
    const tick = () => {
      model.tick();
      history.append(model.readout);
      event.tick = history.ticks;
    };
    while (event.haltReason === null) {
      tick();
      const part = policy.findHaltingPart(history);
      if (part && history.isReady) event.haltReason = String(part);
      else if (history.ticks >= budget) event.haltReason = BUDGET;
      yield event;
    }
    event.isAfterHalt = true;
    while (continuesAfterHalt && history.ticks < budget) {
      tick();
      yield event;
    }
  }

  /**
   * Run until the row halts.
   *
   * @param {import("./input-encoder.js").EncodedInput} encoded - Result of `model.encode`.
   * @param {(event: TickEvent) => void} [onTick] - Called with every tick.
   * @returns {EngineResult} The answer and the halting decision.
   */
  run(encoded, onTick) {
    let last = null;
    for (const event of this.stream(encoded)) {
      onTick?.(event);
      last = event;
    }
    return this.conclude(last);
  }

  /**
   * Return the answer of a row that ends.
   *
   * @param {TickEvent} event - The last tick.
   * @returns {EngineResult} The answer and the halting decision.
   */
  conclude({ history, haltReason }) {
    const usesBest = haltReason === BUDGET && this.fallback === "best" && !this.policy.answersAtEnd;
    const answerTick = usesBest ? history.bestTick : history.ticks;
    const select = (values, size) => values.slice((answerTick - 1) * size, answerTick * size);
    return {
      ticks: history.ticks,
      answerTick,
      haltedBy: haltReason,
      logits: select(history.logits, history.size),
      certainty: select(history.certainty, history.positions),
      energy: history.energy ? history.energy[answerTick - 1] : null,
      history,
    };
  }
}
