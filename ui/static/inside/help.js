/** The texts behind the "?" of every panel: what it shows, how to read it, and the equation. */

import { createElement } from "../common/dom.js";
import { equation, math } from "./mathml.js";

const z = (index, time) => math("row", math("sub", "z", index), "(", time, ")");
const pairIndex = () => math("row", "i", "j");
const sumTo = (from, to) => math("underover", "∑", from, to);

/** S_ij(t) as a sum over ticks. */
function buildSyncEquation() {
  const decay = () => math("sup", "e", math("row", "−", math("sub", "r", pairIndex()), "(", "t", "−", "k", ")"));
  const sum = () => sumTo(math("row", "k", "=", 0), "t");
  return equation(
    math("sub", "S", pairIndex()),
    "(",
    "t",
    ")",
    "=",
    math("frac", math("row", sum(), decay(), z("i", "k"), z("j", "k")), math("sqrt", math("row", sum(), decay()))),
  );
}

/** @type {Record<string, {paragraphs: string[], equations: () => Element[]}>} */
const TEXTS = {
  overview: {
    paragraphs: [
      "Each dot is a neuron, and each plane is one tick. The plane of the tick that is shown is opaque. Colour is the sign of the activation, size is its strength.",
      "Neurons stay in the same place at every tick. Lines connect pairs of neurons. Answering pairs are those that the answer is read from: thicker lines contribute more to the class chosen under Contributions, and the colour says whether they speak for it or against it. Looking pairs decide where the model looks; there, a thicker line is a stronger synchronisation.",
      "At most 64 pairs are drawn, and all pairs of the neuron that is selected.",
    ],
    equations: () => [
      equation(math("sup", "z", math("row", "t", "+", 1)), "=", math("sub", "g", "d"), "(", math("sub", "A", "d"), ")"),
    ],
  },
  contributions: {
    paragraphs: [
      "The answer is read from the synchronisation of pairs of neurons by one linear layer. So the score of a class (its logit) is a sum: one number per pair, and a bias. The list shows every pair, the largest first.",
      "Bars to the right speak for the class, bars to the left against it. “Compare with” subtracts the score of another class: the list then shows why the model prefers one to the other.",
      "The energy is computed by a network with a hidden layer, so it is no such sum. There the list shows gradient times value, which is only a first approximation.",
    ],
    equations: () => [
      equation(
        math("sub", "logit", "c"),
        "=",
        math("sub", "b", "c"),
        "+",
        math("under", "∑", "s"),
        math("sub", "W", math("row", "c", "s")),
        math("sub", "S", "s"),
        "(",
        "t",
        ")",
      ),
    ],
  },
  neuron: {
    paragraphs: [
      "Every neuron has a small model of its own. It reads its last inputs, from the oldest to the newest, and computes its activation from them.",
      "The bars at the left are these inputs. Each hidden unit multiplies a value by a gate between 0 and 1: the bar is the product, and the share that is filled is the gate. Lines are weights. The output is again a value times a gate.",
      "“Silence it” runs the model again with this neuron held at zero, and draws both runs.",
    ],
    equations: () => [
      equation(
        math("sub", "z", "d"),
        "=",
        "GLU",
        "(",
        math("sub", "W", 2),
        " ",
        "GLU",
        "(",
        math("sub", "W", 1),
        math("sub", "A", "d"),
        "+",
        math("sub", "b", 1),
        ")",
        "+",
        math("sub", "b", 2),
        ")",
      ),
      equation("GLU", "(", "u", ",", "v", ")", "=", "u", "·", "σ", "(", "v", ")"),
    ],
  },
  pair: {
    paragraphs: [
      "The synchronisation of two neurons is the sum of the products of their activations over the ticks so far, divided by the root of the sum of weights. It is large if both are active with the same sign at the same ticks.",
      "Each pair has its own decay r: with a large one, only the last ticks count; with 0, all ticks count alike. The dashed line shows these weights.",
      "Looking pairs are computed before the neurons of their tick, so their sum ends one tick earlier.",
    ],
    equations: () => [buildSyncEquation()],
  },
  raster: {
    paragraphs: [
      "One row per neuron, one column per tick. Colour is the sign and the strength of the activation.",
      "Sorted by phase, neurons that rise and fall together are neighbours. Sorted by correlation, the neuron that is selected is first, and those that move against it are last. Point at a cell to read it; click to select its neuron and tick.",
    ],
    equations: () => [
      equation(
        math("sub", "ρ", pairIndex()),
        "=",
        math(
          "frac",
          math("row", math("under", "∑", "t"), math("sub", "x", "i"), math("sub", "x", "j")),
          math(
            "sqrt",
            math(
              "row",
              math("under", "∑", "t"),
              math("subsup", "x", "i", 2),
              " ",
              math("under", "∑", "t"),
              math("subsup", "x", "j", 2),
            ),
          ),
        ),
        ",",
        math("sub", "x", "i"),
        "=",
        z("i", "t"),
        "−",
        math("over", math("sub", "z", "i"), "¯"),
      ),
    ],
  },
  attention: {
    paragraphs: [
      "Each head looks at all places of the input and divides its attention among them: the weights of a head add up to 100%. The table has the places with the largest weights.",
      "Unlike the pictures of attention, which are scaled to their maximum, these are the true weights, so heads and ticks can be compared.",
    ],
    equations: () => [
      equation(
        math("sub", "a", "n"),
        "=",
        math(
          "frac",
          math("row", "exp", "(", math("sub", "k", "n"), "·", "q", "/", math("sqrt", "d"), ")"),
          math(
            "row",
            math("under", "∑", "m"),
            "exp",
            "(",
            math("sub", "k", "m"),
            "·",
            "q",
            "/",
            math("sqrt", "d"),
            ")",
          ),
        ),
      ),
    ],
  },
};

let helpCount = 0;

/**
 * Create a "?" button and the text that it opens.
 *
 * @param {string} name - Name of the panel.
 * @param {string} title - Title of the panel.
 * @returns {{button: HTMLElement, text: HTMLElement}} The button and the text.
 */
export function createHelp(name, title) {
  const { paragraphs, equations } = TEXTS[name];
  helpCount += 1;
  const id = `inside-help-${helpCount}`;
  const text = createElement("div", { class: "inside-help", id, hidden: "" });
  const button = createElement(
    "button",
    {
      type: "button",
      class: "inside-question",
      "aria-expanded": "false",
      "aria-controls": id,
      "aria-label": `Explain: ${title}`,
      title: "What is this?",
      click: () => {
        if (!text.childElementCount) {
          text.append(...paragraphs.map((paragraph) => createElement("p", {}, paragraph)), ...equations());
        }
        text.hidden = !text.hidden;
        button.setAttribute("aria-expanded", String(!text.hidden));
      },
    },
    "?",
  );
  return { button, text };
}

/** Names of the panels that have a text. */
export const HELP_NAMES = Object.keys(TEXTS);
