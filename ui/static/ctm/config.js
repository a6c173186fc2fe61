/** Model configs: the published constructor keys of `config.json`, checked. Mirrors `ctm.config`. */

import { formatName } from "./python-format.js";

const RESNET_PATTERN = /^resnet(18|34|50|101|152)-([1-4])$/;
const DEEP_RESNET_PATTERN = /^resnet-64x([1-9]|[1-5][0-9]|6[0-4])$/;
const TOKENS_PATTERN = /^tokens-([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$/;
const GRID_PATTERN = /^grid-([1-9][0-9]{0,2})x([1-9][0-9]{0,4})$/;
const SCHEDULE_KEYS = ["iterations_per_digit", "iterations_per_question_part", "iterations_for_answering"];
const SCHEDULED_BACKBONE = "qamnist_backbone";
const POSITIONAL_TYPES = [
  "none",
  "learnable-fourier",
  "multi-learnable-fourier",
  "custom-rotational",
  "custom-rotational-1d",
];
const NEURON_SELECT_TYPES = ["first-last", "random", "random-pairing"];
export const MAX_TICKS = 2_000;

/**
 * @typedef {object} Config
 * @property {"ctm" | "lstm" | "ff"} modelType - Model type, inferred from the keys.
 * @property {number} positions - Positions P of the answer.
 * @property {number} classes - Classes C of each position.
 * @property {string} backbone_type - Input encoder; all further keys are the published ones with their defaults.
 */

/**
 * Read the content of a `config.json`. Keys of other tools have no effect. Mirrors `ctm.config.read_published_config`.
 *
 * @param {unknown} values - Parsed JSON.
 * @returns {Config} The keys that the engine uses, with their defaults.
 * @throws {Error} A key is missing, has a wrong value or contradicts another; one sentence.
 */
export function readConfig(values) {
  if (!values || typeof values !== "object" || Array.isArray(values)) {
    throw new Error("config.json must be a group of `name: value` lines.");
  }
  const read = new ConfigReader(values);
  const modelType = inferModelType(values);
  const config = { modelType, ...readCommonKeys(read), iterations: 1, heads: 0 };
  if (modelType === "ff") config.d_input = config.d_model;
  else Object.assign(config, readTickKeys(read, modelType));
  if (modelType === "ctm") Object.assign(config, readNeuronKeys(read));
  config.backbone_type = SCHEDULE_KEYS.every((key) => Number.isInteger(config[key]))
    ? SCHEDULED_BACKBONE
    : read.text("backbone_type");
  Object.assign(config, computeAnswerShape(config));
  for (const problem of findProblems(config)) throw new Error(`config.json: ${problem}`);
  return config;
}

/** Reader of checked values, by the name of their key. */
class ConfigReader {
  constructor(values) {
    this.values = values;
  }

  integer(key, min, max, fallback) {
    return this.#read(key, fallback, `a whole number from ${min} to ${max}`, (value) => {
      return Number.isInteger(value) && value >= min && value <= max;
    });
  }

  boolean(key, fallback) {
    return this.#read(key, fallback, "true or false", (value) => typeof value === "boolean");
  }

  choice(key, choices, fallback) {
    return this.#read(key, fallback, `one of ${choices.join(", ")}`, (value) => choices.includes(value));
  }

  text(key) {
    return this.#read(key, undefined, "a text", (value) => typeof value === "string");
  }

  sizes(key, fallback) {
    return this.#read(key, fallback, "a list of 1 to 4 whole numbers", (value) => {
      return Array.isArray(value) && value.length > 0 && value.length < 5 && value.every(Number.isInteger);
    });
  }

  #read(key, fallback, expected, isValid) {
    const value = Object.hasOwn(this.values, key) ? this.values[key] : undefined;
    if (fallback !== undefined && (value === undefined || (value === null && fallback === null))) return fallback;
    if (value === undefined) throw new Error(`config.json: setting \`${key}\` is missing.`);
    if (!isValid(value)) {
      throw new Error(`config.json: setting \`${key}\` must be ${expected}: got ${formatName(JSON.stringify(value))}.`);
    }
    return value;
  }
}

/** Infer the model type: only an LSTM has layers, and only a feed-forward baseline has no ticks. */
function inferModelType(values) {
  if (Object.hasOwn(values, "num_layers")) return "lstm";
  const ctmKeys = ["iterations", "d_input", "heads", "n_synch_out", "synapse_depth", "memory_length", ...SCHEDULE_KEYS];
  return ctmKeys.some((key) => Object.hasOwn(values, key)) ? "ctm" : "ff";
}

function readCommonKeys(read) {
  return {
    d_model: read.integer("d_model", 1, 65_536),
    positional_embedding_type: read.choice("positional_embedding_type", POSITIONAL_TYPES, "none"),
    out_dims: read.integer("out_dims", 1, 1_000_000),
    prediction_reshaper: read.sizes("prediction_reshaper", [-1]),
    energy_head_enabled: read.boolean("energy_head_enabled", false),
    energy_hidden_dim: read.integer("energy_hidden_dim", 1, 65_536, 64),
    energy_sees_certainty: read.boolean("energy_sees_certainty", false),
    energy_sees_neurons: read.boolean("energy_sees_neurons", false),
  };
}

function readTickKeys(read, modelType) {
  const keys = {
    iterations: read.integer("iterations", 1, MAX_TICKS),
    d_input: read.integer("d_input", 1, 65_536),
    heads: read.integer("heads", modelType === "lstm" ? 1 : 0, 1_024),
  };
  return modelType === "lstm" ? { ...keys, num_layers: read.integer("num_layers", 1, 64, 1) } : keys;
}

function readNeuronKeys(read) {
  return {
    n_synch_out: read.integer("n_synch_out", 1, 65_536),
    n_synch_action: read.integer("n_synch_action", 0, 65_536),
    synapse_depth: read.integer("synapse_depth", 1, 64),
    memory_length: read.integer("memory_length", 1, 4_096),
    deep_nlms: read.boolean("deep_nlms", true),
    memory_hidden_dims: read.integer("memory_hidden_dims", 1, 4_096),
    do_layernorm_nlm: read.boolean("do_layernorm_nlm", false),
    neuron_select_type: read.choice("neuron_select_type", NEURON_SELECT_TYPES, "random-pairing"),
    ...Object.fromEntries(SCHEDULE_KEYS.map((key) => [key, read.integer(key, 1, 200, null)])),
  };
}

/** Return the positions and classes of the answer vector. Mirrors `ModelConfig.answer_shape`. */
function computeAnswerShape({ prediction_reshaper: sizes, out_dims: outDims }) {
  const misfit = `config.json: prediction_reshaper=[${sizes.join(", ")}] does not fit out_dims=${outDims}.`;
  if (sizes.some((size) => size === 0 || size < -1)) throw new Error(misfit);
  const free = sizes.filter((size) => size === -1).length;
  const product = sizes.reduce((result, size) => (size === -1 ? result : result * size), 1);
  if (free > 1 || outDims % product || (!free && product !== outDims)) throw new Error(misfit);
  const classes = sizes.at(-1) === -1 ? outDims / product : sizes.at(-1);
  if (classes < 2) throw new Error(`config.json: An answer needs at least 2 classes to choose from: got ${classes}.`);
  return { positions: outDims / classes, classes };
}

/** Yield one sentence for each key that contradicts another. */
function* findProblems(config) {
  const { modelType, backbone_type: backbone, positional_embedding_type: positional, heads, d_input: width } = config;
  const takesImages =
    RESNET_PATTERN.test(backbone) ||
    DEEP_RESNET_PATTERN.test(backbone) ||
    ["shallow-wide", "mnist_backbone"].includes(backbone);
  const isSequence = TOKENS_PATTERN.test(backbone) || GRID_PATTERN.test(backbone) || backbone === "parity_backbone";
  const isScheduled = backbone === SCHEDULED_BACKBONE;
  if (!takesImages && !isSequence && !isScheduled && backbone !== "none") {
    yield `backbone_type=${formatName(backbone)} is not known.`;
  }
  if (isScheduled && (modelType !== "ctm" || !config.iterations_per_digit || width % 2 || positional !== "none")) {
    yield `backbone_type=${SCHEDULED_BACKBONE} needs model type ctm, ${SCHEDULE_KEYS.join(", ")}, an even d_input and no positions.`;
  }
  if (positional !== "none" && (positional === "custom-rotational-1d" ? !isSequence : !takesImages)) {
    yield `positional_embedding_type=${positional} does not fit backbone_type=${backbone}.`;
  }
  if (modelType === "ff") return;
  if (heads && width % heads) yield `d_input must be a multiple of heads: got d_input=${width}, heads=${heads}.`;
  if (modelType !== "ctm") return;
  if (heads && !config.n_synch_action) yield "Attention needs a query: set n_synch_action above 0, or heads to 0.";
  if (!heads && backbone !== "none")
    yield `heads=0 hands over the raw input: set backbone_type to none (got ${backbone}).`;
  const { neuron_select_type: kind, d_model: neurons, n_synch_out: out, n_synch_action: action } = config;
  if (kind === "first-last" && neurons < out + action) {
    yield `first-last needs d_model of at least n_synch_out + n_synch_action: got ${neurons} < ${out} + ${action}.`;
  }
  if (kind !== "random-pairing" && Math.max(out, action) > 1_024) {
    yield `${kind} pairs all with all: n_synch_out and n_synch_action may be 1024 at most.`;
  }
}

/**
 * Split a backbone type into its kind and numbers.
 *
 * @param {string} type - `backbone_type` of a checked config.
 * @returns {{kind: string, numbers: number[]}} Such as kind "tokens" with vocabulary size and maximum length.
 */
export function parseBackboneType(type) {
  for (const [kind, pattern] of Object.entries({
    resnet: RESNET_PATTERN,
    "deep-resnet": DEEP_RESNET_PATTERN,
    tokens: TOKENS_PATTERN,
    grid: GRID_PATTERN,
  })) {
    const match = pattern.exec(type);
    if (match) return { kind, numbers: match.slice(1).map(Number) };
  }
  return { kind: type, numbers: [] };
}
