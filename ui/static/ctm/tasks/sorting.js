/** Sorting: the model emits the positions of numbers, the smallest number first (CTC). Mirrors `training.tasks.sorting`. */

import { assignSplit, joinBytes, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildAnswer, buildFloats, buildInput, Task } from "./task.js";
import { formatRepr, InputError, readRawText, splitItems, takeCharacters } from "./text.js";

const NUMBER_PATTERN = /^[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})$/;

/** Sorting with CTC answers. Mirrors `Sorting`. */
export class Sorting extends Task {
  name = "sorting";
  title = "Sorting";
  supportsGeneration = true;
  difficultyName = "closeness of the two closest numbers";

  get inputHint() {
    return `${this.settings.count} different numbers with spaces between them, such as 3 -1.5 40`;
  }

  get spec() {
    const { count } = this.settings;
    return { backbone: "none", classes: count + 1, positions: 1, scoredPositions: null, ctcLength: count };
  }

  get labels() {
    return [...Array.from({ length: this.settings.count }, (_, index) => `number ${index + 1}`), "(blank)"];
  }

  get examples() {
    return [this.generateInput(0), this.generateInput(1)];
  }

  parseInput(raw) {
    const { count, min_gap: minGap } = this.settings;
    const words = splitItems(readRawText(raw));
    if (!words.length) throw new InputError(`Type ${this.inputHint}.`);
    const invalid = words.find((word) => !NUMBER_PATTERN.test(word));
    if (invalid !== undefined) {
      const shown = formatRepr(takeCharacters(invalid, 20));
      throw new InputError(`${shown} is not a number that can be read. Type ${this.inputHint}.`);
    }
    if (words.length !== count) {
      throw new InputError(`This checkpoint sorts exactly ${count} numbers, got ${words.length}.`);
    }
    const numbers = words.map(Number);
    if (new Set(numbers).size < count) {
      throw new InputError(`Two numbers are equal. All ${count} numbers must differ.`);
    }
    const inputs = buildFloats(standardise(numbers), [1, count]);
    const isNarrow = computeMinGap(inputs.data) < minGap;
    const sentence = "Two of the numbers are closer to each other than any in the training lists.";
    return buildInput(inputs, { kind: "sequence", items: words, numbers }, 1, {
      context: words,
      trueChoices: words.map((_, index) => index).sort((a, b) => numbers[a] - numbers[b]),
      shift: isNarrow ? { sentence, split: null } : null,
    });
  }

  formatAnswer(input, choices) {
    const words = input.context;
    const emitted = choices.map((choice) => words[choice]);
    const text = emitted.join(" ");
    const hasRepeats = new Set(choices).size < choices.length;
    if (!hasRepeats && choices.length === words.length) return buildAnswer(emitted, text, `In order: ${text}`);
    if (!emitted.length) {
      return buildAnswer(emitted, `0 of ${words.length} numbers`, "It output none of the numbers");
    }
    if (hasRepeats) {
      return buildAnswer(emitted, "some numbers twice", `It output some numbers more than once: ${text}`);
    }
    const sentence = `It output only ${emitted.length} of the ${words.length} numbers: ${text}`;
    return buildAnswer(emitted, `${emitted.length} of ${words.length} numbers`, sentence);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const { count, min_gap: minGap } = this.settings;
    const draw = () => Float32Array.from({ length: count }, () => random.drawNormal());
    const isInTestSplit = (numbers) =>
      computeMinGap(numbers) >= minGap &&
      [null, -Math.floor(Math.log2(computeMinGap(numbers)))].includes(difficulty) &&
      assignSplit(joinBytes("sorting", numbers)) === TEST;
    const numbers = sampleUntil(draw, isInTestSplit);
    return Array.from(numbers, (number) => (Math.round(number * 100) / 100 + 0).toFixed(2)).join(" ");
  }
}

/** Scale numbers to mean 0 and standard deviation 1 (of a sample, as in PyTorch). */
function standardise(numbers) {
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const variance = numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0) / (numbers.length - 1);
  return numbers.map((number) => (number - mean) / Math.sqrt(variance));
}

/** Return the smallest difference between two numbers in float32. Mirrors `compute_min_gap`. */
function computeMinGap(numbers) {
  const ordered = Float32Array.from(numbers).sort();
  let gap = Number.POSITIVE_INFINITY;
  for (let index = 1; index < ordered.length; index++) {
    gap = Math.min(gap, Math.fround(ordered[index] - ordered[index - 1]));
  }
  return gap;
}
