/** Editor: a row of 0 and 1, eight a line. */

import { createButton, createElement, hasModifier } from "../common/dom.js";
import { pluralize } from "../common/format.js";
import { clamp, readInteger } from "../common/validate.js";
import { invertBit, parseBits, setBit } from "./bit-row.js";
import { createBar, createNote, getArrowDirection, pickRandom } from "./editor.js";

const MAX_LENGTH = 64;
const COLUMNS = 8;

class BitsEditor {
  #onChange;
  #maxLength;
  #isFixed; // whether the row always has its full length
  #bits = "";
  #pressed = null; // index of the cell that a pointer went down on, until it comes up
  #painted = null; // the bit that a drag paints; the click at the end of a drag is ignored
  #cells;
  #grid;
  #note = createNote();
  #shorter;
  #longer;

  constructor(root, spec, onChange) {
    this.#onChange = onChange;
    this.#maxLength = readInteger(spec.length, 1, MAX_LENGTH);
    this.#isFixed = spec.fixed === true;
    this.#cells = Array.from({ length: this.#maxLength }, (_, index) => this.#createCell(index));
    const attributes = { class: "editor-bits", role: "group", "aria-label": "Bits, in the order of reading" };
    this.#grid = createElement("div", attributes, ...this.#cells);
    this.#shorter = createButton("\u2212", () => this.#change(this.#bits.slice(0, -1)), {
      "aria-label": "One bit fewer",
      title: "One bit fewer",
    });
    this.#longer = createButton("+", () => this.#change(`${this.#bits}0`), {
      "aria-label": "One bit more",
      title: "One bit more",
    });
    const random = createButton("Random", () => this.#randomize());
    const clear = createButton("Clear", () => this.#change(""));
    const length = this.#isFixed ? [] : [this.#shorter, this.#longer];
    root.append(this.#grid, createBar(random, clear, ...length, this.#note));
    this.#listen();
    this.#draw();
  }

  show(value) {
    const { bits, stray, excess } = parseBits(value, this.#maxLength);
    this.#bits = bits;
    this.#draw(stray, excess);
  }

  #createCell(index) {
    const onClick = (event) => {
      if (this.#painted && event.detail) return;
      this.#set(index, invertBit(this.#bits, index));
    };
    const attributes = { class: "editor-bit", tabindex: index ? -1 : 0, focus: () => this.#setTabStop(index) };
    return createButton("", onClick, attributes);
  }

  #listen() {
    this.#grid.addEventListener("keydown", (event) => this.#press(event));
    this.#grid.addEventListener("pointerdown", (event) => {
      this.#pressed = event.button === 0 ? this.#cells.indexOf(event.target) : null;
      this.#painted = null;
    });
    this.#grid.addEventListener("pointermove", (event) => this.#paint(event));
    for (const name of ["pointercancel", "pointerleave"]) {
      this.#grid.addEventListener(name, () => {
        this.#pressed = null;
      });
    }
  }

  #press(event) {
    const index = this.#cells.indexOf(event.target);
    if (index < 0 || hasModifier(event)) return;
    const direction = getArrowDirection(event);
    if (event.key === "0" || event.key === "1") this.#set(index, event.key);
    else if (!direction) return;
    event.preventDefault();
    const distance = direction ? direction[0] * COLUMNS + direction[1] : 1;
    this.#cells[clamp(index + distance, 0, this.#maxLength - 1)].focus();
  }

  #paint(event) {
    if (this.#pressed === null || this.#pressed < 0 || !event.buttons) return;
    const index = this.#cells.indexOf(document.elementFromPoint(event.clientX, event.clientY));
    if (index < 0 || (index === this.#pressed && !this.#painted)) return;
    if (!this.#painted) {
      this.#painted = invertBit(this.#bits, this.#pressed);
      this.#set(this.#pressed, this.#painted);
    }
    if (this.#bits[index] !== this.#painted) this.#set(index, this.#painted);
  }

  #set(index, bit) {
    this.#change(setBit(this.#bits, index, bit));
  }

  #randomize() {
    const length = this.#isFixed ? this.#maxLength : this.#bits.length || this.#maxLength;
    this.#change(Array.from({ length }, () => pickRandom(2)).join(""));
  }

  #change(bits) {
    this.#bits = this.#isFixed ? bits.padEnd(this.#maxLength, "0") : bits;
    this.#draw();
    this.#onChange(this.#bits);
  }

  #draw(stray = "", excess = 0) {
    for (const [index, cell] of this.#cells.entries()) {
      const bit = this.#bits[index];
      cell.textContent = bit ?? "";
      cell.setAttribute("aria-pressed", bit === "1");
      cell.setAttribute("aria-label", `Bit ${index + 1}: ${bit ?? "empty"}`);
    }
    this.#shorter.disabled = !this.#bits;
    this.#longer.disabled = this.#bits.length >= this.#maxLength;
    this.#note.textContent = this.#describe(stray, excess);
  }

  #describe(stray, excess) {
    const limit = `${this.#maxLength} ${pluralize(this.#maxLength, "bit")}`;
    if (stray) return `Bits are 0 or 1, not ${stray}`;
    if (excess) return `${excess} too many: at most ${limit}`;
    return this.#bits
      ? `${this.#bits.length} of ${limit}`
      : `Click, drag or type ${this.#isFixed ? "" : "up to "}${limit}`;
  }

  /** Let Tab reach a single cell; arrows go on from there. */
  #setTabStop(index) {
    for (const [other, cell] of this.#cells.entries()) cell.tabIndex = other === index ? 0 : -1;
  }
}

/** @type {import("./editor.js").CreateEditor} */
export const createBitsEditor = (root, spec, onChange) => new BitsEditor(root, spec, onChange);
