/** Tabs for the keyboard and for screen readers. */

import { createElement } from "../common/dom.js";

let tabsCount = 0;

/** A list of tabs and their panels. */
export class Tabs {
  #tabs = new Map();
  #panels = new Map();
  #onSelect;
  /** Name of the tab that is selected. */
  selected;

  /**
   * @param {string[][]} names - [name, title] of each tab.
   * @param {(name: string) => void} onSelect - Called after another tab was selected.
   */
  constructor(names, onSelect) {
    tabsCount += 1;
    const prefix = `inside-tabs-${tabsCount}`;
    this.#onSelect = onSelect;
    for (const [name, title] of names) {
      const ids = { tab: `${prefix}-${name}`, panel: `${prefix}-${name}-panel` };
      const tab = createElement(
        "button",
        {
          type: "button",
          role: "tab",
          id: ids.tab,
          "aria-controls": ids.panel,
          class: "inside-tab",
          click: () => this.select(name),
        },
        title,
      );
      this.#tabs.set(name, tab);
      this.#panels.set(name, createElement("div", { role: "tabpanel", id: ids.panel, "aria-labelledby": ids.tab }));
    }
    const list = createElement(
      "div",
      { class: "inside-tablist", role: "tablist", "aria-label": "Details", keydown: (event) => this.#press(event) },
      ...this.#tabs.values(),
    );
    this.element = createElement("div", { class: "inside-tabs" }, list, ...this.#panels.values());
    this.selected = names[0][0];
    this.#show();
  }

  /**
   * Put an element into the panel of a tab.
   *
   * @param {string} name - Name of the tab.
   * @param {HTMLElement} element - The element.
   */
  fill(name, element) {
    this.#panels.get(name).append(element);
  }

  /**
   * Select a tab.
   *
   * @param {string} name - Its name.
   */
  select(name) {
    if (name === this.selected) return;
    this.selected = name;
    this.#show();
    this.#onSelect(name);
  }

  /**
   * Show or hide a tab.
   *
   * @param {string} name - Its name.
   * @param {boolean} isAvailable - Whether it is shown.
   */
  setAvailable(name, isAvailable) {
    this.#tabs.get(name).hidden = !isAvailable;
    if (!isAvailable && this.selected === name) this.select([...this.#tabs.keys()][0]);
  }

  #show() {
    for (const [name, tab] of this.#tabs) {
      const isSelected = name === this.selected;
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
      this.#panels.get(name).hidden = !isSelected;
    }
  }

  #press(event) {
    const names = [...this.#tabs].filter(([, tab]) => !tab.hidden).map(([name]) => name);
    const at = names.indexOf(this.selected);
    const targets = { ArrowRight: at + 1, ArrowLeft: at - 1 + names.length, Home: 0, End: names.length - 1 };
    if (!(event.key in targets)) return;
    const name = names[targets[event.key] % names.length];
    this.select(name);
    this.#tabs.get(name).focus();
    event.preventDefault();
  }
}
