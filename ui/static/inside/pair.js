/** Panel: how one pair of neurons gets its synchronisation. */

import { Painter } from "../common/canvas.js";
import { createButton, createElement } from "../common/dom.js";
import { formatFixed } from "../common/format.js";
import { computePairTerms } from "./arithmetic.js";
import { decodeArray } from "./data.js";
import { equation, math } from "./mathml.js";
import { createKey, drawTraces } from "./parts.js";

const HINT = "Select a pair: click a line in the picture, or a row under Contributions.";
const SECOND_COLOUR = { light: "#009E73", dark: "#5fd3a5" };
const TRACE_HEIGHT = 96;
const WEIGHT_HEIGHT = 70;
const RECENT_WEIGHT = 0.1;

/**
 * Read a pair.
 *
 * @param {Record<string, any>} answer - Answer to the request "pair".
 * @returns {{kind: string, pair: number, neurons: number[], decay: number, left: Float32Array, right: Float32Array, sync: Float32Array}} The
 *   pair; activations begin before the first tick.
 */
export function readPair(answer) {
  return {
    kind: answer.kind,
    pair: answer.pair,
    neurons: [answer.left, answer.right],
    decay: answer.decay,
    left: decodeArray(answer.left_activations),
    right: decodeArray(answer.right_activations),
    sync: decodeArray(answer.sync),
  };
}

/**
 * Describe a pair in one sentence.
 *
 * @param {ReturnType<typeof readPair>} pair - The pair.
 * @param {number} tick - The tick, from 1.
 * @param {number | null} contribution - Its contribution to the score that is explained; null if it has none.
 * @returns {string} The sentence.
 */
export function describePair(pair, tick, contribution) {
  const { value, weights } = computePairTerms(pair, tick);
  const recent = weights.filter((weight) => weight >= RECENT_WEIGHT).length;
  const memory =
    recent === weights.length
      ? "all ticks so far count"
      : `only the last ${recent} ${recent === 1 ? "tick counts" : "ticks count"} much`;
  const [left, right] = pair.neurons;
  const together =
    value > 0 ? "mostly had the same sign" : value < 0 ? "mostly had opposite signs" : "were not active together";
  const subject = left === right ? `Neuron ${left} is paired with itself` : `Neurons ${left} and ${right} ${together}`;
  const effect =
    contribution === null
      ? ""
      : `; this ${contribution < 0 ? "lowers" : "raises"} the value that is explained by ${formatFixed(Math.abs(contribution), 3)}`;
  return `${subject} up to tick ${tick}: synchronisation ${formatFixed(value, 3)}, and ${memory}${effect}.`;
}

/** The panel. */
export class PairPanel {
  #hint = createElement("p", { class: "inside-caption" }, HINT);
  #content = createElement("div", { class: "inside-stack" });
  #title = createElement("p", { class: "inside-values" });
  #keys = createElement("p", { class: "inside-keys" });
  #canvas = createElement("canvas", { class: "inside-canvas", role: "img" });
  #formula = createElement("div", { class: "inside-formula" });
  #sentence = createElement("p", { role: "status" });
  #actions;

  /**
   * @param {HTMLElement} body - Element of the panel.
   * @param {import("./component.js").InsideActions} actions - What the panel can change.
   */
  constructor(body, actions) {
    this.#actions = actions;
    this.#content.append(this.#title, this.#sentence, this.#keys, this.#canvas, this.#formula);
    body.append(this.#hint, this.#content);
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {ReturnType<typeof readPair> | null} pair - The pair; null for none.
   * @param {number | null} contribution - Its contribution; null if it has none.
   */
  draw({ tick }, overview, theme, pair, contribution) {
    this.#hint.hidden = pair !== null;
    this.#content.hidden = pair === null;
    if (!pair) return;
    const second = SECOND_COLOUR[theme.isDark ? "dark" : "light"];
    const [left, right] = pair.neurons;
    const links = [...new Set([left, right])].map((neuron) =>
      createButton(`Neuron ${neuron}`, () => this.#actions.selectNeuron(neuron, true), { class: "component-pill" }),
    );
    const kind = pair.kind === "action" ? "Looking" : "Answering";
    this.#title.replaceChildren(`${kind} pair ${pair.pair} `, ...links);
    this.#sentence.textContent = describePair(pair, tick, contribution);
    this.#keys.replaceChildren(
      createKey(theme.negative, `neuron ${left}`),
      createKey(second, `neuron ${right}`),
      createKey(theme.text, "product"),
      createKey(theme.muted, "weight of each tick (dashed)"),
      createKey(theme.accent, "synchronisation"),
    );
    this.#drawTraces(tick, overview, theme, pair, second);
    this.#writeFormula(tick, pair);
  }

  #drawTraces(tick, { ticks }, theme, pair, second) {
    const painter = new Painter(this.#canvas, theme, 3 * TRACE_HEIGHT + WEIGHT_HEIGHT);
    if (!painter.width) return;
    const terms = computePairTerms(pair, tick);
    const products = pair.left.map((value, at) => value * pair.right[at]);
    const common = { ticks, tick, height: TRACE_HEIGHT };
    drawTraces(painter, {
      ...common,
      top: 0,
      label: "activations",
      traces: [
        { values: pair.left, colour: theme.negative, first: 0 },
        { values: pair.right, colour: second, first: 0 },
      ],
    });
    drawTraces(painter, {
      ...common,
      top: TRACE_HEIGHT,
      label: "product",
      traces: [{ values: products, colour: theme.text, first: 0 }],
    });
    drawTraces(painter, {
      ...common,
      top: 2 * TRACE_HEIGHT,
      height: WEIGHT_HEIGHT,
      label: `weight at tick ${tick} (decay ${formatFixed(pair.decay, 3)})`,
      traces: [{ values: terms.weights, colour: theme.muted, first: 0, dash: [4, 3] }],
    });
    drawTraces(painter, {
      ...common,
      top: 2 * TRACE_HEIGHT + WEIGHT_HEIGHT,
      label: "synchronisation",
      traces: [{ values: pair.sync, colour: theme.accent, first: 1 }],
    });
    this.#canvas.setAttribute("aria-label", `Activations, product, weights and synchronisation of pair ${pair.pair}`);
  }

  /** Write the equation with the numbers of the pair. */
  #writeFormula(tick, pair) {
    const { sum, norm, value, weights, products } = computePairTerms(pair, tick);
    const last = weights.length - 1;
    const number = (x) => formatFixed(x, 3);
    const terms = [];
    for (let at = last; at >= Math.max(0, last - 1); at--) {
      if (terms.length) terms.push("+");
      terms.push(number(weights[at]), "·", `(${number(products[at])})`);
    }
    if (last > 1) terms.push("+", "…");
    this.#formula.replaceChildren(
      equation(
        math("sub", "S", math("row", pair.neurons[0], ",", pair.neurons[1])),
        "=",
        math("frac", math("row", ...terms), math("sqrt", math("row", number(norm ** 2)))),
        "=",
        math("frac", number(sum), number(norm)),
        "=",
        number(value),
      ),
    );
  }
}
