/** Checkpoint directory as it is stored: weights beside plain JSON. Nothing is executed. Mirrors `ctm.checkpoint.load`. */

import { readConfig } from "./config.js";
import { readHalting } from "./metadata.js";
import { buildModel } from "./models.js";
import { formatName } from "./python-format.js";
import { parseSafetensors, WEIGHTS_NAME, WeightReader } from "./weights.js";

const CONFIG_NAME = "config.json";
const LAYOUT_NAME = "layout.json";
const INDEX_NAME = "model.safetensors.index.json";
const FILE_PATTERN = /^\w[\w.-]{0,200}\.safetensors$/;
const NEVER_HALT_POLICY = "certainty>1";
const MAX_SHARDS = 1_000;

/**
 * @typedef {object} Checkpoint
 * @property {import("./models.js").TickModel} model - The model.
 * @property {import("./metadata.js").HaltingMetadata} halting - Halting policies and confidence.
 * @property {Record<string, unknown>} task - Content of `task.json`; {} without one.
 * @property {Record<string, unknown> | null} layout - Content of `layout.json`, the places of the neurons; null without one.
 * @property {string} defaultPolicy - Policy that halts unless the user selects another one.
 */

/**
 * Load a checkpoint.
 *
 * @param {Map<string, Uint8Array | object>} files - Files of the directory by name, as bytes or as parsed JSON: config.json,
 *   model.safetensors (or its index and shards), task.json, halting.json, layout.json.
 * @returns {Checkpoint} The checkpoint.
 * @throws {Error} A file is missing, damaged or does not fit the config; one sentence.
 */
export function loadCheckpoint(files) {
  const config = readConfig(readJson(files, CONFIG_NAME));
  const halting = readHalting(readJson(files, "halting.json", {}));
  const task = readJson(files, "task.json", {});
  const layout = files.has(LAYOUT_NAME) ? readJson(files, LAYOUT_NAME) : null;
  const model = buildModel(config, new WeightReader(readTensors(files)));
  const chosen = halting.policies.find(({ name }) => name === halting.default) ?? halting.policies[0];
  return { model, halting, task, layout, defaultPolicy: chosen?.policy ?? NEVER_HALT_POLICY };
}

/** Return the tensors of all weight files. */
function readTensors(files) {
  const names =
    files.has(WEIGHTS_NAME) || !files.has(INDEX_NAME) ? [WEIGHTS_NAME] : listShards(readJson(files, INDEX_NAME));
  const merged = new Map();
  for (const name of names) {
    const bytes = files.get(name);
    if (!(bytes instanceof Uint8Array)) throw new Error(`${name} is missing in this checkpoint.`);
    for (const [key, tensor] of parseSafetensors(bytes, name)) {
      if (merged.has(key)) throw new Error(`${name} holds \`${formatName(key)}\`, which another file holds, too.`);
      merged.set(key, tensor);
    }
  }
  return merged;
}

/** Return the file names in an index of sharded weights. Mirrors `parse_shard_filenames`. */
function listShards({ weight_map: weightMap }) {
  const names = [...new Set(Object.values(weightMap && typeof weightMap === "object" ? weightMap : {}))]
    .map(String)
    .sort();
  if (!names.length) throw new Error(`${INDEX_NAME} must hold a \`weight_map\` from tensors to files.`);
  if (names.length > MAX_SHARDS)
    throw new Error(`${INDEX_NAME} names ${names.length} files; at most ${MAX_SHARDS} are read.`);
  const invalid = names.find((name) => !FILE_PATTERN.test(name));
  if (invalid !== undefined) {
    throw new Error(`${INDEX_NAME} names ${formatName(invalid)}; only plain .safetensors files beside it are read.`);
  }
  return names;
}

/** Return a JSON object of the directory. */
function readJson(files, name, fallback) {
  const content = files.get(name) ?? fallback;
  if (content === undefined) throw new Error(`${name} is missing in this checkpoint.`);
  let value = content;
  if (content instanceof Uint8Array) {
    try {
      value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
    } catch {
      throw new Error(`${name} is not valid JSON.`);
    }
  }
  if (!value || typeof value !== "object" || Array.isArray(value)) throw new Error(`${name} must be a JSON object.`);
  return value;
}
