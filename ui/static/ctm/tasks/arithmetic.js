/** Arithmetic sequences: four numbers with a constant difference, then the fifth. Mirrors `training.tasks.arithmetic`. */

import { assignSplit, joinBytes, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildAnswer, buildInput, buildTokens, Task } from "./task.js";
import { formatRepr, InputError, readRawText, splitItems, takeCharacters } from "./text.js";

const COMPOSITIONAL = "compositional";
const EXTRAPOLATION = "extrapolation";
const NUM_INPUT_TERMS = 4;
const MIN_TYPED_TERMS = 3;
const MAX_TYPED_TERMS = 6;
const MAX_TYPED_START = 100; // held-out sequences of small numbers and steps have a split of their own
const MAX_TYPED_STEP = 10;

/** Arithmetic sequences. Mirrors `Arithmetic`. */
export class Arithmetic extends Task {
  name = "arithmetic";
  title = "Arithmetic sequences";
  supportsGeneration = true;
  difficultyName = "step between two numbers";

  get #limit() {
    return 10 ** this.settings.digits;
  }

  get inputHint() {
    return (
      `${MIN_TYPED_TERMS} to ${MAX_TYPED_TERMS} whole numbers from 0 to ${this.#limit - 1} with equal steps, ` +
      "such as 3 7 11 15"
    );
  }

  get spec() {
    const { digits, random_offset: hasBlanks } = this.settings;
    const backbone = `tokens-${hasBlanks ? 11 : 10}x${NUM_INPUT_TERMS * digits}`;
    return { backbone, classes: 10, positions: digits, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return Array.from({ length: 10 }, (_, digit) => String(digit));
  }

  get examples() {
    return ["3 7 11 15", "90 80 70 60", "128 141 154 167"];
  }

  parseInput(raw) {
    const { digits } = this.settings;
    const numbers = this.#parseNumbers(readRawText(raw));
    const { terms, notes } = this.#selectTerms(numbers);
    const steps = new Set(numbers.slice(1).map((number, index) => number - numbers[index]));
    const next = 2 * numbers.at(-1) - numbers.at(-2);
    if (steps.size === 1) this.#checkRange(next, "the next number would be");
    const items = terms.flatMap((number) => [...String(number).padStart(digits, "0")]);
    return buildInput(buildTokens(items.map(Number)), { kind: "sequence", items, group: digits, notes }, digits, {
      trueChoices: steps.size === 1 ? Array.from(String(next).padStart(digits, "0"), Number) : null,
      shift: this.#findShift(terms, steps),
    });
  }

  #parseNumbers(text) {
    const words = splitItems(text);
    if (!words.length) throw new InputError(`Type ${this.inputHint}.`);
    for (const word of words) {
      if (!/^[+-]?[0-9]{1,12}$/.test(word)) {
        const shown = formatRepr(takeCharacters(word, 20));
        throw new InputError(`${shown} is not a whole number. Type ${this.inputHint}.`);
      }
    }
    const numbers = words.map((word) => Number(word) + 0);
    if (numbers.length < MIN_TYPED_TERMS || numbers.length > MAX_TYPED_TERMS) {
      throw new InputError(
        `This checkpoint reads ${MIN_TYPED_TERMS} to ${MAX_TYPED_TERMS} numbers, got ${numbers.length}. ` +
          `Type ${this.inputHint}.`,
      );
    }
    for (const number of numbers) this.#checkRange(number, "got");
    return numbers;
  }

  #checkRange(number, what) {
    if (number < 0 || number >= this.#limit) {
      throw new InputError(
        `This checkpoint reads and predicts numbers from 0 to ${this.#limit - 1}; ${what} ${number}.`,
      );
    }
  }

  /** Return the four numbers that the model reads, and notes about them. */
  #selectTerms(numbers) {
    if (numbers.length > NUM_INPUT_TERMS) {
      return {
        terms: numbers.slice(-NUM_INPUT_TERMS),
        notes: [`The model reads the last ${NUM_INPUT_TERMS} numbers.`],
      };
    }
    if (numbers.length === NUM_INPUT_TERMS) return { terms: numbers, notes: [] };
    const previous = 2 * numbers[0] - numbers[1];
    if (previous < 0 || previous >= this.#limit) {
      throw new InputError(
        `The model reads ${NUM_INPUT_TERMS} numbers, and the one before ${numbers[0]} would be ${previous}, which it ` +
          "cannot read: type one more number at the end.",
      );
    }
    const note = `The model reads ${NUM_INPUT_TERMS} numbers, so it is given ${previous} before yours.`;
    return { terms: [previous, ...numbers], notes: [note] };
  }

  #findShift(terms, steps) {
    if (steps.size > 1) {
      return { sentence: "The steps between the numbers are not equal; in training they are.", split: null };
    }
    const [start, difference] = [terms[0], terms[1] - terms[0]];
    const { trained_difference: trained, largest_difference: largest } = this.settings;
    if (Math.abs(difference) > Math.min(trained, largest)) {
      const sentence = `The step is larger than ${trained}, the largest one in training.`;
      return { sentence, split: EXTRAPOLATION };
    }
    if (!isCompositional(start, difference)) return null;
    const sentence = "Sequences with this first digit and this step were left out of training.";
    return { sentence, split: COMPOSITIONAL };
  }

  formatAnswer(_input, choices) {
    const number = Number(choices.join(""));
    return buildAnswer(number, String(number), `Next comes ${number}`);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const { largest_difference: largest } = this.settings;
    const draw = () => ({
      start: random.drawInteger(0, this.#limit - 1),
      difference: random.drawInteger(-largest, largest),
    });
    const hasDifficulty = (pair) => difficulty === null || Math.abs(pair.difference) === difficulty;
    const { start, difference } = sampleUntil(draw, (pair) => hasDifficulty(pair) && this.#isInTestSplit(pair));
    return Array.from({ length: NUM_INPUT_TERMS }, (_, index) => start + index * difference).join(" ");
  }

  #isInTestSplit({ start, difference }) {
    const [last, step] = [start + NUM_INPUT_TERMS * difference, Math.abs(difference)];
    if (last < 0 || last >= this.#limit || step > this.settings.trained_difference) return false;
    if (isCompositional(start, difference)) return false;
    if (start <= MAX_TYPED_START && step >= 1 && step <= MAX_TYPED_STEP) return false;
    return assignSplit(joinBytes(`arithmetic ${start} ${difference}`)) === TEST;
  }
}

/** Return whether a sequence belongs to the split of pairs of first digit and step that are left out of training. */
function isCompositional(start, difference) {
  return (start + 7 * difference) % 10 === 0;
}
