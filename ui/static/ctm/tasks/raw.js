/** Any sequence model without a known task: symbols as numbers in, classes as numbers out. Mirrors `training.tasks.raw`. */

import { buildAnswer, buildFloats, buildInput, buildTokens, Task } from "./task.js";
import { formatRepr, InputError, readRawText, splitItems, takeCharacters } from "./text.js";

const MAX_PARITY_LENGTH = 1024;
const PARITY_BACKBONE = "parity_backbone";
const TOKENS_PATTERN = /^tokens-([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$/;
const GRID_PATTERN = /^grid-([1-9][0-9]{0,2})x([1-9][0-9]{0,4})$/;
const NUM_GRID_WORDS = 32; // symbols that are not cells

/** Sequences of numbers, whose meaning only the author of a checkpoint knows. Mirrors `RawSequence`. */
export class RawSequence extends Task {
  name = "raw";
  title = "Raw symbols";

  get #isParity() {
    return this.settings.backbone === PARITY_BACKBONE;
  }

  get inputHint() {
    if (this.#isParity) return `up to ${MAX_PARITY_LENGTH} numbers, each 1 or -1, such as 1 -1 1`;
    const { symbols, length } = this.#limits;
    return `up to ${length} whole numbers from 0 to ${symbols - 1}, such as 0 1 1 0`;
  }

  /** Number of symbols and largest length of a sequence. */
  get #limits() {
    const { backbone } = this.settings;
    if (this.#isParity) return { symbols: 2, length: MAX_PARITY_LENGTH };
    const tokens = TOKENS_PATTERN.exec(backbone);
    if (tokens) return { symbols: Number(tokens[1]), length: Number(tokens[2]) };
    const grid = GRID_PATTERN.exec(backbone);
    if (!grid) throw new InputError(`The backbone ${formatRepr(backbone)} reads no sequence of symbols.`);
    return { symbols: Number(grid[1]) ** 2 + NUM_GRID_WORDS, length: Number(grid[2]) };
  }

  get spec() {
    const { backbone, classes, positions } = this.settings;
    return { backbone, classes, positions, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return Array.from({ length: this.settings.classes }, (_, index) => String(index));
  }

  get examples() {
    return [this.#isParity ? "1 -1 1 1" : [..."0110"].slice(0, this.#limits.length).join(" ")];
  }

  parseInput(raw) {
    const words = splitItems(readRawText(raw));
    if (!words.length) throw new InputError(`Type ${this.inputHint}.`);
    const { symbols, length } = this.#limits;
    if (words.length > length) {
      throw new InputError(`This checkpoint reads at most ${length} numbers, got ${words.length}.`);
    }
    const numbers = words.map((word) => {
      const number = /^[+-]?[0-9]{1,9}$/.test(word) ? Number(word) + 0 : Number.NaN;
      const isSymbol = this.#isParity ? Math.abs(number) === 1 : number >= 0 && number < symbols;
      if (isSymbol) return number;
      const shown = formatRepr(takeCharacters(word, 20));
      throw new InputError(`${shown} is not a symbol of this checkpoint. Type ${this.inputHint}.`);
    });
    const inputs = this.#isParity ? buildFloats(numbers, [1, numbers.length]) : buildTokens(numbers);
    return buildInput(inputs, { kind: "sequence", items: numbers.map(String) }, this.settings.positions);
  }

  formatAnswer(_input, choices) {
    const text = choices.join(" ");
    return buildAnswer(choices, text, `It answers ${choices.length === 1 ? "class" : "classes"} ${text}`);
  }
}
