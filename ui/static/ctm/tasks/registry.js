/** Registry of tasks: build the task of a checkpoint from its `task.json`. Mirrors `training.tasks.registry`. */

import { Arithmetic } from "./arithmetic.js";
import { Brackets } from "./brackets.js";
import { Chain } from "./chain.js";
import { Digits } from "./digits.js";
import { Images } from "./images.js";
import { Mazes } from "./mazes.js";
import { Parity } from "./parity.js";
import { Qamnist } from "./qamnist.js";
import { RawSequence } from "./raw.js";
import { readSettings } from "./settings.js";
import { Sorting } from "./sorting.js";
import { InputError } from "./text.js";
import { Tracking } from "./tracking.js";

const TASK_TYPES = {
  arithmetic: Arithmetic,
  brackets: Brackets,
  chain: Chain,
  digits: Digits,
  images: Images,
  mazes: Mazes,
  parity: Parity,
  qamnist: Qamnist,
  raw: RawSequence,
  sorting: Sorting,
  tracking: Tracking,
};

/**
 * What tasks need besides their settings.
 *
 * @typedef {object} TaskResources
 * @property {import("./qamnist.js").DigitImages} [digitImages] - Test images of MNIST, for the task `qamnist`.
 */

/**
 * Build the task of a checkpoint. Mirrors `build_task`, for checkpoints that the server has checked.
 *
 * @param {Record<string, any>} metadata - Contents of `task.json`.
 * @param {TaskResources} [resources] - What the task needs besides its settings.
 * @returns {import("./task.js").Task} The task.
 * @throws {InputError} The task is unknown, or a setting is invalid.
 */
export function buildTask(metadata, { digitImages = null } = {}) {
  const kind = metadata?.task;
  if (kind === undefined) {
    throw new InputError("This checkpoint has no task.json, so the format of its input and of its answers is unknown.");
  }
  if (!Object.hasOwn(TASK_TYPES, kind)) {
    throw new InputError(`The task ${JSON.stringify(kind)} of this checkpoint is not available in the browser.`);
  }
  const settings = readSettings(kind, metadata.settings ?? {});
  return new TASK_TYPES[kind](settings, kind === "images" ? (metadata.labels ?? []) : digitImages);
}
