/** Task cards, presets and sliders: the first two steps of a new run. */

import { createButton, createElement, findParts, setText } from "../common/dom.js";
import { formatPercent } from "../common/format.js";
import { readObject } from "../common/validate.js";
import { ThumbnailLoader } from "../gallery/loader.js";
import { parseTaskCards } from "./parse.js";

let count = 0; // of mounted components, for the names of radio buttons

/** One mounted component. A choice is put into the value as `request`. */
export class TaskCardsComponent {
  #props;
  #trigger;
  #parts;
  #loader;
  #view = parseTaskCards({});
  #shownCards = "";
  #group = `preset-${++count}`;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "cards");
    this.#loader = new ThumbnailLoader(element);
  }

  /** Width that drawing depends on, in pixels. */
  get width() {
    return this.#parts.grid.clientWidth;
  }

  /** Draw the thumbnails again, because their size changed. */
  redraw() {
    this.#loader.redraw();
  }

  /** Show the current value. */
  receive() {
    this.#view = this.#keepChoice(parseTaskCards(this.#props.value));
    const { first, second, note } = this.#parts;
    first.hidden = !this.#view.cards.length;
    second.hidden = !this.#view.presets.length;
    this.#showCards();
    this.#showPresets();
    this.#showSliders();
    setText(note, this.#view.note);
  }

  /** Keep what is chosen when only times have arrived: they were asked for before a newer choice. */
  #keepChoice(view) {
    if (!readObject(this.#props.value).is_refresh || !this.#view.cards.length) return view;
    const { selected, preset, presets, sliders, note } = this.#view;
    return { ...view, selected, preset, presets: view.selected === selected ? view.presets : presets, sliders, note };
  }

  #showCards() {
    const { cards, selected } = this.#view;
    const version = JSON.stringify(cards);
    if (version !== this.#shownCards) {
      this.#shownCards = version;
      const focused = document.activeElement?.dataset?.recipe;
      const buttons = cards.map((card) => [this.#createCard(card), card]);
      this.#parts.grid.replaceChildren(...buttons.map(([button]) => button));
      this.#loader.prune();
      for (const [button, card] of buttons) {
        this.#loader.add(button, card);
        if (card.name === focused) button.focus();
      }
    }
    for (const button of this.#parts.grid.children) {
      button.setAttribute("aria-pressed", String(button.dataset.recipe === selected));
    }
  }

  #createCard(card) {
    const accuracy = card.accuracy === null ? "" : `Bundled model: ${formatPercent(card.accuracy)} correct`;
    const choose = () => this.#request({ recipe: card.name, preset: "", sliders: {} });
    const button = createButton(createElement("canvas", { "aria-hidden": "true" }), choose, {
      class: "component-card task-card",
      "data-recipe": card.name,
      "aria-label": [card.title, card.learns.replace(/\.$/, ""), accuracy, ...card.times].filter(Boolean).join(". "),
    });
    const lines = [
      ["title", card.title],
      ["learns", card.learns],
      ["figure", accuracy],
      ...card.times.map((time) => ["time", time]),
    ];
    const shown = lines.filter(([, text]) => text);
    button.append(...shown.map(([name, text]) => createElement("span", { class: `task-card-${name}` }, text)));
    return button;
  }

  #showPresets() {
    const { presets, preset } = this.#view;
    const { options } = this.#parts;
    const names = [...options.children].map((option) => option.dataset.preset);
    if (names.join() !== presets.map(({ name }) => name).join()) {
      options.replaceChildren(...presets.map((item) => this.#createPreset(item)));
    }
    for (const [index, option] of [...options.children].entries()) {
      const input = option.querySelector("input");
      input.checked = presets[index].name === preset;
      setText(option.querySelector("span"), presets[index].text);
    }
  }

  #createPreset({ name, title }) {
    const choose = () => this.#request({ preset: name });
    const input = createElement("input", { type: "radio", name: this.#group, value: name, change: choose });
    const label = createElement("label", { class: "task-cards-option", "data-preset": name }, input);
    label.append(createElement("strong", {}, title), createElement("span"));
    return label;
  }

  #showSliders() {
    const { sliders } = this.#view;
    const area = this.#parts.sliders;
    area.hidden = !sliders.length;
    const shown = JSON.stringify(sliders.map(({ name, label, texts }) => [name, label, texts]));
    if (area.dataset.shown !== shown) {
      area.dataset.shown = shown;
      area.replaceChildren(...sliders.map((slider) => this.#createSlider(slider)));
    }
    for (const [index, label] of [...area.children].entries()) showPosition(label, sliders[index]);
  }

  #createSlider({ name, label, texts }) {
    const input = createElement("input", {
      type: "range",
      min: "0",
      max: String(texts.length - 1),
      step: "1",
      "data-slider": name,
      "aria-label": label,
    });
    const row = createElement("label", { class: "task-cards-slider" }, createElement("strong", {}, label), " ");
    row.append(createElement("span"), input); // an <output> would take the label from the slider
    input.addEventListener("input", () => {
      const slider = this.#view.sliders.find((item) => item.name === name);
      slider.selected = Number(input.value);
      showPosition(row, slider);
    });
    input.addEventListener("change", () => this.#request({ preset: "custom" }));
    input.addEventListener("click", () => {
      const slider = this.#view.sliders.find((item) => item.name === name);
      if (slider.selected >= 0) return; // a click where the handle already is changes nothing, but chooses that position
      slider.selected = Number(input.value);
      this.#request({ preset: "custom" });
    });
    return row;
  }

  #request(changes) {
    const { selected, preset, sliders } = this.#view;
    const chosen = sliders.filter((slider) => slider.selected >= 0).map((slider) => [slider.name, slider.selected]);
    const request = { recipe: selected, preset, sliders: Object.fromEntries(chosen), ...changes };
    this.#props.value = { ...readObject(this.#props.value), request };
    this.#trigger("input");
  }
}

function showPosition(label, { texts, selected, current }) {
  const [input, output] = [label.querySelector("input"), label.querySelector("span")];
  const text = selected < 0 ? current : texts[selected];
  input.value = String(selected < 0 ? Math.floor(texts.length / 2) : selected);
  input.setAttribute("aria-valuetext", text);
  setText(output, text);
}
