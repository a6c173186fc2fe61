/** Gallery of models: a strip that picks one, or all of them in groups. */

import { createElement, findParts } from "../common/dom.js";
import { readObject } from "../common/validate.js";
import { CatalogView } from "./catalog.js";
import { ThumbnailLoader } from "./loader.js";
import { parseGallery } from "./parse.js";
import { openSheet } from "./sheet.js";
import { StripView } from "./strip.js";

/** One mounted gallery. Picking a card puts its name into the value as `chosen`. */
export class GalleryComponent {
  #props;
  #trigger;
  #parts;
  #loader;
  #view = parseGallery({});
  #version = ""; // the value without what was picked, as text: picking draws nothing anew
  #opened = "";
  #strip = null;
  #catalog = null;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "gallery");
    this.#loader = new ThumbnailLoader(element);
    const { all, close, dialog } = this.#parts;
    all.addEventListener("click", () => this.#openDialog());
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /** Width that drawing depends on, in pixels. */
  get width() {
    const { strip, catalog } = this.#parts;
    return strip.clientWidth + catalog.clientWidth;
  }

  /** Draw the thumbnails again, because their size changed. */
  redraw() {
    this.#loader.redraw();
  }

  /** Show the current value. */
  receive() {
    const { chosen: _, selected, opened, ...value } = readObject(this.#props.value);
    const version = JSON.stringify(value);
    this.#view = parseGallery({ ...value, opened, selected: selected ?? this.#view.selected });
    if (version !== this.#version) this.#show();
    else this.#select(this.#view.selected);
    this.#version = version;
    if (this.#view.opened && this.#view.opened !== this.#opened) openSheet();
    this.#opened = this.#view.opened;
  }

  #show() {
    const isPicker = this.#view.mode === "pick";
    const { picker, catalog, dialog } = this.#parts;
    [picker.hidden, catalog.hidden] = [!isPicker, isPicker];
    if (isPicker) {
      this.#strip ??= new StripView(this.#parts.strip, this.#getOptions());
      this.#strip.show(this.#view);
      if (dialog.open) this.#catalog?.show(this.#view);
    } else {
      this.#catalog ??= new CatalogView(catalog, { level: 2, ...this.#getOptions() });
      this.#catalog.show(this.#view);
    }
  }

  #getOptions() {
    return {
      onPress: (card) => this.#choose(card),
      onRender: (buttons) => {
        this.#loader.prune();
        for (const [button, card] of buttons) this.#loader.add(button, card);
      },
    };
  }

  #choose({ name }) {
    this.#props.value = { ...readObject(this.#props.value), chosen: name };
    this.#trigger("input");
    if (this.#view.mode !== "pick") {
      openSheet();
      return;
    }
    this.#parts.dialog.close();
    this.#select(name);
  }

  #select(name) {
    if (this.#view.mode !== "pick") return;
    this.#view = { ...this.#view, selected: name };
    if (this.#strip?.fits(this.#view)) this.#strip.select(name);
    else this.#strip?.show(this.#view);
    if (this.#parts.dialog.open) this.#catalog?.select(name);
  }

  #openDialog() {
    const { dialog, all } = this.#parts;
    const body = createElement("div");
    this.#parts["dialog-body"].replaceChildren(body);
    dialog.showModal();
    this.#catalog = new CatalogView(body, { level: 3, ...this.#getOptions() });
    this.#catalog.show(this.#view);
    dialog.addEventListener("close", () => all.focus(), { once: true });
  }
}
