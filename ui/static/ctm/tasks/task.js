/**
 * The interface of a task: what a model needs of an input, and what its classes mean.
 *
 * Mirrors `training.tasks.base` and `training.tasks.samples`.
 *
 * A module of this directory defines one subclass of `Task`; `registry.js` builds it from `task.json`. A caller parses an input,
 * runs the model on `inputs`, chooses a class per position at every tick, and asks the task for the answer:
 *
 *     const task = buildTask(metadata, config);
 *     const input = task.parseInput(raw);
 *     const answers = task.decode(choicesByTick);
 *     const answer = task.formatAnswer(input, answers[tick]);
 *
 * @typedef {object} InputTensor
 * @property {"int64" | "float32"} type - Type of the values in Python; `Int32Array` holds the tokens of "int64".
 * @property {Int32Array | Float32Array} data - Values in C order.
 * @property {number[]} shape - Shape, with one row first.
 *
 * @typedef {object} Pixels
 * @property {Float32Array} data - Values in [0, 1], rows first, channels last.
 * @property {number} width - Pixels per row.
 * @property {number} height - Rows.
 * @property {number} channels - 1 (grey) or 3 (RGB).
 *
 * @typedef {object} Display
 * @property {"sequence" | "picture"} kind - What the page draws. A sequence has `items`, a picture has `pixels`.
 * @property {string[]} [items] - Symbols of a sequence.
 * @property {Pixels} [pixels] - Pixels of a picture.
 * @property {string[]} [notes] - What is doubtful, as sentences. Other keys are those of the task in Python.
 *
 * @typedef {object} Shift
 * @property {string} sentence - How the input differs from all training samples.
 * @property {string | null} split - Held-out split whose samples differ in the same way, or null.
 *
 * @typedef {object} TaskInput
 * @property {InputTensor} inputs - Model input with one row.
 * @property {Display} display - Input as the page shows it.
 * @property {number} positions - Number of answer positions that count.
 * @property {unknown} context - Data of the input that `formatAnswer` needs, such as the maze.
 * @property {number[] | null} trueChoices - Correct class of every position that counts, or the labels of a CTC answer in order;
 *   null if the correct answer cannot be computed from the input.
 * @property {Shift | null} shift - How the input differs from the training samples; null if it does not, as far as is known.
 *
 * @typedef {object} TaskAnswer
 * @property {unknown} value - Answer as JSON data.
 * @property {string} label - Short text.
 * @property {string} sentence - Sentence without the final period.
 * @property {number[][] | null} route - Path in the displayed image, [row, column] after every step; null if it is no path.
 *
 * @typedef {object} TaskSpec
 * @property {string} backbone - Backbone type of the input encoder.
 * @property {number} classes - Classes per answer position.
 * @property {number} positions - Answer positions.
 * @property {number | null} scoredPositions - Number of last positions that decide whether an answer is correct; null for all.
 * @property {number | null} ctcLength - Length of a CTC answer, whose last class is the blank; null for a per-tick answer.
 */

import { InputError } from "./text.js";

/** Base class of tasks. */
export class Task {
  /** Name in `task.json`. */
  name = "";
  /** Name on the page. */
  title = "";
  /** @type {"image" | "text"} What `parseInput` reads: a text, or pixels as `ImageData` holds them. */
  inputType = "text";
  /** Whether the page accepts a drawing as input. */
  supportsDrawing = false;
  /** Whether `generateInput` is implemented. */
  supportsGeneration = false;
  /** @type {string | null} What the difficulty of an input counts; null if `generateInput` takes no difficulty. */
  difficultyName = null;
  /** Whether users give photos or drawings, whose familiarity only the features of the model can tell. */
  hasNaturalInputs = false;
  /** Whether the sentence of an answer says whether the answer is correct. */
  statesResult = false;
  /** @type {number | null} Number of last positions that the sentence of an answer is about; null for all. */
  sentencePositions = null;

  /** @param {Record<string, any>} settings - Settings under their current names, complete. */
  constructor(settings) {
    this.settings = settings;
  }

  /** @returns {string} One line that describes a valid input. */
  get inputHint() {
    return "";
  }

  /** @returns {Record<string, unknown> | null} Kind and sizes of the editor for the input, or null. */
  get inputEditor() {
    return null;
  }

  /** @returns {TaskSpec} Requirements on the model. */
  get spec() {
    throw new Error("A task has a specification.");
  }

  /** @returns {string[]} Names of the classes, in class order. */
  get labels() {
    return [];
  }

  /** @returns {string[]} Example texts for the page; the page brings its own example images. */
  get examples() {
    return [];
  }

  /**
   * Parse the input of a visitor.
   *
   * @param {unknown} _raw - A text, or pixels as `ImageData` holds them: width, height, and RGBA bytes in `data`.
   * @returns {TaskInput} Model input with one row, and the data that the page displays.
   * @throws {InputError} The input is invalid; one sentence says what is wrong, what was received and what to do.
   */
  parseInput(_raw) {
    throw new Error("A task parses inputs.");
  }

  /**
   * Convert the classes that the model chose into an answer.
   *
   * @param {TaskInput} _input - The parsed input.
   * @param {number[]} _choices - Class of every position that counts, or the labels of a CTC answer in order.
   * @returns {TaskAnswer} The answer, as data and as text.
   */
  formatAnswer(_input, _choices) {
    throw new Error("A task formats answers.");
  }

  /**
   * Return whether what the sentence of an answer says is correct. Mirrors `Task.is_correct`.
   *
   * @param {TaskInput} input - The parsed input.
   * @param {number[]} choices - Class of every position that counts, or the labels of a CTC answer in order.
   * @returns {boolean | null} Whether it is; null if the correct answer is not known.
   */
  isCorrect(input, choices) {
    if (input.trueChoices === null) return null;
    const first = this.sentencePositions === null ? 0 : -this.sentencePositions;
    const [given, expected] = [choices.slice(first), input.trueChoices.slice(first)];
    return given.length === expected.length && given.every((choice, index) => choice === expected[index]);
  }

  /**
   * Return the answer at each tick. Mirrors `training.decoding`.
   *
   * @param {number[][]} choicesByTick - Class of every position that counts, per tick.
   * @returns {number[][]} The choices themselves, or the labels that a CTC answer has emitted up to each tick.
   */
  decode(choicesByTick) {
    const { ctcLength } = this.spec;
    return ctcLength === null ? choicesByTick.map((choices) => [...choices]) : decodeCtc(choicesByTick, ctcLength);
  }

  /**
   * Generate a new input, from the same distribution as in Python but with other random numbers.
   *
   * @param {number} _seed - Seed.
   * @param {number | null} [_difficulty] - Wanted difficulty, see `difficultyName`; null for any.
   * @returns {unknown} A text, or pixels as `ImageData` holds them.
   * @throws {InputError} The task does not support generation.
   */
  generateInput(_seed, _difficulty = null) {
    throw new InputError(`The task ${this.name} generates no inputs: enter one.`);
  }
}

/**
 * Return the labels that a CTC answer has emitted up to each tick. Mirrors `CTCDecoder.decode`.
 *
 * @param {number[][]} choicesByTick - Chosen class per tick, as a list of one.
 * @param {number} blank - Class that emits nothing; labels are the classes below it.
 * @returns {number[][]} The labels; equal labels at consecutive ticks are one emission.
 */
export function decodeCtc(choicesByTick, blank) {
  const emitted = [];
  let previous = blank;
  return choicesByTick.map(([choice]) => {
    if (choice < blank && choice !== previous) emitted.push(choice);
    previous = choice;
    return [...emitted];
  });
}

/**
 * Build an input tensor of tokens with one row.
 *
 * @param {number[]} tokens - The tokens.
 * @returns {InputTensor} Tensor of shape (1, n).
 */
export function buildTokens(tokens) {
  return { type: "int64", data: Int32Array.from(tokens), shape: [1, tokens.length] };
}

/**
 * Build an input tensor of numbers with one row.
 *
 * @param {ArrayLike<number>} values - The values in C order.
 * @param {number[]} shape - Shape, with one row first.
 * @returns {InputTensor} The tensor.
 */
export function buildFloats(values, shape) {
  return { type: "float32", data: Float32Array.from(values), shape };
}

/**
 * Build a parsed input; what is not given has the defaults of `TaskInput` in Python.
 *
 * @param {InputTensor} inputs - Model input.
 * @param {Display} display - Input as the page shows it.
 * @param {number} positions - Number of answer positions that count.
 * @param {{context?: unknown, trueChoices?: number[] | null, shift?: Shift | null}} [rest] - The rest.
 * @returns {TaskInput} The parsed input.
 */
export function buildInput(inputs, display, positions, { context = null, trueChoices = null, shift = null } = {}) {
  return { inputs, display, positions, context, trueChoices, shift };
}

/**
 * Build an answer that is no path.
 *
 * @param {unknown} value - Answer as JSON data.
 * @param {string} label - Short text.
 * @param {string} sentence - Sentence without the final period.
 * @returns {TaskAnswer} The answer.
 */
export function buildAnswer(value, label, sentence) {
  return { value, label, sentence, route: null };
}
