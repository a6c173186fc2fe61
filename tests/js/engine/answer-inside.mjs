/** Answer requests about the inside of a prediction, and print the answers as JSON. See `tests/ui/test_javascript_inside.py`. */

import { existsSync, readFileSync } from "node:fs";
import { EngineHost } from "../../../ui/static/ctm/engine-host.js";
import { computeLayout } from "../../../ui/static/inside/layout.js";

const { directory, input, policy, requests } = JSON.parse(process.argv[2]);
const messages = [];
const host = new EngineHost((message) => messages.push(message));
const names = ["model.safetensors", "config.json", "task.json", "halting.json", "layout.json"];
const paths = names.map((name) => [name, `${directory}/${name}`]).filter(([, path]) => existsSync(path));
const files = Object.fromEntries(paths.map(([name, path]) => [name, new Uint8Array(readFileSync(path))]));

/** Send a request and return its response. */
async function ask(request) {
  await host.handle(request);
  return messages.pop();
}

await ask({ type: "load", id: 0, files, name: "test" });
const predicted = await ask({ type: "predict", id: 1, checkpoint: 0, input, policy });
if (predicted.type !== "record") throw new Error(predicted.message);
const answers = [];
for (const [index, request] of requests.entries()) {
  const response = await ask({ type: "inside", id: 2 + index, checkpoint: 0, record: predicted.record.id, request });
  answers.push(response.answer ?? { error: response.message });
}
const stale = await ask({ type: "inside", id: 99, checkpoint: 0, record: "other", request: { what: "overview" } });
const { activations, neurons, ticks } = answers[0];
const layout = activations ? computeLayout(activations, neurons, ticks) : null;
const toLists = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
process.stdout.write(JSON.stringify({ answers, layout, stale: stale.message }, toLists));
