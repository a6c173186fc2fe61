/** Panel: the activations of all neurons at all ticks. */

import { Painter } from "../common/canvas.js";
import { formatGradient } from "../common/colour.js";
import { createElement, hasModifier, setText } from "../common/dom.js";
import { formatFixed } from "../common/format.js";
import { clamp } from "../common/validate.js";
import { sortNeurons } from "./arithmetic.js";
import { createKey, createToggle } from "./parts.js";
import { getSignColour } from "./theme.js";

const MIN_HEIGHT = 180;
const MAX_HEIGHT = 460;
const FOOT_HEIGHT = 20;
const LEFT = 4;

/** The panel. */
export class RasterPanel {
  #actions;
  #sort;
  #keys = createElement("p", { class: "inside-keys" });
  #canvas = createElement("canvas", { class: "inside-canvas inside-raster", tabindex: "0", role: "img" });
  #note = createElement("p", { class: "inside-values", role: "status" });
  #image = null; // the heat map and what it was drawn from
  #order = [];
  #last = null;
  #hovered = null;

  /**
   * @param {HTMLElement} body - Element of the panel.
   * @param {import("./component.js").InsideActions} actions - What the panel can change.
   */
  constructor(body, actions) {
    this.#actions = actions;
    this.#sort = createToggle(
      "Sort by",
      [
        ["index", "By number"],
        ["phase", "By phase"],
        ["correlation", "By correlation"],
      ],
      (sort) => actions.setSort(sort),
    );
    body.append(
      createElement("div", { class: "inside-controls" }, this.#sort.element),
      this.#keys,
      this.#canvas,
      this.#note,
    );
    this.#canvas.addEventListener("pointermove", (event) => this.#hover(this.#findCell(event)));
    this.#canvas.addEventListener("pointerleave", () => this.#hover(null));
    this.#canvas.addEventListener("click", (event) => {
      const cell = this.#findCell(event);
      if (cell) actions.selectNeuron(this.#order[cell.row], false, cell.tick);
    });
    this.#canvas.addEventListener("keydown", (event) => this.#press(event));
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   */
  draw(state, overview, theme) {
    this.#last = { state, overview, theme };
    this.#sort.set(state.sort);
    const height = clamp(overview.neurons * 2, MIN_HEIGHT, MAX_HEIGHT);
    const painter = new Painter(this.#canvas, theme, height + FOOT_HEIGHT);
    if (!painter.width) return;
    this.#prepare(state, overview, theme);
    const width = painter.width - 2 * LEFT;
    painter.context.imageSmoothingEnabled = overview.neurons > height;
    painter.context.drawImage(this.#image.canvas, LEFT, 0, width, height);
    const step = width / overview.ticks;
    const rowHeight = height / overview.neurons;
    painter.strokeRect(LEFT + step * (state.tick - 1), 0.5, step, height - 1, theme.text, 1.5);
    const outline = (row, colour) =>
      painter.strokeRect(LEFT, rowHeight * row - 1, width, Math.max(rowHeight + 2, 4), colour, 1.5);
    if (state.neuron !== null) outline(this.#order.indexOf(state.neuron), theme.accent);
    if (this.#hovered) outline(this.#hovered.row, theme.muted);
    const middle = clamp(LEFT + step * (state.tick - 0.5), 24, painter.width - 24);
    painter.drawText(`tick ${state.tick}`, middle, height + 11, { align: "center", size: 11, colour: theme.muted });
    this.#canvas.setAttribute(
      "aria-label",
      `Activations of ${overview.neurons} neurons over ${overview.ticks} ticks. Up and down select a neuron, left and right a tick.`,
    );
    this.#writeNote();
  }

  /** Build the heat map, unless order and colours are as before. */
  #prepare({ sort, neuron }, overview, theme) {
    const compared = sort === "correlation" ? (neuron ?? 0) : null;
    const key = JSON.stringify([sort, compared, theme.isDark]);
    if (this.#image?.key === key && this.#image.overview === overview) return;
    this.#order = sortNeurons(overview, sort, compared ?? 0);
    const { neurons, ticks, activations, largest } = overview;
    const canvas = createElement("canvas", { width: String(ticks), height: String(neurons) });
    const context = canvas.getContext("2d");
    const image = context.createImageData(ticks, neurons);
    for (const [row, index] of this.#order.entries()) {
      for (let tick = 0; tick < ticks; tick++) {
        const colour = getSignColour(theme, activations[tick * neurons + index], largest);
        image.data.set([...colour, 255], 4 * (row * ticks + tick));
      }
    }
    context.putImageData(image, 0, 0);
    this.#image = { canvas, key, overview };
    const size = formatFixed(largest, 2);
    this.#keys.replaceChildren(
      createKey(formatGradient(theme.sign), `activation: −${size} or less, 0, ${size} or more`),
    );
  }

  #findCell(event) {
    if (!this.#last) return null;
    const { neurons, ticks } = this.#last.overview;
    const box = this.#canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left - LEFT) / (box.width - 2 * LEFT)) * ticks);
    const row = Math.floor(((event.clientY - box.top) / (box.height - FOOT_HEIGHT)) * neurons);
    return column >= 0 && column < ticks && row >= 0 && row < neurons ? { row, tick: column + 1 } : null;
  }

  #hover(cell) {
    if (cell?.row === this.#hovered?.row && cell?.tick === this.#hovered?.tick) return;
    this.#hovered = cell;
    if (this.#last) this.draw(this.#last.state, this.#last.overview, this.#last.theme);
  }

  #writeNote() {
    const { state, overview } = this.#last;
    const neuron = this.#hovered ? this.#order[this.#hovered.row] : state.neuron;
    const tick = this.#hovered?.tick ?? state.tick;
    if (neuron === null) setText(this.#note, "Point at a cell to read it.");
    else {
      const value = overview.activations[(tick - 1) * overview.neurons + neuron];
      setText(this.#note, `Neuron ${neuron} at tick ${tick}: ${formatFixed(value, 3)}`);
    }
  }

  #press(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!moves[event.key] || hasModifier(event) || !this.#last) return;
    const { state, overview } = this.#last;
    const [rows, ticks] = moves[event.key];
    const row = state.neuron === null ? 0 : clamp(this.#order.indexOf(state.neuron) + rows, 0, overview.neurons - 1);
    this.#actions.selectNeuron(this.#order[row], false, clamp(state.tick + ticks, 1, overview.ticks));
    event.preventDefault();
  }
}
