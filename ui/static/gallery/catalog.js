/** The whole gallery: search, filters, groups of cards, and findings. */

import { createButton, createElement, setText } from "../common/dom.js";
import { formatCount } from "../common/format.js";
import { createCard } from "./card.js";
import { createFigure } from "./figure.js";
import { filterCards } from "./parse.js";

const FILTERS = [
  { tag: "picture", label: "Picture" },
  { tag: "sequence", label: "Sequence" },
  { tag: "baseline", label: "Baseline" },
  { tag: "run", label: "Trained here" },
  { tag: "hub", label: "Hub" },
];

/** Search, filters and cards in one element. */
export class CatalogView {
  #root;
  #level;
  #onPress;
  #onRender;
  #view = null;
  #selected = "";
  #text = "";
  #tags = new Set();
  #body = createElement("div", { class: "gallery-groups" });
  #count = createElement("p", { class: "gallery-muted", role: "status" });

  /**
   * @param {HTMLElement} root - Where it goes.
   * @param {object} options - How it works.
   * @param {number} options.level - Level of the headings of groups.
   * @param {(card: object, button: HTMLElement) => void} options.onPress - Called when a card is pressed.
   * @param {(buttons: [HTMLElement, object][]) => void} options.onRender - Called with new buttons and their cards.
   */
  constructor(root, { level, onPress, onRender }) {
    this.#root = root;
    this.#level = level;
    this.#onPress = onPress;
    this.#onRender = onRender;
    this.#root.replaceChildren(this.#createControls(), this.#body);
  }

  #createControls() {
    const search = createElement("input", {
      type: "search",
      class: "gallery-search",
      placeholder: "Search models",
      "aria-label": "Search models",
      maxlength: "100",
    });
    search.addEventListener("input", () => {
      this.#text = search.value;
      this.#render();
    });
    const chips = FILTERS.map(({ tag, label }) => this.#createChip(tag, label));
    const filters = createElement(
      "div",
      { class: "gallery-chips", role: "group", "aria-label": "Show models of this kind" },
      ...chips,
    );
    return createElement("div", { class: "gallery-controls" }, search, filters, this.#count);
  }

  #createChip(tag, label) {
    const chip = createButton(
      label,
      () => {
        if (!this.#tags.delete(tag)) this.#tags.add(tag);
        chip.setAttribute("aria-pressed", String(this.#tags.has(tag)));
        this.#render();
      },
      { class: "component-pill gallery-chip", "aria-pressed": "false" },
    );
    return chip;
  }

  /**
   * Show cards.
   *
   * @param {object} view - What `parseGallery` returned.
   */
  show(view) {
    this.#view = view;
    this.#selected = view.selected;
    this.#render();
  }

  /**
   * Mark the selected card.
   *
   * @param {string} selected - Name of the selected checkpoint.
   */
  select(selected) {
    this.#selected = selected;
    for (const button of this.#body.querySelectorAll("[data-name]")) this.#mark(button);
  }

  #mark(button) {
    if (this.#view.mode !== "pick") button.setAttribute("aria-haspopup", "dialog");
    else button.setAttribute("aria-pressed", String(button.dataset.name === this.#selected));
  }

  #render() {
    const { cards, groups, studies } = this.#view;
    const isFiltered = Boolean(this.#text.trim() || this.#tags.size);
    const shown = filterCards(cards, this.#text, this.#tags);
    const active = document.activeElement;
    const focused = this.#body.contains(active) ? active.dataset.name : "";
    const buttons = [];
    const sections = groups
      .map((group) => this.#createGroup(group, shown, isFiltered ? [] : studies, buttons))
      .filter(Boolean);
    this.#body.replaceChildren(...sections);
    setText(this.#count, isFiltered ? `${shown.length} of ${formatCount(cards.length, "model")}` : "");
    this.#onRender(buttons);
    if (focused) buttons.find(([button]) => button.dataset.name === focused)?.[0].focus();
  }

  #createGroup({ name, title }, cards, studies, buttons) {
    const own = cards.filter((card) => card.group === name);
    const findings = studies.filter((study) => study.group === name);
    if (!own.length && !findings.length) return null;
    const inStudies = new Set(findings.flatMap((study) => study.cards.map((card) => card.name)));
    const rest = own.filter((card) => !inStudies.has(card.name));
    return createElement(
      "section",
      { class: "gallery-group", "aria-label": title },
      createElement(`h${this.#level}`, { class: "gallery-heading" }, title),
      ...findings.map((study) => this.#createStudy(study, name, buttons)),
      ...(rest.length ? [this.#createGrid(rest, buttons)] : []),
    );
  }

  #createStudy({ title, text, cards, figure }, group, buttons) {
    const own = cards.filter((card) => card.group === group);
    return createElement(
      "article",
      { class: "gallery-study" },
      createElement(
        "div",
        { class: "gallery-finding" },
        createElement(
          "div",
          {},
          createElement(`h${this.#level + 1}`, { class: "gallery-question" }, title),
          createElement("p", {}, text),
        ),
        ...(figure ? [createFigure(figure)] : []),
      ),
      this.#createGrid(own, buttons),
    );
  }

  #createGrid(cards, buttons) {
    const children = cards.map((card) => {
      const button = createCard(card, this.#onPress, { isCompact: false });
      this.#mark(button);
      buttons.push([button, card]);
      return button;
    });
    return createElement("div", { class: "gallery-grid" }, ...children);
  }
}
