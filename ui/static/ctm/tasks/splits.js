/** Assign samples to splits by a hash of their content, and draw random samples. Mirrors `training.tasks.splits`. */

import { hashBlake2b } from "./blake2b.js";
import { InputError } from "./text.js";

/** Name of the split that generated inputs belong to. */
export const TEST = "test";
/** Name of the split of inputs that are longer than any training input. */
export const LONGER = "longer";

const CUMULATIVE_SPLIT_PERCENT = [
  [80, "train"],
  [85, "validation"],
  [90, "calibration"],
  [100, TEST],
];
const MAX_ATTEMPTS = 100_000; // of ten samples, one belongs to the test split
const encoder = new TextEncoder();

/**
 * Return the split of a sample: 80 % train, 5 % validation, 5 % calibration, 10 % test. Mirrors `assign_split`.
 *
 * @param {Uint8Array} content - Content of the sample.
 * @returns {string} Name of the split.
 */
export function assignSplit(content) {
  let percent = 0;
  for (const byte of hashBlake2b(content, 8)) percent = (percent * 256 + byte) % 100;
  return CUMULATIVE_SPLIT_PERCENT.find(([bound]) => percent < bound)[1];
}

/**
 * Join texts and arrays to the content that is hashed.
 *
 * @param {...(string | ArrayBufferView)} parts - Texts as UTF-8, arrays as the bytes in memory, which are little-endian.
 * @returns {Uint8Array} All bytes.
 */
export function joinBytes(...parts) {
  const pieces = parts.map((part) =>
    typeof part === "string" ? encoder.encode(part) : new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
  );
  const bytes = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return bytes;
}

/**
 * Draw candidates until one is accepted.
 *
 * @template T
 * @param {() => T} draw - Returns a candidate.
 * @param {(candidate: T) => boolean} isAccepted - Whether a candidate is what is wanted.
 * @returns {T} The first accepted candidate.
 * @throws {InputError} None of `MAX_ATTEMPTS` candidates is accepted: the settings leave no such sample.
 */
export function sampleUntil(draw, isAccepted) {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const candidate = draw();
    if (isAccepted(candidate)) return candidate;
  }
  throw new InputError("The settings of this task leave too few inputs to draw a new one: enter one.");
}

/** Source of random numbers that depend on a seed alone (mulberry32). */
export class RandomSource {
  #state;

  /** @param {number} seed - Seed, an integer. */
  constructor(seed) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  }

  /** @returns {number} A number in [0, 1) with 32 random bits. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /**
   * Draw an integer uniformly.
   *
   * @param {number} low - Smallest value.
   * @param {number} high - Largest value.
   * @returns {number} The integer.
   */
  drawInteger(low, high) {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** @returns {number} A number of the standard normal distribution (Box-Muller). */
  drawNormal() {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}
