/**
 * Predictions of the Think tab in the visitor's browser.
 *
 * The tab calls `predict` before it asks the server. The answer says what happened: a record for the page, a sentence about an
 * invalid input, or the reason why the server has to compute it. The engine itself is fetched with the first prediction.
 */

import { packObject } from "../common/validate.js";

const MAX_PIPELINES = 4; // loaded checkpoints, each with a worker of its own: a prediction is compared with at most three others
const IS_SUPPORTED = typeof Worker === "function" && typeof OffscreenCanvas === "function";

/**
 * Files of a checkpoint, as the server describes them in `build_manifest`.
 *
 * @typedef {object} Manifest
 * @property {string} name - Name of the checkpoint.
 * @property {Record<string, string>} files - Address of every file, relative to the page.
 * @property {Record<string, number>} accuracies - Accuracy by held-out split.
 * @property {Record<string, string>} guarantees - Sentence by policy.
 *
 * @typedef {{record: object} | {problem: string} | {reason: string | null}} Outcome
 */

const pipelines = new Map();
let running = null;
let lastRecord = null; // id of the last record, and its pipeline

/**
 * Predict in the browser if it can.
 *
 * @param {"text" | "drawing" | "upload"} kind - What the input is.
 * @param {unknown} value - Value of the input component.
 * @param {string} policy - Halting policy; empty for the default.
 * @param {Manifest | null} manifest - Files of the checkpoint; null if only the server runs it.
 * @returns {Promise<Outcome>} The record; a sentence about the input; or why the server has to compute it, empty if it does anyway and
 *   null if a newer prediction ended this one.
 */
export async function predict(kind, value, policy, manifest) {
  if (!manifest || !IS_SUPPORTED) return { reason: "" };
  running?.abort();
  const controller = new AbortController();
  running = controller;
  const outcome = await run(kind, value, policy, manifest, { signal: controller.signal, continuesAfterHalt: true });
  if (!outcome.record) return outcome;
  const pipeline = await getPipeline(manifest);
  if (controller.signal.aborted) return { reason: null };
  lastRecord = { id: outcome.record.id, pipeline };
  return outcome;
}

/**
 * Predict the last input of the page with another checkpoint or another policy. The inside view keeps the prediction that it shows.
 *
 * @param {Manifest} manifest - Files of the checkpoint.
 * @param {string} policy - Halting policy; empty for the default of the checkpoint.
 * @param {AbortSignal} signal - Ends the prediction early.
 * @returns {Promise<Outcome>} See `predict`.
 */
export function predictLastInput(manifest, policy, signal) {
  const { source, value } = lastInput;
  return run(source.kind, value, policy, manifest, { signal, isForInsideView: false });
}

/**
 * Read the last input of the page, for the server.
 *
 * @param {string} checkpoint - The selected checkpoint.
 * @returns {Promise<string | null>} A text, or an image as a `data:` URL; null if the checkpoint has no input yet.
 */
export async function readLastInput(checkpoint) {
  if (lastInput?.checkpoint !== checkpoint) return null;
  const { source, value } = lastInput;
  if (source.kind === "text") return String(value ?? "");
  const content = getContent(source.kind, value);
  if (typeof content !== "string" || content.startsWith("data:")) return content || null;
  const blob = await (await fetch(content)).blob();
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("loadend", () => resolve(reader.result));
    reader.readAsDataURL(blob);
  });
}

/** Run a checkpoint on an input; see `predict`. */
async function run(kind, value, policy, manifest, options) {
  let pipeline;
  try {
    pipeline = await getPipeline(manifest);
  } catch (error) {
    return {
      reason: `This browser could not load the model (${trimPeriod(error.message)}), so the server computed this.`,
    };
  }
  const input = kind === "text" ? String(value ?? "") : await readImage(kind, value).catch(() => null);
  if (input === null) return { reason: "" }; // the server reads it, or says what is wrong with it
  try {
    const record = await pipeline.run(input, policy ?? "", options);
    return { record: { ...record, computed_by: "browser" } };
  } catch (error) {
    if (error.name === "AbortError") return { reason: null };
    if (error.message.startsWith("The engine")) {
      pipelines.delete(getKey(manifest));
      return {
        reason: `This browser could not run the model (${trimPeriod(error.message)}), so the server computed this.`,
      };
    }
    return { problem: error.message };
  }
}

/**
 * Answer a request about the inside of the last prediction.
 *
 * @param {string} recordId - Id of its record.
 * @param {Record<string, unknown>} request - See `InsideView.answer`.
 * @returns {Promise<Record<string, unknown>>} The answer.
 * @throws {Error} Another prediction followed, or the request is invalid; one sentence.
 */
export async function inspect(recordId, request) {
  if (lastRecord?.id !== recordId) {
    throw new Error("This answer is no longer in memory: run the model again to look inside.");
  }
  return lastRecord.pipeline.inspect(recordId, request);
}

/** Return the pipeline of a checkpoint; the least recently used one is closed when there are too many. */
function getPipeline(manifest) {
  const key = getKey(manifest);
  const known = pipelines.get(key) ?? loadPipeline(manifest);
  pipelines.delete(key);
  pipelines.set(key, known);
  known.catch(() => pipelines.delete(key));
  for (const oldest of [...pipelines.keys()].slice(0, -MAX_PIPELINES)) {
    pipelines.get(oldest).then(
      (pipeline) => pipeline.close(),
      () => {},
    );
    pipelines.delete(oldest);
  }
  return known;
}

function getKey({ files }) {
  return files["model.safetensors"];
}

async function loadPipeline(manifest) {
  // a plain copy: Gradio gives values that a worker cannot receive
  const { name, files, accuracies, guarantees } = JSON.parse(JSON.stringify(manifest));
  const { BrowserPipeline } = await import("./pipeline.js");
  const entries = await Promise.all(Object.entries(files).map(async ([file, url]) => [file, await fetchBytes(url)]));
  const contents = new Map(entries);
  const digitImages = contents.get("digits.bin") ?? null;
  contents.delete("digits.bin");
  const createWorker = () => new Worker(new URL("./worker-bundle.js", import.meta.url)); // one request for the whole engine
  return BrowserPipeline.load({ name, files: contents, createWorker, digitImages, accuracies, guarantees });
}

async function fetchBytes(url) {
  const response = await fetch(new URL(url, document.baseURI));
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * Decode the image of an input component.
 *
 * @param {"drawing" | "upload"} kind - What the value is.
 * @param {unknown} value - A `data:` URL, the value of an editor, or that of an upload.
 * @returns {Promise<ImageData | null>} Its pixels; null if only the server reads it.
 */
async function readImage(kind, value) {
  const source = getContent(kind, value);
  if (typeof source !== "string" || !source) return null;
  const { findServerReason, needsServer } = await import("./images/pixels.js");
  const content = await (await fetch(source)).blob();
  if (findServerReason(new Uint8Array(await content.arrayBuffer())) !== null) return null;
  const { decodeImage } = await import("./images/decoding.js");
  const pixels = await decodeImage(content);
  return needsServer(pixels) ? null : pixels;
}

/** Return the text or the address of an image in the value of an input component. */
function getContent(kind, value) {
  return kind === "upload" ? value?.url : (value?.content ?? value);
}

function trimPeriod(text) {
  return text.replace(/\.$/, "");
}

// --- events of the Think tab ---

const CHANGE_DELAY_MS = 250; // after the last change of an input, before the server is asked
const UNCHANGED = { __type__: "update" }; // leaves a component of Gradio as it is
let lastInput = null;
let requests = 0;

/**
 * An input of the Think tab.
 *
 * @typedef {object} TabInput
 * @property {"text" | "drawing" | "upload"} kind - What it is.
 * @property {string} button - Id of the hidden button that asks the server.
 * @property {"run" | "change" | "select"} cause - Why it runs: the visitor asked for it, the input changed, or a model was selected. An
 *   empty input is an error only if the visitor asked; a change that has run already is left out.
 *
 * Where a prediction runs.
 * @typedef {object} TabState
 * @property {string} checkpoint - Name of the checkpoint.
 * @property {string} policy - Halting policy.
 * @property {Manifest | null} manifest - Files of the checkpoint; null if only the server runs it.
 * @property {boolean} isEnabled - Whether the browser may run it.
 * @property {() => void} leaveServer - Ends a long prediction of the server.
 */

/**
 * Run the model on an input of the Think tab, in the browser if it can. The newest request wins.
 *
 * @param {TabInput} source - The input.
 * @param {unknown} value - Its value.
 * @param {TabState} state - Where the prediction runs.
 * @returns {Promise<unknown[]>} Values of the thought, the problem with the input, the problem with the policy and the section of the
 *   policy, and the outcome: which button asks the server, and why.
 */
async function answer(source, value, state) {
  const { checkpoint, policy, manifest, isEnabled } = state;
  const content = getContent(source.kind, value);
  const key = JSON.stringify([source.kind, content, policy, checkpoint]);
  const isLate = manifest && manifest.name !== checkpoint; // another model was selected, and its files are not known yet
  const isDone = source.cause === "change" && key === lastInput?.key;
  if (isLate || isDone || (source.cause !== "run" && !content)) return buildUpdates({});
  lastInput = { source, value, checkpoint, key };
  requests += 1;
  const request = requests;
  const policyProblem = await findPolicyProblem(policy);
  if (request !== requests) return buildUpdates({}); // before `predict`, which would end the newer one
  if (policyProblem) return buildPolicyProblem(policyProblem, checkpoint);
  const mayRun = isEnabled && manifest;
  const outcome = mayRun ? await predict(source.kind, value, policy, manifest) : { reason: "" };
  if (request !== requests || outcome.reason === null) return buildUpdates({});
  if (outcome.problem) return buildUpdates({ problem: { problem: outcome.problem, checkpoint }, policyProblem: {} });
  if (outcome.record) {
    state.leaveServer();
    return buildUpdates({ thought: packObject(outcome.record), problem: {}, policyProblem: {} });
  }
  if (source.cause !== "run") await new Promise((resolve) => setTimeout(resolve, CHANGE_DELAY_MS));
  return buildUpdates(request === requests ? { outcome: { button: source.button, reason: outcome.reason } } : {});
}

/**
 * Run the model again on the last input, with another halting policy.
 *
 * @param {TabState} state - Where the prediction runs.
 * @returns {Promise<unknown[]>} As `answer`.
 */
async function repeat(state) {
  const { policy, checkpoint } = state;
  if (lastInput?.checkpoint !== checkpoint) {
    const problem = await findPolicyProblem(policy);
    return problem ? buildPolicyProblem(problem, checkpoint) : buildUpdates({ policyProblem: {} });
  }
  const { source, value } = lastInput;
  return answer({ ...source, cause: "run" }, value, state);
}

/** Return the sentence about an invalid policy; empty for a valid one, and where only the server can check it. */
async function findPolicyProblem(policy) {
  if (!policy?.trim()) return "";
  const module = await import("./policy-parser.js").catch(() => null);
  try {
    module?.parsePolicy(policy);
    return "";
  } catch (error) {
    return error.message;
  }
}

/** Show a problem with the policy next to it, in its opened section. */
function buildPolicyProblem(problem, checkpoint) {
  return buildUpdates({
    problem: {},
    policyProblem: { problem, checkpoint },
    options: { ...UNCHANGED, open: true },
  });
}

function buildUpdates({ thought = UNCHANGED, problem = UNCHANGED, policyProblem = UNCHANGED, ...rest }) {
  const { options = UNCHANGED, outcome = null } = rest;
  return [thought, problem, policyProblem, options, outcome];
}

/**
 * Return the input of the last run.
 *
 * @returns {{source: TabInput, value: unknown, checkpoint: string} | null} The input, its value and the checkpoint; null before the first run.
 */
function getLastInput() {
  return lastInput;
}

globalThis.ctm = { predict, answer, repeat, inspect, getLastInput };
