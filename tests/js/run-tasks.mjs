/**
 * Run functions of the task modules: reads jobs and writes results, for tests that compare them with Python.
 *
 * Usage: node run-tasks.mjs DIRECTORY. `jobs.json` is a list of jobs, `results.json` gets one result per job:
 *
 * - {task, describe}: attributes of a task.
 * - {task, seeds, difficulty}: a generated input per seed, of a difficulty if there is one; the pixels of job N and seed S are in `N-S.rgba`.
 * - {task, raw, answers}: a parsed input and the given answers to it, or the error. A raw image is {file, width, height} with RGBA
 *   bytes; the values of the tensor of job N are in `N.bin`.
 * - {call, args}: the result of one of `FUNCTIONS`.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LETTERS } from "../../ui/static/ctm/images/maze/letter-templates.js";
import { findServerReason, needsServer } from "../../ui/static/ctm/images/pixels.js";
import { hashBlake2b } from "../../ui/static/ctm/tasks/blake2b.js";
import { readDigitImages } from "../../ui/static/ctm/tasks/qamnist.js";
import { buildTask } from "../../ui/static/ctm/tasks/registry.js";
import { describeUnfamiliarity, formatSentence, judgeAnswer } from "../../ui/static/ctm/tasks/sentence.js";
import { decodeCtc } from "../../ui/static/ctm/tasks/task.js";
import { formatRepr, InputError } from "../../ui/static/ctm/tasks/text.js";

const directory = process.argv[2];
const digitFile = join(directory, "digits.bin");
const digitImages = existsSync(digitFile) ? readDigitImages(readFileSync(digitFile)) : null;

function readRaw(raw) {
  if (typeof raw === "string") return raw;
  return { width: raw.width, height: raw.height, data: new Uint8Array(readFileSync(join(directory, raw.file))) };
}

const FUNCTIONS = {
  decodeCtc,
  describeUnfamiliarity,
  formatRepr,
  formatSentence,
  judgeAnswer,
  findServerReason: (bytes) => findServerReason(Uint8Array.from(bytes)),
  listTemplates: () => Object.fromEntries(Object.entries(LETTERS).map(([letter, values]) => [letter, [...values]])),
  hashBlake2b: (bytes, size) => [...hashBlake2b(Uint8Array.from(bytes), size)],
};

function describeTask(task) {
  const { name, title, inputType, supportsDrawing, supportsGeneration, inputHint, inputEditor, spec, labels } = task;
  const { statesResult, hasNaturalInputs, sentencePositions, examples, difficultyName } = task;
  const flags = {
    supportsDrawing,
    supportsGeneration,
    statesResult,
    hasNaturalInputs,
    sentencePositions,
    difficultyName,
  };
  return { name, title, inputType, inputHint, inputEditor, spec, labels, examples, ...flags };
}

function generate(task, seed, index, difficulty) {
  const input = task.generateInput(seed, difficulty);
  if (typeof input === "string") return input;
  writeFileSync(join(directory, `${index}-${seed}.rgba`), input.data);
  return { width: input.width, height: input.height };
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
      answers: answers.map((choices) => ({
        ...task.formatAnswer(input, choices),
        correct: task.isCorrect(input, choices),
      })),
    };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { error: error.message, display: error.display ? flatten(error.display) : null };
  }
}

function run(job, index) {
  if (job.call) return FUNCTIONS[job.call](...job.args);
  const task = buildTask(job.task, { digitImages });
  if (job.describe) return describeTask(task);
  if (job.seeds) return job.seeds.map((seed) => generate(task, seed, index, job.difficulty ?? null));
  return parse(job, task, index);
}

const jobs = JSON.parse(readFileSync(join(directory, "jobs.json"), "utf-8"));
writeFileSync(join(directory, "results.json"), JSON.stringify(jobs.map(run)));
