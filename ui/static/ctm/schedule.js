/**
 * Input schedule: images, then question tokens, then answer ticks (published Q&A-MNIST model). Mirrors
 * `ctm.modules.input_schedule`.
 *
 * A row is a list of frames, one per image or question token: a code, then 32 x 32 pixels.
 */

import { MAX_TICKS } from "./config.js";
import { formatThousands } from "./python-format.js";

const NUM_INDICES = 50;
const IMAGE_SIZE = 32;
const FRAME_SIZE = 1 + IMAGE_SIZE * IMAGE_SIZE;
export const PLUS = -1;
export const MINUS = -2;
export const IMAGE_CODE = -3;
export const EMPTY_CODE = -4;

/**
 * @typedef {object} Schedule
 * @property {Int32Array} codes - Code at every tick.
 * @property {number} inputTicks - Ticks before an answer counts.
 * @property {Float32Array[]} images - Pixels of every image, in the order of presentation.
 */

/**
 * Compute the code of every tick. Mirrors `FrameSchedule.from_frames`.
 *
 * @param {Float32Array} frames - Frames of one row, (F, 1025).
 * @param {number[]} shape - Shape of the frames.
 * @param {import("./config.js").Config} config - Config with an input schedule.
 * @returns {Schedule} The schedule.
 * @throws {Error} The frames have another form, or take too many ticks.
 */
export function computeSchedule(frames, shape, config) {
  const frameCodes = parseFrameCodes(frames, shape);
  const images = [];
  const codes = [];
  frameCodes.forEach((code, frame) => {
    if (code === EMPTY_CODE) return;
    if (code === IMAGE_CODE) images.push(frames.subarray(frame * FRAME_SIZE + 1, (frame + 1) * FRAME_SIZE));
    const duration = code === IMAGE_CODE ? config.iterations_per_digit : config.iterations_per_question_part;
    for (let tick = 0; tick < duration; tick++) codes.push(code);
  });
  const ticks = codes.length + config.iterations_for_answering;
  if (ticks > MAX_TICKS) {
    const [count, limit] = [formatThousands(ticks), formatThousands(MAX_TICKS)];
    throw new Error(`To be shown all this takes ${count} ticks; show less, for at most ${limit}.`);
  }
  return {
    codes: Int32Array.from({ length: ticks }, (_, tick) => codes[tick] ?? EMPTY_CODE),
    inputTicks: codes.length,
    images,
  };
}

/** Return the code of every frame. */
function parseFrameCodes(frames, shape) {
  if (shape.length !== 2 || shape[1] !== FRAME_SIZE || !shape[0] || frames.length !== shape[0] * FRAME_SIZE) {
    throw new Error(
      `Frames have the shape (rows, frames, ${FRAME_SIZE}), a code before the pixels: got [1, ${shape.join(", ")}].`,
    );
  }
  const codes = Array.from({ length: shape[0] }, (_, frame) => Math.round(frames[frame * FRAME_SIZE]));
  const phases = codes.map((code) => (code === IMAGE_CODE ? 0 : 1) + (code === EMPTY_CODE ? 1 : 0));
  const isKnown = codes.every((code) => code >= EMPTY_CODE && code < NUM_INDICES);
  if (!isKnown || phases.some((phase, frame) => frame > 0 && phase < phases[frame - 1])) {
    throw new Error(
      `Frames are pictures (${IMAGE_CODE}), then indices (0 to ${NUM_INDICES - 1}) and operators (${PLUS}, ` +
        `${MINUS}), then nothing (${EMPTY_CODE}): got other codes, or another order.`,
    );
  }
  return codes;
}

/** Embeddings of question tokens, which replace the attention output. Mirrors `build_code_table`. */
export class CodeTable {
  /**
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {number} width - Width of an observation.
   */
  constructor(weights, width) {
    this.width = width;
    this.indices = weights.take("index_backbone.embedding", NUM_INDICES, width);
    this.operators = weights.take("operator_backbone.embedding.weight", 2, width);
  }

  /**
   * Write the observation of a code other than that of an image.
   *
   * @param {number} code - An index, `PLUS`, `MINUS` or `EMPTY_CODE`.
   * @param {Float32Array} out - Observation, (width).
   */
  write(code, out) {
    if (code === EMPTY_CODE) return void out.fill(0);
    const table = code >= 0 ? this.indices : this.operators;
    const start = (code >= 0 ? code : -1 - code) * this.width;
    for (let index = 0; index < this.width; index++) out[index] = table[start + index];
  }
}
