/**
 * Check of the engine in this browser: it runs the inputs that Python ran when the page was written, and compares the results.
 *
 * A record has no logits, so every input runs a second time with a `think` request, which reports them.
 */

import { formatCount } from "../common/format.js";
import { decodeBase64 } from "./page-data.js";
import { decodeDataUrl } from "./pictures.js";

const CHECKPOINT_ID = 0;

/**
 * @typedef {object} Verification
 * @property {number} samples - Number of inputs.
 * @property {number} agreeing - Inputs with the same halting tick and the same answer.
 * @property {number} difference - Largest difference of a logit at the answer tick, relative to the largest logit of its input.
 */

/**
 * Run the inputs and compare.
 *
 * @param {import("../ctm/pipeline.js").BrowserPipeline} pipeline - The loaded checkpoint.
 * @param {import("./page-data.js").GoldenSample[]} golden - Inputs with their results in Python.
 * @param {Map<string, Uint8Array>} files - Files of the checkpoint.
 * @param {() => Worker} createWorker - Starts a worker.
 * @param {(count: number) => void} onProgress - Called after every input.
 * @returns {Promise<Verification>} The result.
 */
export async function verify(pipeline, golden, files, createWorker, onProgress) {
  const worker = createWorker();
  try {
    await request(worker, { type: "load", id: CHECKPOINT_ID, files: Object.fromEntries(files) }, "loaded");
    const result = { samples: golden.length, agreeing: 0, difference: 0 };
    for (const [index, sample] of golden.entries()) {
      const isText = pipeline.task.inputType === "text";
      const input = isText ? sample.input : await decodeDataUrl(sample.input);
      const record = await pipeline.run(input);
      const logits = await computeLogits(worker, index + 1, pipeline, input, sample);
      const agrees =
        record.ticks === sample.ticks && record.answer_tick === sample.answer_tick && record.label === sample.label;
      result.agreeing += Number(agrees);
      result.difference = Math.max(result.difference, compareLogits(logits, sample));
      onProgress(index + 1);
    }
    return result;
  } finally {
    worker.terminate();
  }
}

/**
 * Describe a result.
 *
 * @param {Verification} verification - The result.
 * @returns {string} Sentences.
 */
export function describeVerification({ samples, agreeing, difference }) {
  if (!samples) return "This page holds no inputs to compare.";
  const count = agreeing === samples && samples > 1 ? "All" : `${agreeing} of`;
  const verb = samples === 1 ? "agrees" : "agree";
  return (
    `${count} ${formatCount(samples, "input")} ${verb} with PyTorch: same halting tick, same answer. ` +
    `Largest difference of a logit: ${difference.toExponential(1)} of the largest one.`
  );
}

/** Return the logits at the answer tick of a sample. */
async function computeLogits(worker, id, pipeline, input, sample) {
  const { data, shape } = pipeline.task.parseInput(input).inputs; // one row
  const message = {
    type: "think",
    id,
    checkpoint: CHECKPOINT_ID,
    values: Float32Array.from(data),
    shape: shape.slice(1),
  };
  let logits = [];
  await request(worker, { ...message, policy: `ticks=${sample.answer_tick}` }, "result", (tick) => {
    if (tick.tick === sample.answer_tick) ({ logits } = tick);
  });
  return logits;
}

function compareLogits(logits, sample) {
  const expected = new Float32Array(decodeBase64(sample.logits).buffer);
  if (logits.length !== expected.length) return Number.POSITIVE_INFINITY;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, index) => Math.max(most, Math.abs(value - logits[index])), 0) / (largest || 1);
}

/** Send a request to a worker, and return its last response. */
function request(worker, message, lastType, onTick = () => {}) {
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(`The engine of this browser failed: ${event.message}.`));
    worker.onmessage = ({ data }) => {
      if (data.type === "tick") onTick(data);
      else if (data.type === lastType) resolve(data);
      else reject(new Error(data.message ?? `The engine answered with ${data.type}.`));
    };
    worker.postMessage(message);
  });
}
