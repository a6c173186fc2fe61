/** What a run answers for fixed inputs, with a slider over its evaluations. */

import { findParts, setText } from "../common/dom.js";
import { formatInteger } from "../common/format.js";
import { readThoughtTheme } from "../thought/theme.js";
import { SampleCard } from "./card.js";
import { parseSamples } from "./parse.js";

/** One mounted component. It raises `input` with the step of another evaluation as `step` of its value. */
export class SamplesComponent {
  #props;
  #trigger;
  #parts;
  #view = parseSamples(null);
  #cards = [];
  #wanted = null; // evaluation that the visitor chose; null follows the newest
  #run = "";

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "samples");
    this.#parts.slider.addEventListener("input", () => this.#choose(Number(this.#parts.slider.value)));
  }

  /** Show the current value: the chosen evaluation, or the newest. */
  receive() {
    const view = parseSamples(this.#props.value);
    if (view.run !== this.#run) this.#wanted = null;
    this.#run = view.run;
    const isOther = this.#wanted !== null && view.steps.includes(this.#wanted) && view.step !== this.#wanted;
    this.#view = isOther ? { ...this.#view, steps: view.steps } : view;
    this.#parts.root.hidden = !this.#view.samples.length;
    if (this.#parts.root.hidden) return;
    const { steps } = this.#view;
    this.#parts.slider.max = String(steps.length - 1);
    this.#showPosition(this.#wanted ?? this.#view.step);
    this.#showCards();
    if (isOther) this.#ask(this.#wanted);
  }

  #choose(index) {
    const { steps } = this.#view;
    const step = steps[index];
    if (step === undefined) return;
    this.#wanted = index === steps.length - 1 ? null : step;
    this.#showPosition(step);
    this.#ask(step);
  }

  #ask(step) {
    this.#props.value = { run: this.#run, step, steps: this.#view.steps, samples: [] };
    this.#trigger("input");
  }

  #showPosition(step) {
    const { slider, position } = this.#parts;
    const text = `step ${formatInteger(step ?? 0)}`;
    slider.value = String(Math.max(0, this.#view.steps.indexOf(step)));
    slider.setAttribute("aria-valuetext", text);
    setText(position, text);
  }

  #showCards() {
    const { grid } = this.#parts;
    const { samples } = this.#view;
    while (this.#cards.length < samples.length) this.#cards.push(new SampleCard());
    const roots = this.#cards.slice(0, samples.length).map(({ root }) => root);
    if (roots.length !== grid.children.length) grid.replaceChildren(...roots);
    const theme = this.#readTheme();
    for (const [index, sample] of samples.entries()) this.#cards[index].show(sample, theme);
  }

  #readTheme() {
    return readThoughtTheme(this.#parts.root, this.#parts.caption);
  }

  /** Draw anew after the size or the theme has changed. */
  draw() {
    const { samples } = this.#view;
    if (!samples.length || !this.#parts.grid.clientWidth) return;
    this.#showCards();
  }
}
