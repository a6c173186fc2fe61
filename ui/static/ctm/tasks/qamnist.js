/** Questions about digits (Q&A-MNIST). Mirrors `training.tasks.qamnist`. */

import { clip, fround } from "../images/plane.js";
import { resizePlane } from "../images/resample.js";
import { MNIST_MEAN, MNIST_STD, normaliseMnist } from "./digits.js";
import { RandomSource } from "./splits.js";
import { buildAnswer, buildInput, Task } from "./task.js";
import { formatRepr, InputError, readRawText, splitWords, strip, takeCharacters } from "./text.js";

const BASE = 10;
const MNIST_SIZE = 28;
const IMAGE_SIZE = 32;
const MAX_QUESTION_CHARS = 100;
const OPERATORS = { "+": -1, "-": -2 }; // codes of frames, see `ctm.modules.input_schedule`
const [IMAGE_CODE, EMPTY_CODE] = [-3, -4];

/**
 * Test images of MNIST, of which the task displays one for every digit.
 *
 * @typedef {object} DigitImages
 * @property {Uint8Array} labels - Digit of each image.
 * @property {Uint8Array} pixels - Images of 28 x 28 bytes, one after the other.
 */

/**
 * Read test images from one file: the labels of all images, then their pixels.
 *
 * @param {Uint8Array} content - Content of the file, 785 bytes per image.
 * @returns {DigitImages} The images.
 * @throws {InputError} The content has another length.
 */
export function readDigitImages(content) {
  const count = content.length / (1 + MNIST_SIZE ** 2);
  if (!count || !Number.isInteger(count)) throw new InputError("The images of digits are missing. Reload the page.");
  return { labels: content.subarray(0, count), pixels: content.subarray(count) };
}

/** Sums of remembered digits. Mirrors `Qamnist`. */
export class Qamnist extends Task {
  name = "qamnist";
  title = "Questions on digits";
  supportsGeneration = true;
  difficultyName = "operations";
  #images;

  /**
   * @param {Record<string, any>} settings - Settings under their current names.
   * @param {DigitImages | null} images - Test images; without them, the task parses no input.
   */
  constructor(settings, images) {
    super(settings);
    this.#images = images;
  }

  get inputHint() {
    const { digits, operations } = this.settings;
    return (
      `up to ${digits} digits, a colon, then a sum that refers to them by position, up to ${operations} operations; ` +
      `for example ${this.examples[0]}`
    );
  }

  get inputEditor() {
    return { kind: "digits", most: this.settings.digits, operations: this.settings.operations };
  }

  get spec() {
    return { backbone: "qamnist_backbone", classes: BASE, positions: 1, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return Array.from({ length: BASE }, (_, digit) => String(digit));
  }

  get examples() {
    const { digits, operations } = this.settings;
    return ["3 7 5 : 1 + 3 - 2", "8 4 : 2 - 1", "9 : 1 + 1 + 1", "6 : 1 + 1"].filter((text) => {
      const [before] = text.split(":");
      return splitWords(before).length <= digits && text.match(/[+-]/g).length <= operations;
    });
  }

  parseInput(raw) {
    const text = splitWords(readRawText(raw).replaceAll("\u2212", "-")).join(" ");
    if (!text) throw new InputError(`Type ${this.inputHint}.`);
    const { digits, question } = this.#splitText(text);
    const { positions, operators } = this.#parseQuestion(question, digits.length);
    if (!this.#images) throw new InputError("The images of digits are missing. Reload the page.");
    const parts = [positions[0] - 1];
    for (const [index, operator] of operators.entries()) parts.push(OPERATORS[operator], positions[index + 1] - 1);
    const images = digits.map((digit, index) => this.#selectImage(digit, `${text} ${index}`));
    const phases = this.#buildPhases(digits.length, operators, positions);
    const listening = phases.at(-1).from - 1;
    const values = positions.map((position) => digits[position - 1]);
    const result = values.reduce((sum, value, index) => sum + (operators[index - 1] === "-" ? -value : value), 0);
    return buildInput(
      this.#buildFrames(images, parts),
      { kind: "picture", pixels: joinImages(images), phases, listening },
      1,
      {
        context: values.map((value, index) => (index ? ` ${operators[index - 1]} ${value}` : String(value))).join(""),
        trueChoices: [((result % BASE) + BASE) % BASE],
      },
    );
  }

  /** Return the digits before the colon, and the text of the question after it. */
  #splitText(text) {
    const colon = text.indexOf(":");
    const words = splitWords(colon < 0 ? text : text.slice(0, colon));
    const digits = words.filter((word) => /^[0-9]$/.test(word)).map(Number);
    if (colon < 0 || !digits.length || digits.length !== words.length) {
      throw new InputError(
        "Type single digits with spaces between them, then a colon and the question: " +
          `got ${formatRepr(takeCharacters(text, 30))}.`,
      );
    }
    if (digits.length > this.settings.digits) {
      throw new InputError(`This checkpoint reads at most ${this.settings.digits} digits, got ${digits.length}.`);
    }
    return { digits, question: text.slice(colon + 1) };
  }

  /** Return the positions, counted from 1, and the operators between them. */
  #parseQuestion(question, numDigits) {
    const compact = splitWords(question).join("");
    if (!/^[0-9]+([+-][0-9]+)*$/.test(compact) || compact.length > MAX_QUESTION_CHARS) {
      const shown = formatRepr(takeCharacters(strip(question), 30));
      throw new InputError(`The question is a sum of positions, such as 1 + 2 - 1: got ${shown}.`);
    }
    const positions = compact.split(/[+-]/).map(BigInt);
    const operators = compact.match(/[+-]/g) ?? [];
    const { operations } = this.settings;
    if (operators.length < 1 || operators.length > operations) {
      throw new InputError(
        `This checkpoint reads questions with 1 to ${operations} operations, got ${operators.length}.`,
      );
    }
    const invalid = positions.find((position) => position < 1n || position > BigInt(numDigits));
    if (invalid !== undefined) {
      throw new InputError(
        `The question refers to digit ${invalid}, but there are only ${numDigits}; the first digit is 1.`,
      );
    }
    return { positions: positions.map(Number), operators };
  }

  /** Return a normalised test image of a digit, 32 x 32; the content selects it. */
  #selectImage(digit, content) {
    const { labels, pixels } = this.#images;
    const rows = Array.from(labels.keys()).filter((row) => labels[row] === digit);
    const start = rows[computeCrc32(content) % rows.length] * MNIST_SIZE ** 2;
    const bytes = pixels.subarray(start, start + MNIST_SIZE ** 2);
    const image = { data: Float32Array.from(bytes, (value) => value / 255), width: MNIST_SIZE, height: MNIST_SIZE };
    return resizePlane(image, IMAGE_SIZE, IMAGE_SIZE, "bilinear").data.map(normaliseMnist);
  }

  /** Return the frames of one sample: a code, then the pixels. Mirrors `pack_frames`. */
  #buildFrames(images, parts) {
    const count = this.settings.digits + 2 * this.settings.operations + 1;
    const size = 1 + IMAGE_SIZE ** 2;
    const data = new Float32Array(count * size);
    for (let frame = 0; frame < count; frame++) data[frame * size] = EMPTY_CODE;
    for (const [frame, image] of images.entries()) data.set([IMAGE_CODE, ...image], frame * size);
    for (const [index, code] of parts.entries()) data[(images.length + index) * size] = code;
    return { type: "float32", data, shape: [1, count, size] };
  }

  /** Return the first and last tick, counted from 1, of every phase of the input. */
  #buildPhases(numDigits, operators, positions) {
    const { per_digit: perDigit, per_part: perPart, answering } = this.settings;
    const steps = Array.from({ length: numDigits }, (_, index) => [`digit ${index + 1}`, perDigit, { picture: index }]);
    steps.push([`place ${positions[0]}`, perPart, {}]);
    for (const [index, sign] of operators.entries()) {
      steps.push([sign, perPart, {}], [`place ${positions[index + 1]}`, perPart, {}]);
    }
    steps.push(["answer", answering, {}]);
    let tick = 1;
    return steps.map(([name, ticks, image]) => {
      const phase = { name, from: tick, until: tick + ticks - 1, ...image };
      tick += ticks;
      return phase;
    });
  }

  formatAnswer(input, [result]) {
    return buildAnswer(result, String(result), `${input.context} = ${result} (mod ${BASE})`);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const count = random.drawInteger(1, this.settings.digits);
    const digits = Array.from({ length: count }, () => random.drawInteger(0, 9));
    let question = String(random.drawInteger(1, count));
    const operations = difficulty ?? random.drawInteger(1, this.settings.operations);
    for (let index = 0; index < operations; index++) {
      question += ` ${"+-"[random.drawInteger(0, 1)]} ${random.drawInteger(1, count)}`;
    }
    return `${digits.join(" ")} : ${question}`;
  }
}

/** Return normalised images side by side in [0, 1]. */
function joinImages(images) {
  const width = images.length * IMAGE_SIZE;
  const data = new Float32Array(width * IMAGE_SIZE);
  images.forEach((image, index) => {
    image.forEach((value, place) => {
      const target = Math.floor(place / IMAGE_SIZE) * width + index * IMAGE_SIZE + (place % IMAGE_SIZE);
      data[target] = clip(fround(fround(value * MNIST_STD) + MNIST_MEAN), 0, 1);
    });
  });
  return { data, width, height: IMAGE_SIZE, channels: 1 };
}

/** Return the CRC-32 checksum of a text as UTF-8. Mirrors `zlib.crc32`. */
function computeCrc32(text) {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
