/**
 * Time the engine of `ui/static/ctm` on one core: `node browser_engine.mjs REQUEST_FILE` prints the figures as JSON.
 *
 * The request holds `repeats` and `checkpoints`, each with `directory` and `inputs`, a safetensors file with a tensor `inputs`. Times
 * are processor time of the process, which other load on the computer affects little.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadCheckpoint } from "../ui/static/ctm/checkpoint.js";
import { Engine } from "../ui/static/ctm/engine.js";
import { parsePolicy } from "../ui/static/ctm/policy-parser.js";
import { decodeFloats, parseSafetensors } from "../ui/static/ctm/weights.js";

const FILES = ["model.safetensors", "config.json", "task.json", "halting.json"];
const WARM_UP_RUNS = 5;

/** Return the processor time of a call in milliseconds, and its result. */
function time(run) {
  const start = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(start);
  return [(user + system) / 1e3, result];
}

/** Return the median and the 95th percentile. */
function summarize(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { median: at(0.5), p95: at(0.95) };
}

/** Measure one checkpoint: loading, a full unroll and a halting thought, each with the encoding of the input. */
function measure({ directory, inputs }, repeats) {
  const names = FILES.filter((name) => existsSync(join(directory, name)));
  const files = new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(directory, name)))]));
  const [load, checkpoint] = time(() => loadCheckpoint(files));
  const { model, defaultPolicy } = checkpoint;
  const tensor = parseSafetensors(new Uint8Array(readFileSync(inputs))).get("inputs");
  const values = decodeFloats(tensor);
  const size = values.length / tensor.shape[0];
  const think = (policy, row) => {
    const encoded = model.encode(values.subarray(row * size, (row + 1) * size), tensor.shape.slice(1));
    return new Engine(model, parsePolicy(policy)).run(encoded);
  };
  const figures = { load, policy: defaultPolicy, samples: tensor.shape[0] };
  for (const [name, policy] of Object.entries({ full: "ticks=999999", halted: defaultPolicy })) {
    for (let run = 0; run < WARM_UP_RUNS; run++) think(policy, run % tensor.shape[0]);
    const runs = Array.from({ length: repeats * tensor.shape[0] }, (_, run) =>
      time(() => think(policy, run % tensor.shape[0])),
    );
    const ticks = runs.reduce((sum, [, result]) => sum + result.ticks, 0) / runs.length;
    figures[name] = { ...summarize(runs.map(([milliseconds]) => milliseconds)), ticks };
  }
  return figures;
}

const { checkpoints, repeats } = JSON.parse(readFileSync(process.argv[2], "utf-8"));
process.stdout.write(JSON.stringify(checkpoints.map((checkpoint) => measure(checkpoint, repeats))));
