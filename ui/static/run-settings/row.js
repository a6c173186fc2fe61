/** One setting in the list: label, key, control, help, reset button and error. */

import { createButton, createElement, setText } from "../common/dom.js";
import { readInput } from "./parse.js";

/** Row of one setting. */
export class SettingRow {
  #field;
  #control;
  #reset;
  #error;

  /**
   * @param {import("./parse.js").Field} field - The setting.
   * @param {(value: unknown) => void} onChange - Called with a new value; undefined resets it.
   */
  constructor(field, onChange) {
    this.#field = field;
    const id = `set-${field.name.replaceAll(".", "-")}`;
    this.#control = createControl(field, id);
    this.#control.addEventListener("change", () => onChange(readInput(field, this.#read())));
    this.#reset = createButton("Reset", () => onChange(undefined), {
      class: "component-pill run-setting-reset",
      "aria-label": `Reset ${field.title}`,
      hidden: "",
    });
    this.#error = createElement("p", { class: "run-setting-error", id: `${id}-error` });
    this.element = createElement(
      "div",
      { class: "run-setting" },
      createElement(
        "label",
        { for: id },
        field.title,
        " ",
        createElement("span", { class: "run-setting-key" }, field.name),
      ),
      createElement("div", { class: "run-setting-control" }, this.#control, this.#reset),
      createElement("p", { class: "run-setting-help", id: `${id}-help` }, field.help),
      this.#error,
    );
  }

  #read() {
    return this.#field.kind === "switch" ? this.#control.checked : this.#control.value;
  }

  /**
   * Show a value.
   *
   * @param {unknown} value - The value; null for an empty one.
   * @param {boolean} isChanged - Whether it differs from that of the source.
   * @param {string} error - What is wrong with it; empty if nothing is.
   */
  show(value, isChanged, error) {
    const control = this.#control;
    if (this.#field.kind === "choice") addOption(control, String(value ?? ""));
    if (this.#field.kind === "switch") control.checked = value === true;
    else if (this.#read() !== String(value ?? "")) control.value = String(value ?? "");
    this.#reset.hidden = !isChanged;
    this.element.toggleAttribute("data-changed", isChanged);
    this.element.toggleAttribute("data-wrong", Boolean(error));
    setText(this.#error, error);
    control.setAttribute("aria-invalid", String(Boolean(error)));
    control.setAttribute("aria-describedby", `${control.id}-help${error ? ` ${control.id}-error` : ""}`);
  }

  /** Move the focus to the control, and scroll to it. */
  focus() {
    this.#control.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "center" });
  }
}

function createControl({ kind, choices, isOptional }, id) {
  if (kind === "switch") return createElement("input", { type: "checkbox", id });
  if (kind === "choice") {
    const values = isOptional ? ["", ...choices] : choices;
    return createElement(
      "select",
      { id },
      ...values.map((choice) => createElement("option", { value: choice }, choice)),
    );
  }
  const mode = { whole: "numeric", number: "decimal", text: "text" }[kind];
  return createElement("input", { type: "text", inputmode: mode, id, autocomplete: "off", maxlength: "200" });
}

/** Add the value of a recipe that is none of the listed choices, such as the input encoder of a task. */
function addOption(select, value) {
  if ([...select.options].some((option) => option.value === value)) return;
  select.append(createElement("option", { value }, value));
}
