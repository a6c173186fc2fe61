/** Cumulative parity: for every bit, whether the number of ones up to it is odd or even. Mirrors `training.tasks.parity`. */

import { assignSplit, joinBytes, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildAnswer, buildFloats, buildInput, buildTokens, Task } from "./task.js";
import { checkAlphabet, InputError, readRawText, splitWords } from "./text.js";

const PAD_TOKEN = 2;
const MAX_ENUMERATION_LENGTH = 16; // bits; shorter sequences are hashed as numbers
const MAX_EDITOR_LENGTH = 64;

/** Parity of all bits up to each position. Mirrors `Parity`. */
export class Parity extends Task {
  name = "parity";
  title = "Parity";
  supportsGeneration = true;
  difficultyName = "bits";
  sentencePositions = 1;

  get #usesSigns() {
    return this.settings.encoding === "signs";
  }

  get inputHint() {
    const { length } = this.settings;
    return this.#usesSigns ? `${length} bits of 0 and 1` : `1 to ${length} bits, such as 1011001`;
  }

  get inputEditor() {
    const { length } = this.settings;
    return length <= MAX_EDITOR_LENGTH ? { kind: "bits", length, fixed: this.#usesSigns } : null;
  }

  get spec() {
    const { length } = this.settings;
    const backbone = this.#usesSigns ? "parity_backbone" : `tokens-3x${length}`;
    return { backbone, classes: 2, positions: length, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return ["even", "odd"];
  }

  get examples() {
    const { length } = this.settings;
    const mixed = "0110100110010110".repeat(Math.floor(length / 16) + 1).slice(0, length);
    return [...(this.#usesSigns ? [] : ["1011"]), mixed, "1".repeat(length)];
  }

  parseInput(raw) {
    const text = splitWords(readRawText(raw).replaceAll(",", " ")).join("");
    const { length } = this.settings;
    if (!text) throw new InputError(`Type some bits: ${this.inputHint}.`);
    checkAlphabet(text, "01", "Bits are 0 and 1 only", this.inputHint);
    if (text.length > length || (this.#usesSigns && text.length < length)) {
      const limit = this.#usesSigns ? "exactly" : "at most";
      throw new InputError(`This checkpoint reads ${limit} ${length} bits, got ${text.length}.`);
    }
    const bits = Array.from(text, Number);
    const trueChoices = accumulateParity(bits);
    return buildInput(this.#encode(bits), { kind: "sequence", items: [...text] }, bits.length, { trueChoices });
  }

  #encode(bits) {
    const { length } = this.settings;
    const padded = [...bits, ...Array(length - bits.length).fill(PAD_TOKEN)];
    if (!this.#usesSigns) return buildTokens(padded);
    return buildFloats(
      padded.map((bit) => 1 - 2 * bit),
      [1, length],
    );
  }

  formatAnswer(_input, choices) {
    const label = this.labels[choices.at(-1)];
    return buildAnswer(choices, label, `The number of ones is ${label}`);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const lengths = this.#listLengths().filter((length) => difficulty === null || length === difficulty);
    if (!lengths.length) {
      if (difficulty !== null)
        throw new InputError(`There is no new input with ${difficulty} bits: choose another number.`);
      throw new InputError(
        `The split ${TEST} has no sequence of at most ${this.settings.length} bits: set task.length to 8 or more.`,
      );
    }
    const length = lengths[random.drawInteger(0, lengths.length - 1)];
    const draw = () => Array.from({ length }, () => random.drawInteger(0, 1));
    return sampleUntil(draw, isInTestSplit).join("");
  }

  /** Return the lengths of which the test split contains sequences. */
  #listLengths() {
    const { length: longest } = this.settings;
    const lengths = [];
    for (let length = this.#usesSigns ? longest : 1; length <= longest; length++) {
      if (length > MAX_ENUMERATION_LENGTH || hasTestSequence(length)) lengths.push(length);
    }
    return lengths;
  }
}

function accumulateParity(bits) {
  let parity = 0;
  return bits.map((bit) => {
    parity ^= bit;
    return parity;
  });
}

function isInTestSplit(bits) {
  if (bits.length > MAX_ENUMERATION_LENGTH) return assignSplit(joinBytes("parity", Uint8Array.from(bits))) === TEST;
  const code = bits.reduce((total, bit, index) => total + bit * 2 ** index, 0);
  return assignSplit(joinBytes(`parity ${bits.length} ${code}`)) === TEST;
}

function hasTestSequence(length) {
  for (let code = 0; code < 2 ** length; code++) {
    if (assignSplit(joinBytes(`parity ${length} ${code}`)) === TEST) return true;
  }
  return false;
}
