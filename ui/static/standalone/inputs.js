/** Input of the page: drawing, editor, picture or text, according to the task of the checkpoint. */

import { createButton, createElement } from "../common/dom.js";
import { findServerReason, needsServer } from "../ctm/images/pixels.js";
import { mount as mountEditor } from "../editors/index.js";
import { mount as mountSketchpad } from "../sketchpad/index.js";
import { convertToBytes, decodeDataUrl, decodePicture, encodeDataUrl } from "./pictures.js";
import { Slot } from "./slot.js";

const DECODING_NOTE = "The browser decodes this picture; in Python its colours or its size may differ slightly.";
const MAX_SEED = 2 ** 31;
/** Where the picture that runs comes from. */
const SOURCES = { picture: "picture", drawing: "drawing", editor: "editor" };

/** The input area. */
export class InputArea {
  #parts;
  #editor;
  #sketchpad;
  #task = null;
  #source = SOURCES.picture;
  #picture = null; // pixels of an example, an upload or a generated input
  #run;
  #report;

  /**
   * @param {Record<string, HTMLElement>} parts - Parts of the page.
   * @param {{run: () => void, report: (error: Error) => void}} handlers - Runs the model on the input; shows an error.
   */
  constructor(parts, { run, report }) {
    this.#parts = parts;
    this.#run = run;
    this.#report = report;
    this.#editor = new Slot(mountEditor, parts.editor, ({ content }) => this.#takeEdit(content));
    this.#sketchpad = new Slot(mountSketchpad, parts.drawing, () => {
      this.#source = SOURCES.drawing;
    });
    parts.text.addEventListener("input", () => this.#showText(parts.text.value));
    parts.file.addEventListener("change", () => this.#attempt(() => this.#openFile()));
    parts.generate.addEventListener("click", () => this.#attempt(() => this.#generate()));
  }

  /**
   * Show the inputs that a task accepts, with its first example.
   *
   * @param {import("../ctm/tasks/task.js").Task} task - The task.
   * @param {string[]} examples - Texts, or data URLs of images.
   */
  async accept(task, examples) {
    const { inputHint: hint } = task;
    const parts = this.#parts;
    this.#task = task;
    const takesText = task.inputType === "text";
    parts.hint.textContent = hint ? `${hint[0].toUpperCase()}${hint.slice(1)}.` : "";
    parts["text-field"].hidden = !takesText;
    parts["file-field"].hidden = takesText;
    parts.editor.hidden = !task.inputEditor;
    parts.drawing.hidden = !task.supportsDrawing;
    parts.generate.hidden = !task.supportsGeneration;
    parts.file.value = "";
    parts["file-note"].textContent = "";
    this.#editor.show(task.inputEditor ? { ...task.inputEditor, content: "" } : null);
    this.#sketchpad.show(null);
    this.#picture = null;
    this.#source = task.supportsDrawing ? SOURCES.drawing : SOURCES.picture;
    this.#showPreview(null);
    this.#listExamples(examples);
    if (takesText) this.#showText(examples[0] ?? "");
    else if (!task.supportsDrawing && examples.length) await this.#openPicture(await decodeDataUrl(examples[0]));
  }

  /**
   * Read the input.
   *
   * @returns {Promise<unknown>} A text, or pixels as `ImageData` holds them; null without a picture.
   */
  async read() {
    if (this.#task.inputType === "text") return this.#parts.text.value;
    if (this.#source === SOURCES.editor) return decodeDataUrl(this.#editor.value.content);
    return this.#source === SOURCES.drawing ? decodeDataUrl(this.#sketchpad.value) : this.#picture;
  }

  /**
   * Show a picture in the editor as the next input.
   *
   * @param {string} content - Data URL of the picture, as the editor writes it.
   */
  showEdit(content) {
    this.#editor.show({ ...this.#task.inputEditor, content });
    this.#source = SOURCES.editor;
  }

  #listExamples(examples) {
    const { examples: list, "examples-field": field } = this.#parts;
    const isText = this.#task.inputType === "text";
    field.hidden = !examples.length;
    const buttons = examples.map((example, index) => {
      const label = isText ? example : createElement("img", { src: example, alt: `Example ${index + 1}` });
      return createButton(label, () => this.#attempt(() => this.#openExample(example)), { class: "page-example" });
    });
    list.replaceChildren(...buttons);
  }

  async #openExample(example) {
    if (this.#task.inputType === "text") this.#showText(example);
    else await this.#openPicture(await decodeDataUrl(example));
    this.#run();
  }

  async #generate() {
    const input = this.#task.generateInput(Math.floor(Math.random() * MAX_SEED));
    if (typeof input === "string") this.#showText(input);
    else await this.#openPicture(input);
    this.#run();
  }

  async #openFile() {
    const [file] = this.#parts.file.files;
    if (!file) return;
    const pixels = await decodePicture(file);
    const isExact = !findServerReason(new Uint8Array(await file.arrayBuffer())) && !needsServer(pixels);
    this.#parts["file-note"].textContent = isExact ? "" : DECODING_NOTE;
    await this.#openPicture(pixels);
  }

  /** Show a picture as the next input, in the drawing area or the editor if there is one. */
  async #openPicture(pixels) {
    const url = encodeDataUrl(pixels);
    if (this.#task.supportsDrawing) this.#sketchpad.show(url);
    else if (this.#task.inputEditor) this.#showInEditor(pixels);
    else this.#showPreview(url);
    this.#picture = pixels;
    this.#source = SOURCES.picture;
  }

  #showPreview(url) {
    const { preview } = this.#parts;
    preview.hidden = !url;
    if (url) preview.src = url;
    else preview.removeAttribute("src");
  }

  /** Show a picture in the editor, as the task reads it. A picture that lacks a part shows the rest of it. */
  #showInEditor(pixels) {
    let display;
    try {
      ({ display } = this.#task.parseInput(pixels));
    } catch (error) {
      if (!error.display?.pixels) throw error;
      this.#report(error);
      ({ display } = error);
    }
    const content = encodeDataUrl(convertToBytes(display.pixels));
    this.#editor.show({ ...this.#task.inputEditor, content });
  }

  #showText(text) {
    const { text: field } = this.#parts;
    if (field.value !== text) field.value = text;
    if (this.#task?.inputEditor) this.#editor.show({ ...this.#task.inputEditor, content: text });
  }

  #takeEdit(content) {
    if (this.#task.inputType === "text") this.#parts.text.value = content;
    else this.#source = SOURCES.editor;
  }

  /** Do what a visitor asked for, and report why it failed. */
  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      this.#report(error);
    }
  }
}
