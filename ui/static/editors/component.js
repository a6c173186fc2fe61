/** An editor, chosen by the component's value: it names the kind and the sizes, and contains the current input in `content`. */

import { findParts } from "../common/dom.js";
import { readObject } from "../common/validate.js";
import { createBitsEditor } from "./bits.js";
import { createDigitsEditor } from "./digits.js";
import { createMazeEditor } from "./maze.js";
import { EchoFilter } from "./sync.js";
import { createTrajectoryEditor } from "./trajectory.js";

/** Editors by kind. @type {Record<string, import("./editor.js").CreateEditor>} */
const EDITORS = {
  bits: createBitsEditor,
  path: createTrajectoryEditor,
  maze: createMazeEditor,
  digits: createDigitsEditor,
};

/** One mounted component. */
export class EditorComponent {
  #props;
  #trigger;
  #root;
  #editor = null;
  #specVersion = null; // kind and sizes of the editor that is there, as text
  #echoes = new EchoFilter();

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#root = findParts(element, "editor").root;
  }

  /** Show the current value. Another kind or size replaces the editor. */
  receive() {
    const { content, ...spec } = readObject(this.#props.value);
    const version = JSON.stringify(spec);
    if (version !== this.#specVersion) {
      this.#specVersion = version;
      this.#replaceEditor(spec);
    }
    const text = typeof content === "string" ? content : "";
    if (this.#echoes.receive(text)) this.#editor?.show(text);
  }

  #replaceEditor(spec) {
    this.#echoes.reset();
    this.#root.replaceChildren();
    const create = Object.hasOwn(EDITORS, spec.kind) ? EDITORS[spec.kind] : null;
    this.#editor = create?.(this.#root, spec, (text) => this.#send(text)) ?? null;
    this.#root.hidden = !this.#editor;
  }

  #send(text) {
    if (!this.#echoes.send(text)) return;
    this.#props.value = { ...this.#props.value, content: text };
    this.#trigger("input");
  }
}
