/**
 * Predict records with the engine's host, for tests that compare them with Python.
 *
 * Usage: node predict-records.mjs JOBS. JOBS is a JSON file, a list of {directory, name, digits, accuracies, guarantees, requests};
 * a request is {text, policy} or {file, width, height, policy} with RGBA bytes. Prints a list of records or errors per job.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineHost } from "../../ui/static/ctm/engine-host.js";

const FILES = ["config.json", "task.json", "halting.json", "model.safetensors"];

async function predict({ directory, name, digits, accuracies, guarantees, requests }) {
  const answers = [];
  const host = new EngineHost((message) => answers.push(message));
  const paths = FILES.map((file) => [file, join(directory, file)]).filter(([, path]) => existsSync(path));
  const files = new Map(paths.map(([file, path]) => [file, new Uint8Array(readFileSync(path))]));
  const digitImages = digits ? new Uint8Array(readFileSync(digits)) : null;
  await host.handle({ type: "load", id: 0, files, name, digitImages, accuracies, guarantees });
  for (const [index, { text, file, width, height, policy }] of requests.entries()) {
    const input = text ?? { width, height, data: new Uint8ClampedArray(readFileSync(file)) };
    await host.handle({ type: "predict", id: index + 1, checkpoint: 0, input, policy, reportsTicks: index === 0 });
  }
  return answers;
}

const jobs = JSON.parse(readFileSync(process.argv[2], "utf8"));
const results = [];
for (const job of jobs) results.push(await predict(job));
process.stdout.write(JSON.stringify(results));
