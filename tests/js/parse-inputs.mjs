/**
 * Parse inputs with the task modules of the page: reads jobs and writes results, for tests that compare them with Python.
 *
 * Usage: node parse-inputs.mjs DIRECTORY. `jobs.json` is a list of {task, raw, answers}; a raw image is {file, width, height} with
 * RGBA bytes in DIRECTORY. `results.json` gets one result per job, and `N.bin` the values of the tensor of job N.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needsServer } from "../../ui/static/ctm/images/pixels.js";
import { readDigitImages } from "../../ui/static/ctm/tasks/qamnist.js";
import { buildTask } from "../../ui/static/ctm/tasks/registry.js";
import { InputError } from "../../ui/static/ctm/tasks/text.js";

const directory = process.argv[2];
const digitFile = join(directory, "digits.bin");
const digitImages = existsSync(digitFile) ? readDigitImages(readFileSync(digitFile)) : null;

function readRaw(raw) {
  if (typeof raw === "string") return raw;
  return { width: raw.width, height: raw.height, data: new Uint8Array(readFileSync(join(directory, raw.file))) };
}

function describeTask(task) {
  const { name, title, inputType, supportsDrawing, supportsGeneration, inputHint, inputEditor, spec, labels } = task;
  const { statesResult, hasNaturalInputs, sentencePositions } = task;
  const flags = { supportsDrawing, supportsGeneration, statesResult, hasNaturalInputs, sentencePositions };
  return { name, title, inputType, inputHint, inputEditor, spec, labels, ...flags };
}

/** Return a display whose pixels are plain data. */
function flatten({ pixels, ...display }) {
  return pixels ? { ...display, pixels: { ...pixels, data: [...pixels.data] } } : display;
}

function parse({ raw, answers, places = [] }, task, index) {
  const given = readRaw(raw);
  try {
    const input = task.parseInput(given, ...places);
    writeFileSync(join(directory, `${index}.bin`), Buffer.from(input.inputs.data.buffer));
    return {
      server: typeof given === "string" ? false : needsServer(given),
      type: input.inputs.type,
      shape: input.inputs.shape,
      display: flatten(input.display),
      positions: input.positions,
      trueChoices: input.trueChoices,
      shift: input.shift,
      answers: answers.map((choices) => ({ ...task.formatAnswer(input, choices), correct: task.isCorrect(input, choices) })),
    };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { error: error.message, display: error.display ? flatten(error.display) : null };
  }
}

const results = JSON.parse(readFileSync(join(directory, "jobs.json"), "utf-8")).map((job, index) => {
  const task = buildTask(job.task, { digitImages });
  if (job.raw === null) return { task: describeTask(task), examples: task.examples };
  if (job.raw.seeds) return { generated: job.raw.seeds.map((seed) => task.generateInput(seed)) };
  return parse(job, task, index);
});
writeFileSync(join(directory, "results.json"), JSON.stringify(results));
