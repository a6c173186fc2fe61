/** Settings of tasks with their defaults and former names. Mirrors the `Settings` classes and `training.settings_aliases`. */

import { InputError } from "./text.js";

const DEFAULTS = {
  arithmetic: { digits: 3, trained_difference: 20, largest_difference: 25, random_offset: false },
  brackets: { length: 16, max_depth: 4, ood_max_depth: 6 },
  chain: { max_operations: 6, ood_max_operations: 8, random_offset: false },
  digits: {},
  images: {
    channels: 3,
    resize: 256,
    crop: 224,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    background: "any",
    names: null,
  },
  mazes: { side: 15, route: 50, longest_route: null, expand_range: false },
  parity: { length: 16, encoding: "tokens" },
  qamnist: { digits: 3, operations: 3, per_digit: 3, per_part: 3, answering: 6 },
  raw: { backbone: "", classes: 0, positions: 1 },
  sorting: { count: 10, min_gap: 0.01 },
  tracking: {
    target: "position",
    side: 16,
    frames: 6,
    max_speed: 2,
    max_horizon: 8,
    ood_horizon: 12,
    missing_rate: 0.2,
    horizon_encoding: "symbol",
  },
};
const ALIASES = {
  brackets: { deepest: "max_depth", deeper: "ood_max_depth" },
  chain: { most: "max_operations", longer: "ood_max_operations" },
  images: { size: "resize", ground: "background" },
  sorting: { gap: "min_gap" },
  tracking: {
    ask: "target",
    fastest: "max_speed",
    ahead: "max_horizon",
    further: "ood_horizon",
    missed: "missing_rate",
  },
};

/**
 * Return the settings of a task under their current names, with defaults where they are missing.
 *
 * Settings that have no effect on inputs and answers are left out.
 *
 * @param {string} kind - Name of the task.
 * @param {Record<string, unknown>} given - Settings of `task.json`.
 * @returns {Record<string, any>} The settings.
 * @throws {InputError} A setting has another type than its default.
 */
export function readSettings(kind, given) {
  const settings = { ...DEFAULTS[kind] };
  for (const [name, value] of Object.entries(given)) {
    const current = ALIASES[kind]?.[name] ?? name;
    if (!Object.hasOwn(settings, current)) continue;
    const expected = DEFAULTS[kind][current];
    const isList = Array.isArray(expected);
    if (expected !== null && (typeof value !== typeof expected || Array.isArray(value) !== isList)) {
      const type = isList ? "list" : typeof expected;
      throw new InputError(`Setting \`task.${current}\` must be a ${type}: got ${JSON.stringify(value)}.`);
    }
    settings[current] = value;
  }
  return settings;
}
