/** Dragging a threshold line in the chart: it gives the halting policy another threshold. */

import { clamp } from "../common/validate.js";
import { replaceThreshold } from "./describe.js";
import { findThresholdNear, layOutChart } from "./panels/chart.js";

const MIN_INTERVAL_MS = 60; // between two policies while the pointer moves

/** The pointer over the chart, as far as it drags a threshold. */
export class ThresholdDrag {
  #canvas;
  #getThought;
  #onMove;
  #onPolicy;
  #grip = null; // what is dragged: the layout and the line as they were at the beginning, and the policy
  #sentAt = 0;

  /**
   * @param {HTMLCanvasElement} canvas - Canvas of the chart.
   * @param {object} options - What it calls.
   * @param {() => import("./parse-record.js").Thought | null} options.getThought - Returns what is shown.
   * @param {(index: number, level: number) => void} options.onMove - Called with the index of the threshold and its new level.
   * @param {(policy: string) => void} options.onPolicy - Called with the text of the new policy, not too often.
   */
  constructor(canvas, { getThought, onMove, onPolicy }) {
    this.#canvas = canvas;
    this.#getThought = getThought;
    this.#onMove = onMove;
    this.#onPolicy = onPolicy;
  }

  /** Whether a threshold is being dragged. */
  get isActive() {
    return this.#grip !== null;
  }

  /**
   * Handle a pointer event of the chart.
   *
   * @param {PointerEvent} event - The event.
   * @returns {boolean} Whether it belongs to a threshold.
   */
  handle(event) {
    if (event.type === "pointerdown") return this.#take(event);
    if (!this.#grip) {
      if (event.type === "pointermove") this.#canvas.style.cursor = this.#find(event) ? "ns-resize" : "";
      return false;
    }
    if (event.type === "pointermove" || event.type === "pointerup") this.#move(event, event.type === "pointerup");
    if (event.type !== "pointermove") this.#grip = null;
    return true;
  }

  #find(event) {
    const thought = this.#getThought();
    if (!thought?.policy) return null;
    const { top, width } = this.#canvas.getBoundingClientRect();
    const layout = layOutChart(thought, width);
    const line = findThresholdNear(layout, event.clientY - top);
    return line && { layout, line, policy: thought.policy };
  }

  #take(event) {
    this.#grip = this.#find(event);
    if (this.#grip) this.#canvas.setPointerCapture(event.pointerId);
    return this.#grip !== null;
  }

  #move(event, isLast) {
    const { layout, line, policy } = this.#grip;
    const y = clamp(event.clientY - this.#canvas.getBoundingClientRect().top, layout.top, layout.bottom);
    const level = layout.toLevel[line.quantity](y);
    this.#onMove(line.index, level);
    const now = performance.now();
    if (!isLast && now - this.#sentAt < MIN_INTERVAL_MS) return;
    this.#sentAt = now;
    const changed = replaceThreshold(policy, line.quantity, line.level, level);
    if (changed) this.#onPolicy(changed);
  }
}
