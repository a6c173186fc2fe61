/**
 * What the export has written into the page: one block of JSON, the weights of every checkpoint, and the script itself.
 *
 * @typedef {object} GoldenSample
 * @property {string} input - A text, or the data URL of a PNG image.
 * @property {number} ticks - Ticks until the default policy halted, in Python.
 * @property {number} answer_tick - Tick whose answer counts, from 1.
 * @property {string} label - The answer.
 * @property {string} logits - Logits at the answer tick, float32 in base64.
 *
 * @typedef {object} PageCheckpoint
 * @property {string} name - Name of the checkpoint.
 * @property {string} summary - Measured accuracy, as a sentence.
 * @property {{policy: string, name: string, description: string}[]} policies - Halting policies, the default first.
 * @property {object} halting - Value of the component `halting`.
 * @property {string[]} examples - Texts, or data URLs of images.
 * @property {Record<string, string>} files - Text of the JSON files, by name.
 * @property {Record<string, number>} accuracies - See `BrowserPipeline.load`.
 * @property {Record<string, string>} guarantees - See `BrowserPipeline.load`.
 * @property {boolean} needs_digits - Whether the task reads the images of digits.
 * @property {GoldenSample[]} golden - Inputs with their results in Python.
 */

const WEIGHTS_NAME = "model.safetensors";

/**
 * Decode base64.
 *
 * @param {string} text - Base64 without line breaks.
 * @returns {Uint8Array} The bytes.
 */
export function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/**
 * Read the checkpoints of the page, without their weights.
 *
 * @returns {PageCheckpoint[]} The checkpoints.
 */
export function readCheckpoints() {
  return JSON.parse(document.getElementById("page-data").textContent).checkpoints;
}

/**
 * Read the files of a checkpoint.
 *
 * @param {PageCheckpoint} checkpoint - The checkpoint.
 * @param {number} index - Its index in the page.
 * @returns {Map<string, Uint8Array>} Content of each file, by name.
 */
export function readFiles(checkpoint, index) {
  const encoder = new TextEncoder();
  const files = new Map(Object.entries(checkpoint.files).map(([name, text]) => [name, encoder.encode(text)]));
  return files.set(WEIGHTS_NAME, readBytes(`weights-${index}`));
}

/**
 * Read the images of digits.
 *
 * @returns {Promise<Uint8Array>} Labels and pixels, see `readDigitImages`.
 */
export async function readDigits() {
  const stream = new Blob([readBytes("digits")]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Return a function that starts the worker. It runs the script of this page, which runs the engine where there is no document.
 *
 * @returns {() => Worker} The function.
 */
export function createWorkerFactory() {
  const url = URL.createObjectURL(
    new Blob([document.getElementById("bundle").textContent], { type: "text/javascript" }),
  );
  return () => new Worker(url);
}

function readBytes(id) {
  return decodeBase64(document.getElementById(id).textContent);
}
