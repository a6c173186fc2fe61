/** Chains of operations on digits, evaluated from left to right, modulo 10. Mirrors `training.tasks.chain`. */

import { assignSplit, joinBytes, LONGER, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildAnswer, buildInput, buildTokens, Task } from "./task.js";
import { checkAlphabet, formatRepr, InputError, readRawText, splitWords, takeCharacters } from "./text.js";

const OPERATORS = "+-*";
const BASE = 10;
const PAD_TOKEN = BASE + OPERATORS.length;

/** Chains of operations modulo 10. Mirrors `Chain`. */
export class Chain extends Task {
  name = "chain";
  title = "Chains of sums";
  supportsGeneration = true;
  difficultyName = "operations";
  sentencePositions = 1;

  get inputHint() {
    return (
      `digits with + - * between them, evaluated from left to right, modulo ${BASE}, such as 3+4*2-1; ` +
      `up to ${this.#maxInputOperations} operations`
    );
  }

  /** Operations of the longest chain that the model has been prepared for. */
  get #maxInputOperations() {
    const { max_operations: trained, ood_max_operations: longest, random_offset: isShifted } = this.settings;
    return isShifted ? longest : trained;
  }

  get #length() {
    return 2 * this.settings.ood_max_operations + 1;
  }

  get spec() {
    const positions = this.settings.ood_max_operations + 1;
    const backbone = `tokens-${PAD_TOKEN + 1}x${this.#length}`;
    return { backbone, classes: BASE, positions, scoredPositions: 1, ctcLength: null };
  }

  get labels() {
    return Array.from({ length: BASE }, (_, digit) => String(digit));
  }

  get examples() {
    const count = 1 + Math.min(2, Math.floor((this.settings.max_operations + 1) / 3));
    return ["3+4", "3+4*2-1", "9*9*9*9*9*9"].slice(0, count);
  }

  parseInput(raw) {
    const maxOperations = this.#maxInputOperations;
    const text = splitWords(readRawText(raw))
      .join("")
      .replace(/[\u00d7\u2217]/g, "*")
      .replaceAll("\u2212", "-");
    if (!text) throw new InputError(`Type a chain: ${this.inputHint}.`);
    checkAlphabet(text, `0123456789${OPERATORS}`, "A chain has only digits and + - *", this.inputHint);
    if (!/^[0-9]([-+*][0-9])*$/.test(text)) {
      const shown = formatRepr(takeCharacters(text, 20));
      throw new InputError(`Digits and operations must take turns, got ${shown}. Type ${this.inputHint}.`);
    }
    const operations = Math.floor(text.length / 2);
    if (operations > maxOperations) {
      throw new InputError(`This checkpoint reads at most ${maxOperations} operations, got ${operations}.`);
    }
    const tokens = Array.from(text, (symbol) =>
      OPERATORS.includes(symbol) ? BASE + OPERATORS.indexOf(symbol) : Number(symbol),
    );
    const display = { kind: "sequence", items: [...text], places: text.match(/\D?\d/g) };
    return buildInput(buildTokens(padChain(tokens, this.#length)), display, operations + 1, {
      context: text,
      trueChoices: computeValues(tokens),
      shift: this.#findShift(operations),
    });
  }

  #findShift(operations) {
    const { max_operations: maxOperations } = this.settings;
    if (operations <= maxOperations) return null;
    const sentence = `The chain has ${operations} operations; the model was trained up to ${maxOperations}.`;
    return { sentence, split: LONGER };
  }

  formatAnswer(input, choices) {
    const chain = input.context;
    // Without the reminder, a visitor who knows operator precedence takes 3 + 4 * 2 = 4 (mod 10) for an error.
    const order = chain.length > 3 ? ", from left to right" : "";
    const result = String(choices.at(-1));
    return buildAnswer(choices, result, `${[...chain].join(" ")} = ${result} (mod ${BASE}${order})`);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const draw = () => {
      const operations = difficulty ?? random.drawInteger(1, this.settings.max_operations);
      return Array.from({ length: 2 * operations + 1 }, (_, index) =>
        index % 2 ? BASE + random.drawInteger(0, OPERATORS.length - 1) : random.drawInteger(0, BASE - 1),
      );
    };
    const isInTestSplit = (tokens) => {
      const row = BigInt64Array.from(padChain(tokens, this.#length), BigInt);
      return assignSplit(joinBytes("chain", row)) === TEST;
    };
    const symbols = [...this.labels, ...OPERATORS];
    return sampleUntil(draw, isInTestSplit)
      .map((token) => symbols[token])
      .join("");
  }
}

function padChain(tokens, length) {
  return [...tokens, ...Array(length - tokens.length).fill(PAD_TOKEN)];
}

/** Return the value after every number. Mirrors `compute_values`. */
function computeValues(tokens) {
  const values = [tokens[0]];
  for (let index = 1; index < tokens.length; index += 2) {
    const [last, digit] = [values.at(-1), tokens[index + 1]];
    const results = [last + digit, last - digit + BASE, last * digit];
    values.push(results[tokens[index] - BASE] % BASE);
  }
  return values;
}
