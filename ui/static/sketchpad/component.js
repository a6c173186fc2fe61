/** A square to draw in. Its value is the drawing as a PNG data address, or null while nothing is drawn. */

import { findParts } from "../common/dom.js";

const LINE_WIDTH = 20; // of 280 pixels: about as thick as the strokes of MNIST
const PAPER = "#fff"; // also on a dark page: the model reads dark on light and light on dark
const INK = "#111";

/**
 * Return where a pointer is on a canvas.
 *
 * @param {{clientX: number, clientY: number}} event - A pointer event.
 * @param {{left: number, top: number, width: number, height: number}} box - Where the canvas is on screen.
 * @param {{width: number, height: number}} canvas - Its resolution.
 * @returns {number[]} [x, y] in pixels of the canvas.
 */
export function findCanvasPoint({ clientX, clientY }, box, canvas) {
  return [((clientX - box.left) * canvas.width) / box.width, ((clientY - box.top) * canvas.height) / box.height];
}

/** One mounted component. */
export class SketchpadComponent {
  #props;
  #canvas;
  #context;
  #isEmpty = true;
  #last = null; // where the stroke is that is being drawn

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    const { canvas, clear } = findParts(element, "sketchpad");
    this.#props = props;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    clear.addEventListener("click", () => {
      this.#clear();
      this.#write();
    });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.#write());
    this.#clear();
    canvas.toggleAttribute("data-ready", true);
  }

  #clear() {
    const { width, height } = this.#canvas;
    this.#context.fillStyle = PAPER;
    this.#context.fillRect(0, 0, width, height);
    this.#context.lineCap = this.#context.lineJoin = "round";
    this.#context.lineWidth = LINE_WIDTH;
    this.#context.strokeStyle = INK;
    this.#isEmpty = true;
  }

  #press(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#last = null;
    this.#strokeTo(event);
  }

  #move(event) {
    if (!this.#canvas.hasPointerCapture(event.pointerId)) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const step of coalesced.length ? coalesced : [event]) this.#strokeTo(step);
  }

  #strokeTo(event) {
    const point = findCanvasPoint(event, this.#canvas.getBoundingClientRect(), this.#canvas);
    this.#context.beginPath();
    this.#context.moveTo(...(this.#last ?? point));
    this.#context.lineTo(...point);
    this.#context.stroke();
    this.#last = point;
    this.#isEmpty = false;
  }

  #write() {
    this.#props.value = this.#isEmpty ? null : this.#canvas.toDataURL("image/png");
  }
}
