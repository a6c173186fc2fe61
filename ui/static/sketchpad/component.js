/** A square to draw in. Its value is the drawing as a PNG data address, or null while nothing is drawn. */

import { findParts, hasModifier, setText } from "../common/dom.js";
import { getArrowDirection } from "../editors/editor.js";
import { GRID_SIDE, getCellCentre, hasInk, moveCell } from "./grid.js";

const PICTURE_PREFIX = "data:image/png;base64,";

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

/**
 * Return where a picture goes on a canvas: as large as fits, in the middle.
 *
 * @param {{width: number, height: number}} picture - Its size.
 * @param {{width: number, height: number}} canvas - Size of the canvas.
 * @returns {number[]} [left, top, width, height] in pixels of the canvas.
 */
export function fitPicture(picture, canvas) {
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return [(canvas.width - width) / 2, (canvas.height - height) / 2, width, height];
}

/** One mounted component. */
export class SketchpadComponent {
  #props;
  #trigger;
  #canvas;
  #context;
  #isEmpty = true;
  #written = null; // the value that came from this square
  #last = null; // where the stroke is that is being drawn
  #cursor;
  #position;
  #cell = [GRID_SIDE / 2, GRID_SIDE / 2]; // [row, column] of the keyboard's cursor

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    const { canvas, clear, cursor, position } = findParts(element, "sketchpad");
    this.#props = props;
    this.#trigger = trigger;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#cursor = cursor;
    this.#position = position;
    clear.addEventListener("click", () => {
      this.#clear();
      this.#write();
    });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.#write());
    canvas.addEventListener("keydown", (event) => this.#pressKey(event));
    canvas.addEventListener("focus", () => this.#showCursor(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => this.#showCursor(false));
    this.#clear();
    canvas.toggleAttribute("data-ready", true);
  }

  /** Show a picture that came from elsewhere, such as an example. The visitor can draw on it. */
  receive() {
    const { value } = this.#props;
    if (value === this.#written) return;
    this.#written = value;
    this.#clear();
    if (typeof value !== "string" || !value.startsWith(PICTURE_PREFIX)) return;
    const picture = new Image();
    picture.addEventListener("load", () => {
      if (this.#written !== value) return; // drawn on, cleared or replaced meanwhile
      this.#context.imageSmoothingEnabled = false;
      this.#context.drawImage(picture, ...fitPicture(picture, this.#canvas));
      this.#isEmpty = false;
    });
    picture.src = value;
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
    this.#showCursor(false);
    this.#strokeTo(event);
  }

  #move(event) {
    if (!this.#canvas.hasPointerCapture(event.pointerId)) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const step of coalesced.length ? coalesced : [event]) this.#strokeTo(step);
  }

  #strokeTo(event) {
    const point = findCanvasPoint(event, this.#canvas.getBoundingClientRect(), this.#canvas);
    this.#drawLine(this.#last ?? point, point);
    this.#last = point;
  }

  #drawLine(from, to) {
    this.#context.beginPath();
    this.#context.moveTo(...from);
    this.#context.lineTo(...to);
    this.#context.stroke();
    this.#isEmpty = false;
  }

  /** Draw what a line of no length would be, which browsers leave out. */
  #drawDot([x, y]) {
    this.#context.beginPath();
    this.#context.arc(x, y, LINE_WIDTH / 2, 0, 2 * Math.PI);
    this.#context.fillStyle = INK;
    this.#context.fill();
    this.#context.fillStyle = PAPER;
    this.#isEmpty = false;
  }

  // --- keyboard ---

  #pressKey(event) {
    const direction = getArrowDirection(event);
    if (!(direction || event.key === " ") || hasModifier(event)) return;
    event.preventDefault();
    const from = this.#cell;
    if (direction) this.#cell = moveCell(from, direction);
    if (!direction) this.#toggleCell();
    else if (event.shiftKey) this.#drawLine(getCellCentre(from, this.#canvas), getCellCentre(this.#cell, this.#canvas));
    this.#showCursor(true);
    const [row, column] = this.#cell;
    setText(this.#position, `Row ${row + 1}, column ${column + 1}: ${this.#hasInkAtCursor() ? "ink" : "empty"}`);
    if (!direction || event.shiftKey) this.#write();
  }

  /** Draw a dot in the cell of the cursor, or erase what is there. */
  #toggleCell() {
    const centre = getCellCentre(this.#cell, this.#canvas);
    if (!this.#hasInkAtCursor()) {
      this.#drawDot(centre);
      return;
    }
    const { width, height } = this.#canvas;
    const size = width / GRID_SIDE;
    this.#context.fillRect(centre[0] - size / 2, centre[1] - size / 2, size, size);
    this.#isEmpty = !hasInk(this.#context.getImageData(0, 0, width, height).data);
  }

  #hasInkAtCursor() {
    return hasInk(this.#context.getImageData(...getCellCentre(this.#cell, this.#canvas), 1, 1).data);
  }

  #showCursor(isVisible) {
    const [row, column] = this.#cell;
    this.#cursor.hidden = !isVisible;
    this.#cursor.style.left = `${(100 * column) / GRID_SIDE}%`;
    this.#cursor.style.top = `${(100 * row) / GRID_SIDE}%`;
  }

  #write() {
    this.#written = this.#isEmpty ? null : this.#canvas.toDataURL("image/png");
    this.#props.value = this.#written;
    this.#trigger("input");
  }
}
