/** Panel: one neuron, its model, its pairs, and the model without it. */

import { Painter } from "../common/canvas.js";
import { createButton, createElement, setText } from "../common/dom.js";
import { formatCount, formatFixed } from "../common/format.js";
import { buildWindow, runNeuronModel, sortBySize } from "./arithmetic.js";
import { findNeuronPairs, selectColumn } from "./data.js";
import { DIAGRAM_HEIGHT, drawNeuronModel } from "./neuron-diagram.js";
import { createKey, drawTraces } from "./parts.js";

const HINT = "Select a neuron: click one in the picture, or type its number.";
const TRACE_HEIGHT = 100;
const MAX_LISTED_PAIRS = 12;

/** The panel. */
export class NeuronPanel {
  #actions;
  #number;
  #hint = createElement("p", { class: "inside-caption" }, HINT);
  #content = createElement("div", { class: "inside-stack" });
  #value = createElement("p", { class: "inside-values", role: "status" });
  #keys = createElement("p", { class: "inside-keys" });
  #traces = createElement("canvas", { class: "inside-canvas", role: "img" });
  #diagram = createElement("canvas", { class: "inside-canvas", role: "img" });
  #diagramCaption = createElement("p", { class: "inside-caption" });
  #table = createElement("div", { class: "inside-scroll" });
  #pairs = createElement("div", { class: "inside-links" });
  #silence;
  #silenced = createElement("div", { class: "inside-stack" });
  #silencedText = createElement("p", { role: "status" });
  #silencedKeys = createElement("p", { class: "inside-keys" });
  #silencedCanvas = createElement("canvas", { class: "inside-canvas", role: "img" });

  /**
   * @param {HTMLElement} body - Element of the panel.
   * @param {import("./component.js").InsideActions} actions - What the panel can change.
   */
  constructor(body, actions) {
    this.#actions = actions;
    this.#number = createElement("input", {
      type: "number",
      min: "0",
      step: "1",
      change: () => {
        if (this.#number.value !== "" && this.#number.checkValidity()) actions.selectNeuron(Number(this.#number.value));
      },
    });
    const field = createElement("label", { class: "inside-field" }, "Neuron ", this.#number);
    this.#silence = createButton("Silence it", () => actions.silence(), { class: "component-pill" });
    const tableDetails = createElement("details", {}, createElement("summary", {}, "Values as a table"), this.#table);
    this.#silenced.append(this.#silencedText, this.#silencedKeys, this.#silencedCanvas);
    this.#content.append(this.#value, this.#keys, this.#traces, this.#diagram, this.#diagramCaption, tableDetails);
    this.#content.append(this.#pairs, this.#silenced);
    body.append(createElement("div", { class: "inside-controls" }, field, this.#silence), this.#hint, this.#content);
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {import("./arithmetic.js").NeuronModel | null} model - Model of the neuron; null until it arrives.
   * @param {ArrayLike<number> | null} contributions - Contribution of every pair; null if they are not known.
   * @param {import("./component.js").SilencedUnroll | null} silenced - The unroll without the neuron.
   */
  draw(state, overview, theme, model, contributions, silenced) {
    const { neuron, tick } = state;
    this.#number.max = String(overview.neurons - 1);
    if (document.activeElement !== this.#number) this.#number.value = neuron === null ? "" : String(neuron);
    this.#hint.hidden = neuron !== null;
    this.#content.hidden = neuron === null;
    this.#silence.setAttribute("aria-disabled", String(neuron === null));
    if (neuron === null) return;
    const { neurons, activations, preActivations } = overview;
    const activation = activations[(tick - 1) * neurons + neuron];
    const input = preActivations[(tick - 1) * neurons + neuron];
    setText(this.#value, `Tick ${tick}: input ${formatFixed(input, 3)}, activation ${formatFixed(activation, 3)}`);
    this.#drawTraces(state, overview, theme);
    if (model) this.#drawModel(state, theme, model);
    this.#listPairs(state, overview, contributions);
    this.#drawSilenced(state, overview, theme, silenced);
  }

  #drawTraces({ neuron, tick }, overview, theme) {
    const { ticks, neurons, memory } = overview;
    const painter = new Painter(this.#traces, theme, 2 * TRACE_HEIGHT);
    if (!painter.width) return;
    const draw = (values, top, label, colour, band) =>
      drawTraces(painter, {
        ticks,
        tick,
        top,
        height: TRACE_HEIGHT,
        label,
        band,
        traces: [{ values: selectColumn(values, neurons, neuron), colour }],
      });
    draw(overview.preActivations, 0, "input", theme.text, [tick - memory + 1, tick]);
    draw(overview.activations, TRACE_HEIGHT, "activation", theme.accent, null);
    this.#keys.replaceChildren(
      createKey(theme.text, "input"),
      createKey(theme.accent, `activation; the band is the history that it reads at tick ${tick}`),
    );
    this.#traces.setAttribute(
      "aria-label",
      `Input and activation of neuron ${neuron} over ${formatCount(ticks, "tick")}`,
    );
  }

  #drawModel({ neuron, tick }, theme, model) {
    const window = buildWindow(model, tick);
    const outputs = runNeuronModel(model, window);
    const painter = new Painter(this.#diagram, theme, DIAGRAM_HEIGHT);
    if (painter.width) drawNeuronModel(painter, model, window, outputs);
    const hidden = outputs.length > 1 ? `${formatCount(outputs[0].outputs.length, "hidden unit")}, ` : "";
    this.#diagram.setAttribute(
      "aria-label",
      `Model of neuron ${neuron}: ${window.length} inputs, ${hidden}activation ${formatFixed(outputs.at(-1).outputs[0], 3)}`,
    );
    const temperatures = model.layers.map(({ temperature }) => formatFixed(temperature, 3)).join(" and ");
    this.#diagramCaption.textContent = `Filled height: gate. Lines: weights of the values. Learned temperature: ${temperatures}.`;
    this.#writeTable(window, outputs);
  }

  #writeTable(window, outputs) {
    const number = (value) => createElement("td", {}, formatFixed(value, 4));
    const rows = Array.from(window, (value, index) =>
      createElement(
        "tr",
        {},
        createElement("th", { scope: "row" }, `input at t−${window.length - 1 - index}`),
        number(value),
      ),
    );
    outputs.forEach(({ values, gates, outputs: products }, layer) => {
      products.forEach((product, unit) => {
        const name = layer === outputs.length - 1 ? "activation" : `hidden unit ${unit + 1}`;
        rows.push(
          createElement(
            "tr",
            {},
            createElement("th", { scope: "row" }, name),
            number(product),
            createElement("td", {}, `value ${formatFixed(values[unit], 4)}`),
            createElement("td", {}, `gate ${formatFixed(gates[unit], 4)}`),
          ),
        );
      });
    });
    this.#table.replaceChildren(createElement("table", {}, createElement("tbody", {}, ...rows)));
  }

  #listPairs({ neuron, tick }, { pairs }, contributions) {
    const own = findNeuronPairs(pairs.out, neuron);
    const { left, right, sync, count } = pairs.out;
    const values = own.map((pair) => contributions?.[pair] ?? sync[(tick - 1) * count + pair]);
    const buttons = Array.from(sortBySize(values).subarray(0, MAX_LISTED_PAIRS), (rank) => {
      const pair = own[rank];
      const other = left[pair] === neuron ? right[pair] : left[pair];
      const label = `${other === neuron ? "itself" : other} (${formatFixed(values[rank], 2)})`;
      return createButton(label, () => this.#actions.selectPair("out", pair, true), { class: "component-pill" });
    });
    const meaning = contributions ? "contribution" : "synchronisation";
    const text = own.length
      ? `In ${formatCount(own.length, "answering pair")} with (${meaning}):`
      : "In no answering pair: the answer is not read from this neuron directly.";
    this.#pairs.replaceChildren(createElement("span", {}, text), ...buttons);
  }

  #drawSilenced({ neuron, tick }, overview, theme, silenced) {
    this.#silenced.hidden = silenced === null;
    if (!silenced) return;
    if (silenced.problem || silenced.isRunning) {
      setText(this.#silencedText, silenced.problem || "Running the model without this neuron …");
      this.#silencedCanvas.hidden = this.#silencedKeys.hidden = true;
      return;
    }
    this.#silencedCanvas.hidden = this.#silencedKeys.hidden = false;
    setText(this.#silencedText, describeSilenced(neuron, overview, silenced));
    const isShown = overview.energy && silenced.energy;
    const painter = new Painter(this.#silencedCanvas, theme, (isShown ? 2 : 1) * TRACE_HEIGHT);
    if (!painter.width) return;
    const ticks = Math.max(overview.ticks, silenced.ticks);
    const draw = (top, label, values, others) =>
      drawTraces(painter, {
        ticks,
        tick,
        top,
        height: TRACE_HEIGHT,
        label,
        traces: [
          { values, colour: theme.text },
          { values: others, colour: theme.accent, dash: [5, 3] },
        ],
      });
    draw(0, "certainty", overview.certainty, silenced.certainty);
    if (isShown) draw(TRACE_HEIGHT, "energy", overview.energy, silenced.energy);
    this.#silencedKeys.replaceChildren(
      createKey(theme.text, "as it ran"),
      createKey(theme.accent, `with neuron ${neuron} silenced (dashed)`),
    );
    this.#silencedCanvas.setAttribute("aria-label", describeSilenced(neuron, overview, silenced));
  }
}

/**
 * Describe what silencing a neuron changes.
 *
 * @param {number} neuron - The neuron.
 * @param {import("./data.js").Overview} overview - The unroll as it ran.
 * @param {{ticks: number, answerTick: number, labelsByTick: string[]}} silenced - The unroll without the neuron.
 * @returns {string} The sentence.
 */
export function describeSilenced(neuron, overview, silenced) {
  const before = overview.labelsByTick[overview.answerTick - 1];
  const after = silenced.labelsByTick[silenced.answerTick - 1];
  const common = Math.min(overview.ticks, silenced.ticks);
  let changed = 0;
  for (let tick = 0; tick < common; tick++) changed += overview.labelsByTick[tick] !== silenced.labelsByTick[tick];
  const answer = before === after ? `the answer stays “${before}”` : `the answer is “${after}” instead of “${before}”`;
  const ticks =
    silenced.ticks === overview.ticks
      ? `after ${formatCount(silenced.ticks, "tick")} as before`
      : `after ${formatCount(silenced.ticks, "tick")} instead of ${overview.ticks}`;
  return `With neuron ${neuron} held at zero, ${answer}, ${ticks}; it differs at ${changed} of ${formatCount(common, "tick")}.`;
}
