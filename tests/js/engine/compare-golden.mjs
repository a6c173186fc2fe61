/**
 * Compare the engine with golden files: `node compare-golden.mjs CHECKPOINT_DIRECTORY GOLDEN_FILE ...`, in pairs, prints one report
 * per pair as JSON.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compareGolden } from "./golden.mjs";

const paths = process.argv.slice(2);
const read = (path) => new Uint8Array(readFileSync(path));
const reports = [];
for (let index = 0; index < paths.length; index += 2) {
  const names = readdirSync(paths[index]).filter((name) => /\.(json|safetensors)$/.test(name));
  const files = new Map(names.map((name) => [name, read(join(paths[index], name))]));
  reports.push(compareGolden(files, read(paths[index + 1])));
}
process.stdout.write(JSON.stringify(reports));
