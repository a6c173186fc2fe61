/** One sample in a compact form: title, verdict, and the panels of the Think tab that show input and answer. */

import { createElement, setText } from "../common/dom.js";
import { ImageCache } from "../thought/images.js";
import { distributePanels, PANELS } from "../thought/stage.js";

const MAX_PANELS = 2;

/** A card in the page. It keeps its elements while the evaluation changes, so nothing flickers. */
export class SampleCard {
  #title = createElement("h4");
  #verdict = createElement("p", { class: "samples-verdict" });
  #sentence = createElement("p", { class: "samples-muted" });
  #panels = createElement("div");
  #parts = {};
  #names = "";
  #sample = null;
  #images = new ImageCache();

  constructor() {
    this.root = createElement(
      "article",
      { class: "samples-card" },
      this.#title,
      this.#verdict,
      this.#sentence,
      this.#panels,
    );
  }

  /**
   * Show a sample.
   *
   * @param {import("./parse.js").Sample} sample - The sample.
   * @param {import("../thought/theme.js").ThoughtTheme} theme - Colours.
   */
  show(sample, theme) {
    this.#sample = sample;
    this.#images = new ImageCache();
    setText(this.#title, sample.title);
    setText(this.#verdict, sample.isCorrect ? "Correct" : "Wrong");
    this.#verdict.dataset.correct = String(sample.isCorrect);
    setText(this.#sentence, sample.thought.sentence);
    this.draw(theme);
  }

  /**
   * Draw the panels at the tick whose answer counts.
   *
   * @param {import("../thought/theme.js").ThoughtTheme} theme - Colours.
   */
  draw(theme) {
    const { thought } = this.#sample;
    const names = distributePanels(thought)
      .stage.filter((name) => name !== "attention")
      .slice(0, MAX_PANELS);
    this.#arrange(names);
    const view = {
      thought,
      tick: thought.answerTick,
      isPlaying: false,
      theme,
      parts: this.#parts,
      images: this.#images,
    };
    for (const panel of PANELS.filter(({ name }) => names.includes(name))) {
      const data = panel.select(thought);
      panel.prepare?.(view, data);
      panel.draw(view, data);
      this.#parts[panel.name].setAttribute("aria-label", panel.describe(view, data));
    }
  }

  /** Make canvases for these panels; their titles, legends and captions are not shown. */
  #arrange(names) {
    if (names.join() === this.#names) return;
    this.#names = names.join();
    this.#parts = {};
    const frames = names.map((name) => {
      const canvas = createElement("canvas", { role: "img" });
      this.#parts[name] = canvas;
      for (const text of ["title", "legend", "caption"]) this.#parts[`${name}-${text}`] = createElement("p");
      const attributes = { class: "samples-canvas", role: "group", "aria-label": "Answer", tabindex: "0" };
      return createElement("div", attributes, canvas); // keyboards scroll what they can focus
    });
    this.#panels.replaceChildren(...frames);
  }
}
