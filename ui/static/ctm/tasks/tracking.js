/** Tracking: a dot moves with constant velocity over a grid and bounces off its walls. Mirrors `training.tasks.tracking`. */

import { reflectPosition } from "../../common/motion.js";
import { assignSplit, joinBytes, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildAnswer, buildInput, buildTokens, Task } from "./task.js";
import { formatRepr, InputError, readRawText, splitWords, takeCharacters } from "./text.js";

const QUARTERS = ["upper left", "upper right", "lower left", "lower right"];
const MISSING_FRAME = "-";
const FURTHER = "further"; // out-of-distribution split: more frames ahead than in training

/** Position of a moving dot. Mirrors `Tracking`. */
export class Tracking extends Task {
  name = "tracking";
  title = "A moving dot";
  supportsGeneration = true;
  difficultyName = "frames ahead plus bounces";

  get inputHint() {
    const { frames } = this.settings;
    const example = ["3,4", "4,5", MISSING_FRAME, "6,7", "7,8", "8,9", "+4"].join(" ");
    return (
      `${frames} positions as row,column (use ${MISSING_FRAME} for a hidden frame), then how many frames to ` +
      `predict ahead, up to ${this.#maxInputHorizon}; for example ${example}`
    );
  }

  get inputEditor() {
    const { side, frames, max_speed: steps } = this.settings;
    return { kind: "path", side, frames, steps, ahead: this.#maxInputHorizon };
  }

  get #asksQuarter() {
    return this.settings.target === "quadrant";
  }

  get #hasFrameEncoding() {
    return this.settings.horizon_encoding === "frames";
  }

  /** Largest number of frames ahead that the model has been prepared for. */
  get #maxInputHorizon() {
    const { max_horizon: trained, ood_horizon: furthest } = this.settings;
    return this.#hasFrameEncoding ? furthest : trained;
  }

  /** Token of a hidden frame; the tokens after it ask for 0, 1, 2 ... frames ahead, or the first of them is padding. */
  get #missingToken() {
    return this.settings.side ** 2;
  }

  get #numFrames() {
    return this.settings.frames + this.settings.ood_horizon;
  }

  get spec() {
    const { side, frames, ood_horizon: furthest } = this.settings;
    const [classes, positions] = this.#asksQuarter ? [4, 1] : [side, 2];
    const length = frames + (this.#hasFrameEncoding ? furthest : 1);
    return { backbone: `grid-${side}x${length}`, classes, positions, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    if (this.#asksQuarter) return [...QUARTERS];
    return Array.from({ length: this.settings.side }, (_, index) => String(index));
  }

  get examples() {
    return [0, 1, 2].map((seed) => this.generateInput(seed));
  }

  parseInput(raw) {
    const { frames, side } = this.settings;
    const words = splitWords(readRawText(raw));
    if (!words.length) throw new InputError(`Draw a path, or type ${this.inputHint}.`);
    if (words.length !== frames + 1) {
      throw new InputError(
        `This checkpoint reads ${frames} positions and one question, ${frames + 1} words: got ${words.length}.`,
      );
    }
    const cells = words.slice(0, -1).map((word) => (word === MISSING_FRAME ? null : this.#parseCell(word)));
    if (cells.filter(Boolean).length < 2) throw new InputError("Show the dot in at least two frames.");
    const ahead = this.#parseHorizon(words.at(-1));
    const tokens = cells.map((cell) => (cell ? cell[0] * side + cell[1] : this.#missingToken));
    const inputs = buildTokens([...tokens, ...this.#encodeHorizon(ahead)]);
    const { trueChoices, shift } = this.#solve(cells, ahead);
    return buildInput(inputs, this.#buildDisplay(cells, ahead), this.spec.positions, {
      context: ahead,
      trueChoices,
      shift: shift ?? this.#findShift(ahead),
    });
  }

  /** Return the tokens after those of the shown frames. */
  #encodeHorizon(ahead) {
    if (!this.#hasFrameEncoding) return [this.#missingToken + 1 + ahead];
    const padToken = this.#missingToken + 1;
    return Array.from({ length: this.settings.ood_horizon }, (_, frame) =>
      frame < ahead ? this.#missingToken : padToken,
    );
  }

  #findShift(ahead) {
    const { max_horizon: trained } = this.settings;
    if (ahead <= trained) return null;
    const sentence = `The question asks ${ahead} frames ahead; the model was trained up to ${trained}.`;
    return { sentence, split: FURTHER };
  }

  #parseCell(word) {
    const { side } = this.settings;
    const match = /^([0-9]{1,3}),([0-9]{1,3})$/.exec(word);
    const cell = match ? [Number(match[1]), Number(match[2])] : null;
    if (!cell || Math.max(...cell) >= side) {
      throw new InputError(
        `A position is row,column with numbers from 0 to ${side - 1}, or ${MISSING_FRAME}: ` +
          `got ${formatRepr(takeCharacters(word, 20))}.`,
      );
    }
    return cell;
  }

  #parseHorizon(word) {
    const horizon = this.#maxInputHorizon;
    const match = /^\+([0-9]{1,3})$/.exec(word);
    if (!match || Number(match[1]) > horizon) {
      throw new InputError(
        `The last word says how many frames to predict ahead, +0 to +${horizon}: ` +
          `got ${formatRepr(takeCharacters(word, 20))}.`,
      );
    }
    return Number(match[1]);
  }

  /** Return the correct answer if the visible cells determine it, and else how the input differs from training. */
  #solve(cells, ahead) {
    const lines = this.#enumerateLines();
    // Rows and columns move independently of each other.
    const [rows, columns] = [0, 1].map((axis) => {
      const isMatch = (line) => cells.every((cell, frame) => !cell || line[frame] === cell[axis]);
      return new Set(lines.filter(isMatch).map((line) => line[this.settings.frames - 1 + ahead]));
    });
    const fail = (sentence) => ({ trueChoices: null, shift: { sentence, split: null } });
    if (!rows.size || !columns.size) return fail("No dot of constant speed moves through these cells.");
    const answers = new Map();
    for (const row of rows) {
      for (const column of columns) {
        const target = this.#buildTarget(row, column);
        answers.set(target.join(), target);
      }
    }
    if (answers.size > 1) return fail("The visible cells fit several motions, with different answers.");
    return { trueChoices: answers.values().next().value, shift: null };
  }

  #buildTarget(row, column) {
    if (!this.#asksQuarter) return [row, column];
    const middle = Math.floor(this.settings.side / 2);
    return [2 * Number(row >= middle) + Number(column >= middle)];
  }

  /** Return the positions of every motion along one axis, one per start and speed. Mirrors `enumerate_lines`. */
  #enumerateLines() {
    const { side, max_speed: fastest } = this.settings;
    const lines = [];
    for (let start = 0; start < side; start++) {
      for (let speed = -fastest; speed <= fastest; speed++) lines.push(this.#computeLine(start, speed));
    }
    return lines;
  }

  #computeLine(start, speed) {
    return Array.from({ length: this.#numFrames }, (_, frame) =>
      reflectPosition(start + speed * frame, this.settings.side),
    );
  }

  #buildDisplay(cells, ahead) {
    const { side, max_speed: fastest, target } = this.settings;
    const question = this.#hasFrameEncoding ? Array.from({ length: ahead }, (_, frame) => frame + 1) : [ahead];
    const items = [
      ...cells.map((cell) => (cell ? cell.join() : MISSING_FRAME)),
      ...question.map((frame) => `+${frame}`),
    ];
    const places = this.#asksQuarter ? ["quarter"] : ["row", "column"];
    return { kind: "sequence", items, places, path: { side, fastest, frames: cells, ahead, asked: target } };
  }

  formatAnswer(input, choices) {
    const ahead = input.context;
    const when = ahead ? `${ahead} frame${ahead === 1 ? "" : "s"} later` : "In the last frame";
    if (this.#asksQuarter) {
      const label = QUARTERS[choices[0]];
      return buildAnswer(label, label, `${when} it is in the ${label} quarter`);
    }
    const [row, column] = choices;
    const sentence = `${when} it is at row ${row}, column ${column}`;
    return buildAnswer([row, column], `row ${row}, column ${column}`, sentence);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const motion = sampleUntil(
      () => this.#drawMotion(random),
      (candidate) => [null, this.#measureDifficulty(candidate)].includes(difficulty) && this.#isUsable(candidate),
    );
    const words = motion.isVisible.map((isVisible, frame) =>
      isVisible ? `${motion.lines[0][frame]},${motion.lines[1][frame]}` : MISSING_FRAME,
    );
    return [...words, `+${motion.ahead}`].join(" ");
  }

  #drawMotion(random) {
    const { side, frames, max_speed: fastest, max_horizon: horizon, missing_rate: missingRate } = this.settings;
    const start = [random.drawInteger(0, side - 1), random.drawInteger(0, side - 1)];
    const velocity = [random.drawInteger(-fastest, fastest), random.drawInteger(-fastest, fastest)];
    const ahead = random.drawInteger(0, horizon);
    const isVisible = Array.from({ length: frames }, () => random.next() >= missingRate);
    return {
      start,
      velocity,
      ahead,
      isVisible,
      lines: start.map((place, axis) => this.#computeLine(place, velocity[axis])),
    };
  }

  /** Return the frames that are asked ahead, plus the bounces until then. */
  #measureDifficulty({ start, velocity, ahead }) {
    const { side, frames } = this.settings;
    const ends = start.map((place, axis) => place + velocity[axis] * (frames - 1 + ahead));
    return ends.reduce((sum, end) => sum + Math.abs(Math.floor(end / (side - 1))), ahead);
  }

  /** Return whether a motion moves, is determined by its visible frames, and belongs to the test split. */
  #isUsable({ velocity, ahead, isVisible, lines }) {
    if (!velocity.some(Boolean) || !lines.every((line) => this.#isUnique(line, isVisible))) return false;
    const content = [];
    for (let frame = 0; frame < this.settings.frames; frame++) content.push(lines[0][frame], lines[1][frame]);
    return assignSplit(joinBytes("tracking", BigInt64Array.from([...content, ahead], BigInt))) === TEST;
  }

  /** Return whether every motion along one axis through the visible cells is this one. */
  #isUnique(line, isVisible) {
    return this.#enumerateLines().every((other) => {
      const fits = isVisible.every((visible, frame) => !visible || other[frame] === line[frame]);
      return !fits || other.every((place, frame) => place === line[frame]);
    });
  }
}
