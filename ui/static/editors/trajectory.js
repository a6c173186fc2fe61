/** Editor: a dot that moves evenly and turns at the walls, shown in some frames. */

import { createButton, createElement, createSvgElement, hasModifier } from "../common/dom.js";
import { groupFramesByCell } from "../common/motion.js";
import { clamp, readInteger } from "../common/validate.js";
import { createBar, createNote, getArrowDirection, getRelativePosition, pickRandom } from "./editor.js";
import {
  clampCell,
  describeMotion,
  fitMotion,
  formatTrajectory,
  getDistance,
  listCells,
  listSpeeds,
  parseTrajectory,
  spreadFrames,
} from "./motion.js";

const MAX_AHEAD = 99;
const MIN_STROKE = 0.7; // cells; less is a click
const FRAMES_LABEL = "Frames shown";

class TrajectoryEditor {
  #onChange;
  #spec;
  #maxAhead;
  #cells = []; // [row, column] a frame, null where it is not known; empty without a path
  #motion = null; // where the cells follow one
  #isSeen;
  #ahead;
  #stroke = null; // [row, column] of the pointer while it draws
  #pressedFrames = null; // frames of the dot that a pointer went down on
  #field;
  #path = createSvgElement("polyline", { class: "editor-trajectory" });
  #trail = createSvgElement("polyline", { class: "editor-stroke" });
  #dots = createSvgElement("g");
  #toggles;
  #slider;
  #output = createElement("output");
  #note = createNote();

  constructor(root, spec, onChange) {
    this.#onChange = onChange;
    this.#spec = {
      side: readInteger(spec.side, 2, 64),
      frames: readInteger(spec.frames, 2, 16),
      maxSpeed: readInteger(spec.steps, 1, 8),
    };
    this.#maxAhead = readInteger(spec.ahead, 0, MAX_AHEAD);
    this.#ahead = Math.ceil(this.#maxAhead / 2);
    this.#isSeen = this.#seeAll();
    this.#field = this.#createField();
    this.#toggles = this.#isSeen.map((_, frame) => {
      return createButton(String(frame + 1), () => this.#toggle([frame]), { class: "editor-toggle" });
    });
    this.#slider = createElement("input", {
      type: "range",
      min: 0,
      max: this.#maxAhead,
      step: 1,
      input: () => this.#setAhead(Number(this.#slider.value)),
    });
    this.#fillRoot(root);
    this.#listen();
    this.#draw();
  }

  show(value) {
    const { cells, ahead } = parseTrajectory(this.#spec, value);
    if (ahead !== null) this.#ahead = ahead;
    const known = cells.filter(Boolean).length;
    const fit = known > 1 ? fitMotion(this.#spec, cells) : null;
    this.#isSeen = cells.map(Boolean);
    this.#motion = fit && fit.error === 0 ? fit : null;
    // With a motion, the cells of frames that are not shown are known all the same.
    if (this.#motion) this.#cells = listCells(this.#spec, this.#motion);
    else this.#cells = known ? cells : [];
    this.#draw();
  }

  #seeAll() {
    return new Array(this.#spec.frames).fill(true);
  }

  // --- building ---

  #createField() {
    const { side } = this.#spec;
    const lines = Array.from({ length: side - 1 }, (_, at) => `M${at + 1} 0V${side}M0 ${at + 1}H${side}`).join("");
    const attributes = {
      class: "editor-field",
      viewBox: `0 0 ${side} ${side}`,
      tabindex: 0,
      role: "application",
      "aria-label": "Field: draw a line. Arrow keys move the path; with Shift they change its speed",
    };
    const grid = createSvgElement("path", { class: "editor-lines", d: lines });
    return createSvgElement("svg", attributes, grid, this.#path, this.#trail, this.#dots);
  }

  #fillRoot(root) {
    const group = { class: "editor-toggles", role: "group", "aria-label": FRAMES_LABEL };
    const label = createElement("span", {}, FRAMES_LABEL);
    root.append(
      this.#field,
      createBar(label, createElement("div", group, ...this.#toggles)),
      createElement("label", { class: "editor-bar" }, "Predict how many frames ahead", this.#slider, this.#output),
      createBar(
        createButton("Random", () => this.#randomize()),
        createButton("Clear", () => this.#clear()),
        this.#note,
      ),
    );
  }

  #listen() {
    const field = this.#field;
    field.addEventListener("pointerdown", (event) => this.#press(event));
    field.addEventListener("pointermove", (event) => this.#extendStroke(event));
    field.addEventListener("pointerup", () => this.#finishStroke());
    field.addEventListener("pointercancel", () => {
      this.#stroke = null;
      this.#draw();
    });
    field.addEventListener("keydown", (event) => this.#pressKey(event));
  }

  // --- changing ---

  #setMotion(start, speed) {
    this.#motion = { start: clampCell(this.#spec, start), speed };
    this.#cells = listCells(this.#spec, this.#motion);
    this.#write();
  }

  #randomize() {
    const speeds = listSpeeds(this.#spec);
    let speed = [0, 0];
    while (!speed.some(Boolean)) speed = speed.map(() => speeds[pickRandom(speeds.length)]);
    this.#isSeen = this.#seeAll();
    this.#ahead = pickRandom(this.#maxAhead + 1);
    const { side } = this.#spec;
    this.#setMotion([pickRandom(side), pickRandom(side)], speed);
  }

  #clear() {
    this.#cells = [];
    this.#motion = null;
    this.#isSeen = this.#seeAll();
    this.#draw();
    this.#onChange("");
  }

  #toggle(frames) {
    const isSeen = !frames.some((frame) => this.#isSeen[frame]);
    for (const frame of frames) this.#isSeen[frame] = isSeen && Boolean(this.#cells[frame]);
    this.#write();
  }

  #setAhead(frames) {
    this.#ahead = frames;
    this.#write();
  }

  #write() {
    this.#draw();
    if (this.#cells.length) this.#onChange(formatTrajectory(this.#cells, this.#isSeen, this.#ahead));
  }

  // --- pointers and keys ---

  #findPlace(event) {
    const { side } = this.#spec;
    return getRelativePosition(this.#field, event).map((share) => clamp(share * side - 0.5, 0, side - 1));
  }

  #press(event) {
    if (event.button !== 0) return;
    this.#field.setPointerCapture(event.pointerId);
    const dot = event.target.closest("[data-frames]");
    this.#pressedFrames = dot ? dot.dataset.frames.split(",").map(Number) : null;
    this.#stroke = [this.#findPlace(event)];
  }

  #extendStroke(event) {
    if (!this.#stroke) return;
    this.#stroke.push(this.#findPlace(event));
    this.#draw();
  }

  #finishStroke() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (!stroke) return;
    if (stroke.some((place) => getDistance(place, stroke[0]) > MIN_STROKE)) {
      const { start, speed } = fitMotion(this.#spec, spreadFrames(stroke, this.#spec.frames));
      this.#setMotion(start, speed);
    } else if (this.#pressedFrames) this.#toggle(this.#pressedFrames);
    else if (this.#motion) this.#setMotion(stroke[0].map(Math.round), this.#motion.speed);
    else this.#draw();
  }

  #pressKey(event) {
    const direction = getArrowDirection(event);
    if (!direction || hasModifier(event)) return;
    event.preventDefault();
    if (!this.#motion) {
      const middle = Math.floor(this.#spec.side / 2);
      this.#setMotion([middle, middle], [0, 1]);
    } else if (event.shiftKey) this.#changeSpeed(direction);
    else this.#setMotion(add(this.#motion.start, direction), this.#motion.speed);
  }

  /** Change the speed; a dot that would stand still moves the way that was pressed instead. */
  #changeSpeed(direction) {
    const { maxSpeed } = this.#spec;
    const speed = add(this.#motion.speed, direction).map((one) => clamp(one, -maxSpeed, maxSpeed));
    this.#setMotion(this.#motion.start, speed.some(Boolean) ? speed : direction);
  }

  // --- drawing ---

  #draw() {
    this.#path.setAttribute("points", formatPoints(this.#cells));
    this.#trail.setAttribute("points", formatPoints(this.#stroke ?? []));
    this.#dots.replaceChildren(...groupFramesByCell(this.#cells).map((group) => this.#createDot(group)));
    for (const [frame, toggle] of this.#toggles.entries()) {
      const isKnown = Boolean(this.#cells[frame]);
      toggle.disabled = !isKnown;
      toggle.setAttribute("aria-pressed", isKnown && this.#isSeen[frame]);
    }
    this.#slider.value = this.#ahead;
    this.#output.textContent = String(this.#ahead);
    this.#note.textContent = this.#describe();
  }

  #createDot({ cell: [row, column], frames }) {
    const isHidden = frames.every((frame) => !this.#isSeen[frame]);
    const [x, y] = [column + 0.5, row + 0.5];
    const text = frames.map((frame) => frame + 1).join("\u00b7");
    return createSvgElement(
      "g",
      { class: isHidden ? "editor-dot editor-dot-hidden" : "editor-dot", "data-frames": frames.join(",") },
      createSvgElement("circle", { cx: x, cy: y, r: Math.min(0.48, this.#spec.side / 36) }),
      createSvgElement("text", { x, y, class: frames.length > 1 ? "editor-small" : "" }, text),
    );
  }

  #describe() {
    if (!this.#cells.length) return "Draw a line; it is fitted to constant motion.";
    if (!this.#motion) return "No constant motion fits these cells.";
    return describeMotion(this.#motion, this.#cells);
  }
}

function add(first, second) {
  return first.map((value, axis) => value + second[axis]);
}

function formatPoints(places) {
  return places
    .filter(Boolean)
    .map(([row, column]) => `${column + 0.5},${row + 0.5}`)
    .join(" ");
}

/** @type {import("./editor.js").CreateEditor} */
export const createTrajectoryEditor = (root, spec, onChange) => new TrajectoryEditor(root, spec, onChange);
