/** All settings of a new run: a list to search, with changed settings marked and errors at their fields. */

import { createElement, findParts, setText } from "../common/dom.js";
import { readObject } from "../common/validate.js";
import { getValue, isApplicable, isFound, parseSettings } from "./parse.js";
import { SettingRow } from "./row.js";

/** One mounted list. Changed settings are in the value as `changes`; `input` asks the server for the fields. */
export class SettingsComponent {
  #props;
  #trigger;
  #parts;
  #view = parseSettings({});
  #rows = new Map(); // name of the setting -> its row
  #groups = []; // elements of the groups

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "setting");
    const { details, search, only, reset } = this.#parts;
    details.addEventListener("toggle", () => this.#load());
    search.addEventListener("input", () => this.#filter());
    only.addEventListener("change", () => this.#filter());
    reset.addEventListener("click", () => this.#change({}));
  }

  /** Show the current value. */
  receive() {
    const isSameForm = this.#view.fields !== null;
    const view = parseSettings(this.#props.value);
    const isRebuilt = !isSameForm || view.fields === null || view.source !== this.#view.source;
    this.#view = view;
    if (view.fields === null) this.#clear();
    else if (isRebuilt) this.#build();
    this.#showProblem();
    if (view.errors.length) this.#parts.details.open = true;
    this.#load();
    this.#show();
    this.#focusError();
  }

  /** Ask for the fields when the list is open and has none yet. */
  #load() {
    if (this.#parts.details.open && this.#view.fields === null && this.#view.source) this.#trigger("input");
  }

  #clear() {
    this.#rows.clear();
    this.#groups = [];
    this.#parts.groups.replaceChildren();
  }

  #build() {
    this.#clear();
    for (const { name, title } of this.#view.groups) {
      const fields = this.#view.fields.filter((field) => field.group === name);
      if (!fields.length) continue;
      const group = createElement("fieldset", {}, createElement("legend", {}, title));
      for (const field of fields) {
        const row = new SettingRow(field, (value) => this.#set(field, value));
        this.#rows.set(field.name, row);
        group.append(row.element);
      }
      this.#groups.push(group);
    }
    this.#parts.groups.replaceChildren(...this.#groups);
  }

  #set(field, value) {
    const changes = { ...this.#view.changes };
    const initial = this.#view.values[field.name] ?? null;
    if (value === undefined || value === initial) delete changes[field.name];
    else changes[field.name] = value;
    this.#change(changes, field.name);
  }

  #change(changes, name = "") {
    const errors = name ? this.#view.errors.filter((error) => error.name !== name) : [];
    this.#view = { ...this.#view, changes, errors, problem: "" };
    this.#props.value = { ...readObject(this.#props.value), changes, errors, problem: "" };
    this.#showProblem();
    this.#show();
  }

  #show() {
    const { fields, changes, errors } = this.#view;
    for (const field of fields ?? []) {
      const error = errors.find(({ name }) => name === field.name)?.message ?? "";
      this.#rows.get(field.name)?.show(getValue(this.#view, field), field.name in changes, error);
    }
    const count = Object.keys(changes).length;
    setText(this.#parts.summary, count ? `All settings, ${count} changed` : "All settings");
    this.#parts.reset.disabled = !count;
    this.#filter();
  }

  #filter() {
    const { search, only, status } = this.#parts;
    const { fields, changes, errors } = this.#view;
    let found = 0;
    for (const field of fields ?? []) {
      const isWrong = errors.some(({ name }) => name === field.name);
      const isWanted = isFound(field, search.value) && (!only.checked || field.name in changes);
      const isShown = isWrong || (isApplicable(this.#view, field) && isWanted);
      this.#rows.get(field.name).element.hidden = !isShown;
      found += isShown;
    }
    for (const group of this.#groups) group.hidden = !group.querySelector(".run-setting:not([hidden])");
    setText(status, fields === null ? "" : `${found} ${found === 1 ? "setting" : "settings"}`);
  }

  #showProblem() {
    const { problem } = this.#parts;
    problem.textContent = this.#view.problem;
    problem.hidden = !this.#view.problem;
  }

  #focusError() {
    const { errors, fields } = this.#view;
    if (fields === null || !errors.length) return;
    this.#rows.get(errors[0].name)?.focus();
  }
}
