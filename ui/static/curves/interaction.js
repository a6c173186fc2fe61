/** Pointers and keys on a chart: selecting and pinching zoom, the crosshair follows. */

import { hasModifier } from "../common/dom.js";
import { clamp } from "../common/validate.js";

const MIN_DRAG = 6; // pixels; less is a click
const MIN_PINCH = 12; // pixels between two fingers

/**
 * What a chart reacts with.
 *
 * @typedef {object} ChartActions
 * @property {(panel: import("./panels.js").CurvesPanel, step: number) => void} aimNear - Moves the crosshair near a position.
 * @property {(panel: import("./panels.js").CurvesPanel) => void} removeCrosshair - Removes the crosshair.
 * @property {(panel: import("./panels.js").CurvesPanel, points: number) => void} moveCrosshair - Moves the crosshair by points.
 * @property {(from: number, to: number) => void} zoomTo - Zooms to steps.
 * @property {(factor: number, step?: number) => void} zoomBy - Zooms around a step.
 * @property {() => void} resetZoom - Shows all steps.
 * @property {(selection: {from: number, to: number} | null) => void} select - Shows the steps that are being selected.
 */

const KEYS = {
  ArrowLeft: (actions, panel, event) => actions.moveCrosshair(panel, event.shiftKey ? -10 : -1),
  ArrowRight: (actions, panel, event) => actions.moveCrosshair(panel, event.shiftKey ? 10 : 1),
  Home: (actions, panel) => actions.moveCrosshair(panel, Number.NEGATIVE_INFINITY),
  End: (actions, panel) => actions.moveCrosshair(panel, Number.POSITIVE_INFINITY),
  Escape: (actions, panel) => actions.removeCrosshair(panel),
  "+": (actions) => actions.zoomBy(0.5),
  "=": (actions) => actions.zoomBy(0.5),
  "-": (actions) => actions.zoomBy(2),
  0: (actions) => actions.resetZoom(),
};

/**
 * Return how two fingers zoom: the step under the resting one stays, and the step under the moving one follows it.
 *
 * @param {number} resting - Pixels of the finger that rests.
 * @param {number} before - Pixels of the moving finger before.
 * @param {number} after - Pixels of the moving finger now.
 * @returns {number | null} Factor of the steps in sight; null where the fingers are too close or have crossed.
 */
export function computePinchFactor(resting, before, after) {
  const distance = after - resting;
  const distanceBefore = before - resting;
  if (distance * distanceBefore <= 0 || Math.abs(distance) < MIN_PINCH) return null;
  return distanceBefore / distance;
}

/** Pointers and keys of all charts of a component. */
export class Interaction {
  #actions;
  #fingers = new Map(); // pointer id -> pixels from the left, while it is down
  #drag = null; // {from, to, x}: the steps being selected, and where the pointer went down

  /** @param {ChartActions} actions - What charts react with. */
  constructor(actions) {
    this.#actions = actions;
  }

  /**
   * Listen on a panel.
   *
   * @param {import("./panels.js").CurvesPanel} panel - The panel.
   */
  listen(panel) {
    const { overlay } = panel;
    overlay.addEventListener("pointerdown", (event) => this.#press(panel, event));
    overlay.addEventListener("pointermove", (event) => this.#move(panel, event));
    for (const name of ["pointerup", "pointercancel"]) overlay.addEventListener(name, (event) => this.#release(event));
    overlay.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !this.#drag) this.#actions.removeCrosshair(panel);
    });
    overlay.addEventListener("blur", () => this.#actions.removeCrosshair(panel));
    overlay.addEventListener("dblclick", () => this.#actions.resetZoom());
    overlay.addEventListener("keydown", (event) => {
      if (!Object.hasOwn(KEYS, event.key) || hasModifier(event)) return;
      event.preventDefault();
      KEYS[event.key](this.#actions, panel, event);
    });
  }

  #getPosition({ overlay, layout }, x) {
    const { left, right } = layout.box;
    return layout.toPosition(clamp(x - overlay.getBoundingClientRect().left, left, right));
  }

  #press(panel, event) {
    if (event.button !== 0) return;
    if (event.isPrimary) this.#fingers.clear(); // a release may have been missed
    this.#fingers.set(event.pointerId, event.clientX);
    const position = this.#getPosition(panel, event.clientX);
    if (event.pointerType !== "mouse") {
      this.#actions.aimNear(panel, position);
      return;
    }
    if (panel.chart.axis !== "step") return;
    this.#setDrag({ from: position, to: position, x: event.clientX });
    panel.overlay.setPointerCapture(event.pointerId);
  }

  #move(panel, event) {
    if (this.#fingers.size === 2 && this.#fingers.has(event.pointerId)) {
      this.#pinch(panel, event);
      return;
    }
    if (event.buttons === 0) this.#setDrag(null); // a release may have been missed
    const position = this.#getPosition(panel, event.clientX);
    if (this.#drag) this.#setDrag({ ...this.#drag, to: position });
    const isPointing = event.pointerType === "mouse" || this.#fingers.has(event.pointerId);
    if (this.#drag || isPointing) this.#actions.aimNear(panel, position);
  }

  #pinch(panel, event) {
    const before = this.#fingers.get(event.pointerId);
    const [resting] = [...this.#fingers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    this.#fingers.set(event.pointerId, event.clientX);
    const factor = computePinchFactor(resting, before, event.clientX);
    if (factor === null || panel.chart.axis !== "step") return;
    this.#actions.zoomBy(factor, this.#getPosition(panel, resting));
  }

  #release(event) {
    this.#fingers.delete(event.pointerId);
    if (!this.#drag) return;
    const { from, to, x } = this.#drag;
    this.#setDrag(null);
    const isDrag = event.type === "pointerup" && Math.abs(event.clientX - x) >= MIN_DRAG;
    if (isDrag) this.#actions.zoomTo(Math.min(from, to), Math.max(from, to));
  }

  #setDrag(drag) {
    if (!drag && !this.#drag) return;
    this.#drag = drag;
    this.#actions.select(drag);
  }
}
