/** The strip of cards that picks a model: one row that scrolls. */

import { hasModifier } from "../common/dom.js";
import { createCard } from "./card.js";
import { listStripCards } from "./parse.js";

/**
 * Return where an arrow key moves the focus.
 *
 * @param {string} key - Name of the key.
 * @param {number} at - Index of the card that has the focus.
 * @param {number} count - How many cards there are.
 * @returns {number} Index of the next card; -1 for other keys.
 */
export function findNextIndex(key, at, count) {
  const targets = {
    ArrowRight: at + 1,
    ArrowDown: at + 1,
    ArrowLeft: at - 1,
    ArrowUp: at - 1,
    Home: 0,
    End: count - 1,
  };
  return key in targets ? Math.min(count - 1, Math.max(0, targets[key])) : -1;
}

/** Cards in a row. One of them takes the focus; arrow keys move it. */
export class StripView {
  #root;
  #onPress;
  #onRender;
  #buttons = [];

  /**
   * @param {HTMLElement} root - Where it goes.
   * @param {object} options - How it works.
   * @param {(card: object, button: HTMLElement) => void} options.onPress - Called when a card is pressed.
   * @param {(buttons: [HTMLElement, object][]) => void} options.onRender - Called with new buttons and their cards.
   */
  constructor(root, { onPress, onRender }) {
    this.#root = root;
    this.#onPress = onPress;
    this.#onRender = onRender;
    root.addEventListener("keydown", (event) => this.#handleKey(event));
  }

  /**
   * Show cards.
   *
   * @param {object} view - What `parseGallery` returned.
   */
  show(view) {
    const focused = this.#root.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const cards = listStripCards(view.cards, view.selected);
    this.#buttons = cards.map((card) => createCard(card, this.#onPress, { isCompact: true }));
    this.#root.replaceChildren(...this.#buttons);
    this.select(view.selected);
    this.#onRender(this.#buttons.map((button, index) => [button, cards[index]]));
    if (focused !== null) this.#buttons.find((button) => button.dataset.name === focused)?.focus();
  }

  /**
   * Return whether the strip has a card for the selected checkpoint, and none for a checkpoint that is gone.
   *
   * @param {object} view - What `parseGallery` returned.
   * @returns {boolean} Whether it need not be shown anew.
   */
  fits({ cards, selected }) {
    const names = this.#buttons.map((button) => button.dataset.name);
    const known = new Set([selected, ...cards.map(({ name }) => name)]);
    return names.includes(selected) && names.every((name) => known.has(name));
  }

  /**
   * Mark the selected card and bring it into view.
   *
   * @param {string} selected - Name of the selected checkpoint.
   */
  select(selected) {
    const at = Math.max(
      0,
      this.#buttons.findIndex((button) => button.dataset.name === selected),
    );
    for (const [index, button] of this.#buttons.entries()) {
      button.setAttribute("aria-pressed", String(button.dataset.name === selected));
      button.tabIndex = index === at ? 0 : -1;
    }
    this.#reveal(this.#buttons[at]);
  }

  /** Scroll the strip, and nothing else, until a card is inside. */
  #reveal(button) {
    if (!button) return;
    const [left, right] = [button.offsetLeft, button.offsetLeft + button.offsetWidth];
    const { scrollLeft, clientWidth } = this.#root;
    if (left < scrollLeft) this.#root.scrollLeft = left - 8;
    else if (right > scrollLeft + clientWidth) this.#root.scrollLeft = right - clientWidth + 8;
  }

  #handleKey(event) {
    const at = this.#buttons.indexOf(event.target);
    const next = at < 0 || hasModifier(event) ? -1 : findNextIndex(event.key, at, this.#buttons.length);
    if (next < 0) return;
    event.preventDefault();
    this.#buttons[at].tabIndex = -1;
    this.#buttons[next].tabIndex = 0;
    this.#buttons[next].focus({ preventScroll: true });
    this.#reveal(this.#buttons[next]);
  }
}
