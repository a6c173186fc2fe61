/**
 * Predictions of the Think tab in the visitor's browser.
 *
 * The tab calls `predict` before it asks the server. The answer says what happened: a record for the page, a sentence about an
 * invalid input, or the reason why the server has to compute it. The engine itself is fetched with the first prediction.
 */

const MAX_PIPELINES = 3; // loaded checkpoints; each has a worker of its own
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
 * @typedef {{record: object} | {problem: string} | {reason: string}} Outcome
 */

const pipelines = new Map();
let running = null;

/**
 * Predict in the browser if it can.
 *
 * @param {"text" | "drawing" | "upload"} kind - What the input is.
 * @param {unknown} value - Value of the input component.
 * @param {string} policy - Halting policy; empty for the default.
 * @param {Manifest | null} manifest - Files of the checkpoint; null if only the server runs it.
 * @returns {Promise<Outcome>} The record; a sentence about the input; or why the server has to compute it, empty if it does anyway.
 */
export async function predict(kind, value, policy, manifest) {
  if (!manifest || !IS_SUPPORTED) return { reason: "" };
  running?.abort();
  const controller = new AbortController();
  running = controller;
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
    const record = await pipeline.run(input, policy ?? "", { signal: controller.signal });
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
  const source = kind === "upload" ? value?.url : (value?.content ?? value);
  if (typeof source !== "string" || !source) return null;
  const { findServerReason, needsServer } = await import("./images/pixels.js");
  const content = await (await fetch(source)).blob();
  if (findServerReason(new Uint8Array(await content.arrayBuffer())) !== null) return null;
  const { decodeImage } = await import("./images/decoding.js");
  const pixels = await decodeImage(content);
  return needsServer(pixels) ? null : pixels;
}

function trimPeriod(text) {
  return text.replace(/\.$/, "");
}

globalThis.ctm = { predict };
