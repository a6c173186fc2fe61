/** When a checkpoint stops: what ticks give, its policies, and how reliable its confidence is. */

import { findParts } from "../common/dom.js";
import { formatCount, formatInteger, formatMean } from "../common/format.js";
import { readObject, readText } from "../common/validate.js";
import { findBestAccuracy, getFirstBudget, parseHalting, roundBudget } from "./parse.js";
import { createKey, createLevelRow, createPolicyRow, describeCurves, describeReliability } from "./tables.js";

const EMPTY_NOTE = "No threshold curves for this model.";

/** One mounted component. A click on a policy puts it into the value as `policy`. */
export class HaltingComponent {
  #props;
  #trigger;
  #parts;
  #view = null;
  #valueVersion = ""; // the value without the clicked policy, as text: a click redraws nothing
  #budget = 1; // mean ticks
  #charts;

  /**
   * @param {import("../common/mount.js").ComponentContext} context - What Gradio passes.
   * @param {typeof import("./svg-charts.js").SvgCharts} Charts - Draws the charts.
   */
  constructor({ element, props, trigger }, Charts) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "halting");
    this.#charts = new Charts(this.#parts, (ticks) => this.#view && this.#setBudget(ticks));
    const { budget } = this.#parts;
    budget.addEventListener("input", () => this.#view && this.#setBudget(Number(budget.value)));
  }

  /** Width that drawing depends on, in pixels. */
  get width() {
    return this.#parts.chart.clientWidth;
  }

  /** Show the current value. */
  receive() {
    const { policy: _, ...value } = readObject(this.#props.value);
    const version = JSON.stringify(value);
    if (version === this.#valueVersion) return;
    this.#valueVersion = version;
    this.#view = parseHalting(value);
    const { body, note } = this.#parts;
    body.hidden = !this.#view;
    note.hidden = Boolean(this.#view);
    note.textContent = readText(value.problem) || EMPTY_NOTE;
    if (!this.#view) return;
    this.#budget = getFirstBudget(this.#view);
    this.#writeTexts();
    this.draw();
  }

  #writeTexts() {
    const { curves, policies, heldOutSamples, iterations } = this.#view;
    const { budget, about, keys } = this.#parts;
    Object.assign(budget, { min: "1", max: String(iterations), value: String(this.#budget) });
    about.textContent = describeCurves(this.#view);
    keys.replaceChildren(...curves.map(createKey));
    const count = heldOutSamples === null ? "" : ` (${formatInteger(heldOutSamples)})`;
    this.#parts["held-out"].textContent = `Held out${count}`;
    this.#parts.policies.replaceChildren(...policies.map((policy, index) => this.#createPolicyRow(policy, index)));
  }

  #createPolicyRow(policy, index) {
    return createPolicyRow(policy, index + 1, this.#onUse);
  }

  /** What a click on a policy does; null where policies are only shown. */
  get #onUse() {
    return readObject(this.#props.value).read_only === true ? null : (text) => this.#use(text);
  }

  #use(text) {
    this.#props.value = { ...this.#props.value, policy: text };
    this.#trigger("input");
  }

  /** Draw both charts, and what depends on the budget. */
  draw() {
    if (!this.#view) return;
    const { bins } = this.#view;
    this.#parts["reliability-panel"].hidden = !bins.length;
    if (bins.length) this.#parts["reliability-text"].textContent = describeReliability(this.#view);
    this.#charts.draw(this.#view);
    this.#showBudget();
  }

  // --- the budget ---

  #setBudget(ticks) {
    const budget = roundBudget(ticks, this.#view.iterations);
    if (budget === this.#budget) return;
    this.#budget = budget;
    this.#showBudget();
  }

  /** Show only what depends on the budget: the line, the slider, the table. */
  #showBudget() {
    const { budget, levels } = this.#parts;
    this.#charts.showBudget(this.#budget);
    if (Number(budget.value) !== this.#budget) budget.value = String(this.#budget);
    const { iterations, curves } = this.#view;
    const sentence = `With ${formatMean(this.#budget)} of ${formatCount(iterations, "tick")} on average:`;
    this.#parts["budget-text"].textContent = sentence;
    const best = findBestAccuracy(curves);
    const createRow = (curve) => createLevelRow(curve, this.#budget, best, this.#onUse);
    levels.replaceChildren(...curves.map(createRow));
  }
}
