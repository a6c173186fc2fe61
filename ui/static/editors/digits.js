/** Editor: a few digits, and a chain of sums over their places. */

import { createButton, createElement, hasModifier } from "../common/dom.js";
import { pluralize } from "../common/format.js";
import { readInteger } from "../common/validate.js";
import { createBar, createNote, pickRandom } from "./editor.js";
import { describeQuestion, formatQuestion, isPlace, parseQuestion, SIGNS } from "./question.js";

const MAX_DIGITS = 16;
const MAX_OPERATIONS = 16;

class DigitsEditor {
  #onChange;
  #maxDigits;
  #maxOperations;
  #boxes;
  #places;
  #signs;
  #note = createNote();

  constructor(root, spec, onChange) {
    this.#onChange = onChange;
    this.#maxDigits = readInteger(spec.most, 1, MAX_DIGITS);
    this.#maxOperations = readInteger(spec.operations, 0, MAX_OPERATIONS);
    this.#boxes = Array.from({ length: this.#maxDigits }, (_, index) => this.#createBox(index));
    this.#places = Array.from({ length: this.#maxOperations + 1 }, (_, index) => this.#createPlace(index));
    this.#signs = Array.from({ length: this.#maxOperations }, (_, index) => this.#createSign(index));
    this.#fillRoot(root);
    this.#fill([], []);
  }

  show(value) {
    const { digits, question } = parseQuestion(value, this.#maxDigits, this.#maxOperations);
    this.#fill(digits, question);
  }

  #createBox(index) {
    return createElement("input", {
      class: "editor-digit",
      inputmode: "numeric",
      autocomplete: "off",
      maxlength: 1,
      "aria-label": `Digit ${index + 1}`,
      input: () => this.#type(index),
      focus: ({ target }) => target.select(),
      keydown: (event) => this.#moveFocus(event, index),
    });
  }

  #createPlace(index) {
    const label = index ? `Position ${index + 1} in the question` : "First position in the question";
    return createElement("select", { "aria-label": label, change: () => this.#write() });
  }

  #createSign(index) {
    const options = Object.entries(SIGNS).map(([value, text]) => new Option(text, value));
    if (index) options.unshift(new Option("\u2026", "")); // a question has one operation at least
    const attributes = { "aria-label": `Plus or minus, number ${index + 1}`, change: () => this.#write() };
    return createElement("select", attributes, ...options);
  }

  #fillRoot(root) {
    const [first, ...others] = this.#places;
    const question = [first, ...this.#signs.flatMap((sign, index) => [sign, others[index]])];
    const count = `${this.#maxDigits} ${pluralize(this.#maxDigits, "digit")}`;
    const createTitle = (text) => createElement("p", { class: "editor-title" }, text);
    root.append(
      createTitle(`Up to ${count}, shown one at a time`),
      createElement("div", { class: "editor-digits", role: "group", "aria-label": "Digits" }, ...this.#boxes),
      createTitle("Question: which positions to add or subtract"),
      createElement("div", { class: "editor-question", role: "group", "aria-label": "Question" }, ...question),
      createBar(
        createButton("Random", () => this.#randomize()),
        createButton("Clear", () => this.#change([], [])),
        this.#note,
      ),
    );
  }

  #readDigits() {
    return this.#boxes.map((box) => box.value).filter(Boolean);
  }

  /** Read the question up to the first sign that is missing. */
  #readQuestion() {
    const question = [this.#places[0].value];
    for (let index = 0; index < this.#maxOperations && this.#signs[index].value; index++) {
      question.push(this.#signs[index].value, this.#places[index + 1].value);
    }
    return question[0] ? question : [];
  }

  #type(index) {
    const box = this.#boxes[index];
    box.value = box.value.replace(/\D/g, "").slice(-1);
    if (box.value) this.#boxes[index + 1]?.focus();
    this.#write();
  }

  #moveFocus(event, index) {
    const distance = { ArrowLeft: -1, ArrowRight: 1, Backspace: this.#boxes[index].value ? 0 : -1 }[event.key];
    if (!distance || hasModifier(event)) return;
    event.preventDefault();
    this.#boxes[index + distance]?.focus();
  }

  #randomize() {
    const length = this.#maxOperations && 1 + pickRandom(this.#maxOperations);
    const pickPlace = () => String(1 + pickRandom(this.#maxDigits));
    const operations = Array.from({ length }, () => [pickRandom(2) ? "+" : "-", pickPlace()]);
    this.#change(
      this.#boxes.map(() => String(pickRandom(10))),
      [pickPlace(), ...operations.flat()],
    );
  }

  #change(digits, question) {
    this.#fill(digits, question);
    this.#write();
  }

  #fill(digits, question) {
    for (const [index, box] of this.#boxes.entries()) box.value = digits[index] ?? "";
    this.#draw(question);
  }

  #write() {
    this.#draw(this.#readQuestion());
    this.#onChange(formatQuestion(this.#readDigits(), this.#readQuestion()));
  }

  #draw(question) {
    const digits = this.#readDigits();
    for (const [index, place] of this.#places.entries()) drawPlace(place, digits, question[2 * index]);
    for (const index of this.#signs.keys()) this.#drawSign(index, digits, question[2 * index + 1] ?? "");
    this.#note.textContent = describeQuestion(digits, this.#readQuestion());
  }

  /** Offer one operation more than are chosen. */
  #drawSign(index, digits, chosen) {
    const sign = this.#signs[index];
    const isReached = index === 0 ? digits.length > 0 : Boolean(this.#signs[index - 1].value);
    const otherwise = index ? "" : "+";
    sign.value = isReached ? (Object.hasOwn(SIGNS, chosen) ? chosen : otherwise) : "";
    sign.hidden = !isReached;
    this.#places[index + 1].hidden = !sign.value;
  }
}

/** Offer the places that have a digit. */
function drawPlace(place, digits, chosen) {
  const options = digits.map((_, index) => new Option(`position ${index + 1}`, index + 1));
  place.replaceChildren(...(digits.length ? options : [new Option("no digit yet", "")]));
  place.value = isPlace(chosen, digits) ? chosen : digits.length ? "1" : "";
  place.disabled = !digits.length;
}

/** @type {import("./editor.js").CreateEditor} */
export const createDigitsEditor = (root, spec, onChange) => new DigitsEditor(root, spec, onChange);
