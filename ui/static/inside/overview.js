/** Panel: all neurons at every tick, and the pairs that matter most. */

import { createButton, createElement, hasModifier, setText } from "../common/dom.js";
import { formatFixed } from "../common/format.js";
import { chooseLines, placeNeurons } from "./lines.js";
import { createToggle } from "./parts.js";
import { buildView, DEFAULT_CAMERA, findLineAt, findNeuronAt, projectPoint, turnCamera } from "./projection.js";
import { CanvasRenderer } from "./renderer-2d.js";
import { GlRenderer } from "./renderer-gl.js";

const NEAR_NEURON_PX = 14;
const NEAR_LINE_PX = 6;
const RADIANS_PER_PX = 0.008;
const KEY_RADIANS = 0.12;
const ZOOM_STEP = 1.25;
const MAX_TABLE_ROWS = 1024;

/** The panel. */
export class OverviewPanel {
  #actions;
  #stage = createElement("div", { class: "inside-stage" });
  #overlay;
  #renderer = null;
  #camera = DEFAULT_CAMERA;
  #places = null;
  #lines = [];
  #hovered = -1;
  #drag = null;
  #last = null; // what was drawn last: state and view
  #note = createElement("p", { class: "inside-caption", role: "status" });
  #source = createElement("p", { class: "inside-caption" });
  #table = createElement("div", { class: "inside-scroll" });
  #tableDetails;

  /**
   * @param {HTMLElement} body - Element of the panel.
   * @param {import("./component.js").InsideActions} actions - What the panel can change.
   */
  constructor(body, actions) {
    this.#actions = actions;
    this.#overlay = createElement("canvas", {
      class: "inside-overlay",
      tabindex: "0",
      role: "img",
      "aria-label": "Neurons by tick",
    });
    this.kind = createToggle(
      "Pairs drawn",
      [
        ["out", "Answering pairs"],
        ["action", "Looking pairs"],
        ["none", "No pairs"],
      ],
      (kind) => actions.setLines(kind),
    );
    const buttons = createElement(
      "span",
      { class: "inside-buttons", role: "group", "aria-label": "Camera" },
      createButton("−", () => this.#zoom(1 / ZOOM_STEP), { "aria-label": "Smaller", class: "component-pill" }),
      createButton("+", () => this.#zoom(ZOOM_STEP), { "aria-label": "Larger", class: "component-pill" }),
      createButton("Front", () => this.#setCamera({ yaw: 0, pitch: 0, zoom: 1 }), { class: "component-pill" }),
      createButton("Side", () => this.#setCamera(DEFAULT_CAMERA), { class: "component-pill" }),
    );
    const controls = createElement("div", { class: "inside-controls" }, this.kind.element, buttons);
    this.#tableDetails = createElement(
      "details",
      { toggle: () => this.#drawTable() },
      createElement("summary", {}, "All neurons at this tick as a table"),
      this.#table,
    );
    body.append(controls, this.#stage, this.#note, this.#source, this.#tableDetails);
    this.#createRenderer();
    this.#listen();
  }

  /** Create the renderer: WebGL, or a 2-D canvas where there is none. */
  #createRenderer(canUseGl = true) {
    const canvas = createElement("canvas", { class: "inside-scene", "aria-hidden": "true" });
    this.#renderer?.destroy();
    try {
      this.#renderer = canUseGl ? new GlRenderer(canvas) : new CanvasRenderer(canvas);
    } catch {
      this.#createRenderer(false); // another canvas: one that had a WebGL context gets no other
      return;
    }
    this.#stage.dataset.renderer = canUseGl ? "webgl" : "canvas";
    this.#stage.replaceChildren(canvas, this.#overlay);
    canvas.addEventListener("webglcontextlost", () => {
      if (this.#renderer.canvas !== canvas || !canvas.isConnected) return;
      this.#createRenderer(false);
      if (this.#last) this.setOverview(this.#last.overview);
      this.#redraw();
    });
  }

  #listen() {
    const overlay = this.#overlay;
    overlay.addEventListener("pointerdown", (event) => {
      this.#drag = { x: event.clientX, y: event.clientY, hasMoved: false };
      overlay.setPointerCapture(event.pointerId);
    });
    overlay.addEventListener("pointermove", (event) => this.#move(event));
    overlay.addEventListener("pointerup", (event) => this.#release(event));
    overlay.addEventListener("pointercancel", () => {
      this.#drag = null;
    });
    overlay.addEventListener("pointerleave", () => this.#hover(-1));
    overlay.addEventListener("keydown", (event) => this.#press(event));
  }

  #move(event) {
    const drag = this.#drag;
    if (!drag) {
      this.#hover(this.#findNeuron(event));
      return;
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.hasMoved && Math.hypot(dx, dy) < 5) return;
    this.#drag = { x: event.clientX, y: event.clientY, hasMoved: true };
    this.#setCamera(turnCamera(this.#camera, -dx * RADIANS_PER_PX, -dy * RADIANS_PER_PX));
  }

  #release(event) {
    const wasClick = this.#drag && !this.#drag.hasMoved;
    this.#drag = null;
    if (!wasClick || !this.#last) return;
    const neuron = this.#findNeuron(event);
    if (neuron >= 0) {
      this.#actions.selectNeuron(neuron);
      return;
    }
    const pair = findLineAt(this.#last.view, this.#places, this.#lines, this.#toPoint(event), NEAR_LINE_PX);
    if (pair >= 0) this.#actions.selectPair(this.#last.state.lines, pair);
  }

  #press(event) {
    const turns = {
      ArrowLeft: [KEY_RADIANS, 0],
      ArrowRight: [-KEY_RADIANS, 0],
      ArrowUp: [0, KEY_RADIANS],
      ArrowDown: [0, -KEY_RADIANS],
    };
    if (hasModifier(event)) return;
    if (turns[event.key]) this.#setCamera(turnCamera(this.#camera, ...turns[event.key]));
    else if (event.key === "+" || event.key === "-") this.#zoom(event.key === "+" ? ZOOM_STEP : 1 / ZOOM_STEP);
    else if (event.key === "Escape") this.#actions.selectNeuron(null);
    else return;
    event.preventDefault();
  }

  #zoom(factor) {
    this.#setCamera({ ...this.#camera, zoom: Math.max(0.5, Math.min(5, this.#camera.zoom * factor)) });
  }

  #setCamera(camera) {
    this.#camera = camera;
    this.#redraw();
  }

  #toPoint(event) {
    const { left, top } = this.#overlay.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  #findNeuron(event) {
    return this.#last ? findNeuronAt(this.#last.view, this.#places, this.#toPoint(event), NEAR_NEURON_PX) : -1;
  }

  #hover(neuron) {
    if (neuron === this.#hovered) return;
    this.#hovered = neuron;
    this.#overlay.style.cursor = neuron >= 0 ? "pointer" : "grab";
    if (this.#last) this.#drawOverlay();
  }

  /**
   * Take another unroll.
   *
   * @param {import("./data.js").Overview} overview - The overview.
   */
  setOverview(overview) {
    this.#places = placeNeurons(overview);
    this.#renderer.setOverview(overview, this.#places);
    this.#hovered = -1;
    this.kind.setAvailable("action", overview.pairs.action !== null);
    this.#source.textContent = overview.layout.isStored
      ? "Neurons that rise and fall together lie close to each other."
      : "Neurons that rise and fall together lie close to each other. This model has no stored layout, so the places were computed from this answer alone.";
  }

  /** Draw what was drawn last, with the present camera. */
  #redraw() {
    if (this.#last) this.draw(this.#last.state, this.#last.overview, this.#last.theme, this.#last.values);
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {ArrayLike<number> | null} values - Value of each pair that is drawn; null for no lines.
   */
  draw(state, overview, theme, values) {
    const size = { width: this.#stage.clientWidth, height: this.#stage.clientHeight };
    if (!size.width || !this.#places) return;
    const view = buildView(this.#camera, size, state.tick - 1, overview.ticks);
    this.#last = { state, overview, theme, values, view };
    this.kind.set(state.lines);
    const pairs = state.lines === "none" ? null : overview.pairs[state.lines];
    this.#lines = pairs && values ? chooseLines(pairs, values, state.neuron) : [];
    const ends = new Float32Array(4 * this.#lines.length);
    this.#lines.forEach(({ left, right }, index) => {
      ends.set(this.#places.subarray(2 * left, 2 * left + 2), 4 * index);
      ends.set(this.#places.subarray(2 * right, 2 * right + 2), 4 * index + 2);
    });
    const shares = Float32Array.from(this.#lines, ({ share }) => share);
    this.#renderer.draw(view, theme, { ends, shares }, this.#orderPlanes(view, overview.ticks));
    this.#drawOverlay();
    this.#drawTable();
  }

  /** Return the planes from the farthest to the nearest, without the one that is shown. */
  #orderPlanes(view, ticks) {
    const others = Array.from({ length: ticks }, (_, tick) => tick).filter((tick) => tick !== view.tick);
    const isLaterFarther = projectPoint(view, 0, 0, view.tick + 1).depth > 0;
    return isLaterFarther ? others.reverse() : others;
  }

  #drawOverlay() {
    const { view, theme, state, overview } = this.#last;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(view.width * scale), Math.round(view.height * scale)];
    if (this.#overlay.width !== width || this.#overlay.height !== height)
      Object.assign(this.#overlay, { width, height });
    const context = this.#overlay.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    const mark = (neuron, radius, colour) => {
      const { x, y } = projectPoint(view, this.#places[2 * neuron], this.#places[2 * neuron + 1], view.tick);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = 2.5;
      context.stroke();
    };
    if (state.pair && state.pair.kind === state.lines) {
      const { left, right } = overview.pairs[state.pair.kind];
      for (const neuron of [left[state.pair.index], right[state.pair.index]]) mark(neuron, 9, theme.accent);
    }
    if (state.neuron !== null) mark(state.neuron, 12, theme.text);
    if (this.#hovered >= 0) mark(this.#hovered, 10, theme.muted);
    const neuron = this.#hovered >= 0 ? this.#hovered : state.neuron;
    const value = neuron === null ? 0 : overview.activations[view.tick * overview.neurons + neuron];
    const text =
      neuron === null
        ? `Tick ${state.tick} of ${overview.ticks}. Click a neuron or a line; drag to turn.`
        : `Tick ${state.tick}: neuron ${neuron} has activation ${formatFixed(value, 3)}.`;
    setText(this.#note, text);
    this.#overlay.setAttribute(
      "aria-label",
      `${overview.neurons} neurons at tick ${state.tick} of ${overview.ticks}, and ${this.#lines.length} pairs. Arrow keys turn the view; the table below has all values.`,
    );
  }

  /** Fill the table, if it is open. */
  #drawTable() {
    if (!this.#tableDetails.open || !this.#last) return;
    const { overview, state } = this.#last;
    const count = Math.min(overview.neurons, MAX_TABLE_ROWS);
    const start = (state.tick - 1) * overview.neurons;
    const rows = Array.from({ length: count }, (_, neuron) =>
      createElement(
        "tr",
        {},
        createElement(
          "td",
          {},
          createButton(String(neuron), () => this.#actions.selectNeuron(neuron), {
            class: "inside-link",
            "aria-label": `Select neuron ${neuron}`,
          }),
        ),
        createElement("td", {}, formatFixed(overview.activations[start + neuron], 3)),
        createElement("td", {}, formatFixed(overview.preActivations[start + neuron], 3)),
      ),
    );
    const head = createElement(
      "tr",
      {},
      ...["neuron", "activation", "input"].map((name) => createElement("th", { scope: "col" }, name)),
    );
    this.#table.replaceChildren(
      createElement("table", {}, createElement("thead", {}, head), createElement("tbody", {}, ...rows)),
    );
  }

  /** Free what the panel holds. */
  destroy() {
    this.#renderer.destroy();
  }
}
