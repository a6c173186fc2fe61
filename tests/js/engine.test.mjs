import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { loadCheckpoint } from "../../ui/static/ctm/checkpoint.js";
import { readConfig } from "../../ui/static/ctm/config.js";
import { Engine } from "../../ui/static/ctm/engine.js";
import { EngineHost } from "../../ui/static/ctm/engine-host.js";
import { readHalting } from "../../ui/static/ctm/metadata.js";
import { BrowserPipeline } from "../../ui/static/ctm/pipeline.js";
import { parsePolicy } from "../../ui/static/ctm/policy-parser.js";
import { Recorder } from "../../ui/static/ctm/recorder.js";
import { parseSafetensors } from "../../ui/static/ctm/weights.js";
import { CHECKPOINT_FILES, readGolden } from "./engine/golden.mjs";

const ROOT = new URL("../../", import.meta.url);
const read = (path) => new Uint8Array(readFileSync(new URL(path, ROOT)));
const readFiles = (name) => new Map(CHECKPOINT_FILES.map((file) => [file, read(`checkpoints/${name}/${file}`)]));
const CONFIG = JSON.parse(new TextDecoder().decode(read("checkpoints/parity-16-untaught/config.json")));

/** Return the first held-out input of a checkpoint. */
function readInput(name) {
  const { shape, values } = readGolden(read(`tests/golden/browser/${name}.safetensors`)).tensors.get("inputs");
  return { shape: shape.slice(1), values: values.slice(0, values.length / shape[0]) };
}

/** Return a safetensors file with a header and data. */
function pack(header, dataBytes) {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** Assert that a call throws an error of one sentence. */
function rejects(run, pattern) {
  assert.throws(run, (error) => {
    assert.equal(error.constructor, Error);
    assert.match(error.message, /^[^\n]{10,400}\.$/);
    assert.match(error.message, pattern);
    return true;
  });
}

test("a damaged safetensors file is rejected in one sentence", () => {
  const entry = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  assert.equal(parseSafetensors(pack({ a: entry }, 8)).get("a").bytes.length, 8);
  const damaged = [
    new Uint8Array(3),
    pack("{", 0),
    pack("[]", 0),
    pack({ a: entry }, 7),
    pack({ a: entry }, 9),
    pack({ a: { ...entry, shape: [3] } }, 8),
    pack({ a: { ...entry, shape: [-2] } }, 8),
    pack({ a: { ...entry, data_offsets: [8, 0] } }, 8),
    pack({ a: null }, 0),
    pack({ a: entry, b: entry }, 8),
    pack({ a: entry, b: { ...entry, data_offsets: [12, 20] } }, 20),
  ];
  for (const file of damaged) rejects(() => parseSafetensors(file), /is not a whole safetensors file: /);
  const long = pack({ a: entry }, 8);
  new DataView(long.buffer).setBigUint64(0, 2n ** 63n, true);
  rejects(() => parseSafetensors(long), /the header is cut off/);
});

test("weights that do not fit the config are rejected in one sentence", () => {
  const files = readFiles("parity-16-untaught");
  const withConfig = (changes) => new Map([...files, ["config.json", { ...CONFIG, ...changes }]]);
  rejects(() => loadCheckpoint(withConfig({ d_model: 64 })), /`start_activated_state` should be \[64\], is \[128\]/);
  rejects(() => loadCheckpoint(withConfig({ energy_head_enabled: false })), /not known: energy_proj\.0\.bias/);
  rejects(() => loadCheckpoint(withConfig({ do_layernorm_nlm: true })), /missing: trace_processor/);
  const weights = files.get("model.safetensors").slice();
  weights.fill(0xff, weights.length - 64);
  rejects(
    () => loadCheckpoint(new Map([...files, ["model.safetensors", weights]])),
    /holds NaN or infinity|beyond d_model/,
  );
  files.delete("model.safetensors");
  rejects(() => loadCheckpoint(files), /model\.safetensors is missing/);
  rejects(() => loadCheckpoint(new Map()), /config\.json is missing/);
});

test("a config with a wrong value is rejected in one sentence", () => {
  assert.equal(readConfig({ ...CONFIG, architectures: ["x"] }).modelType, "ctm");
  const wrong = [
    [[], /group/],
    [{ ...CONFIG, d_model: 0 }, /`d_model` must be a whole number from 1/],
    [{ ...CONFIG, d_model: "128" }, /`d_model`/],
    [{ ...CONFIG, iterations: 1e9 }, /`iterations`/],
    [{ ...CONFIG, heads: 7 }, /multiple of heads/],
    [{ ...CONFIG, backbone_type: "__proto__" }, /is not known/],
    [{ ...CONFIG, prediction_reshaper: [3, -1] }, /does not fit out_dims/],
    [{ ...CONFIG, positional_embedding_type: "learnable-fourier" }, /does not fit backbone_type/],
    [{ ...CONFIG, neuron_select_type: "first-last", n_synch_out: 128 }, /first-last needs/],
    [{ ...CONFIG, d_model: undefined }, /`d_model` is missing/],
  ];
  for (const [values, pattern] of wrong) rejects(() => readConfig(values), pattern);
});

test("halting metadata with a wrong value are rejected in one sentence", () => {
  assert.deepEqual(readHalting({}).policies, []);
  const wrong = [
    [],
    { policies: [] },
    { policies: { a: {} } },
    { policies: { a: { policy: 3 } } },
    { energy: { margin: 0 } },
    { confidence: { temperatures: [0], whole: {} } },
    { confidence: { temperatures: [1], whole: { bias: "1" } } },
    { familiarity: { mean: [1], components: [[1, 2]], variances: [1], residual_variance: 1, threshold: 1 } },
  ];
  for (const values of wrong) rejects(() => readHalting(values), /^halting\.json is not what it should be/);
});

test("an input that does not fit the model is rejected in one sentence", () => {
  const { model } = loadCheckpoint(readFiles("parity-16-untaught"));
  rejects(() => model.encode(new Float32Array(17), [17]), /at most 16 symbols/);
  rejects(() => model.encode(Float32Array.of(3), [1]), /symbols from 0 to 2/);
  rejects(() => model.encode(new Float32Array(4), [2, 2]), /needs an input of shape/);
  rejects(() => model.encode(new Float32Array(4), [3]), /needs an input of shape/);
  const digits = loadCheckpoint(readFiles("digits")).model;
  rejects(() => digits.encode(new Float32Array(3 * 28 * 28), [3, 28, 28]), /needs an input of shape \(1, any, any\)/);
  const { model: frames } = loadCheckpoint(readFiles("qamnist"));
  rejects(() => frames.encode(new Float32Array(4), [2, 2]), /Frames have the shape/);
  rejects(() => frames.encode(new Float32Array(1025).fill(99), [1, 1025]), /Frames are pictures/);
});

test("a policy that needs an energy head is rejected by a model without one", () => {
  const { model } = loadCheckpoint(readFiles("parity-16-untaught"));
  model.config.energy_head_enabled = false;
  rejects(
    () => new Engine(model, parsePolicy("ticks=3|energy<1")),
    /needs an energy head, and this checkpoint has none/,
  );
});

test("two thoughts of one model do not depend on each other", () => {
  const { model } = loadCheckpoint(readFiles("parity-16-untaught"));
  const { values, shape } = readInput("parity-16-untaught");
  const encoded = model.encode(values, shape);
  const engine = new Engine(model, parsePolicy("certainty>1"));
  const first = engine.run(encoded);
  engine.run(model.encode(values.slice(0, 5), [5]));
  const second = engine.run(encoded);
  assert.deepEqual(second.history.logits, first.history.logits);
  assert.equal(first.ticks, 40);
  assert.equal(first.haltedBy, "budget");
});

test("a recorder keeps every tick, and a selection of what does not fit", () => {
  const { model } = loadCheckpoint(readFiles("parity-16-untaught"));
  const { values, shape } = readInput("parity-16-untaught");
  const encoded = model.encode(values, shape);
  const [all, few] = [new Recorder(), new Recorder(40 * 5 * 4 * 10)];
  let last;
  new Engine(model, parsePolicy("ticks=7")).run(encoded, (event) => {
    all.record(event);
    few.record(event);
    last = event.channels.post_activations.slice();
  });
  const activations = all.getChannel("post_activations");
  assert.equal(activations.values.length, 7 * 128);
  assert.deepEqual(activations.values.slice(6 * 128), last);
  assert.equal(all.getChannel("attention").width, 8 * 16);
  assert.equal(few.getChannel("attention"), null);
  assert.deepEqual([few.indices.get("post_activations").at(0), few.indices.get("post_activations").at(-1)], [0, 127]);
  assert.equal(few.getChannel("post_activations").width, 10);
});

test("a tick allocates no memory", () => {
  const { model } = loadCheckpoint(readFiles("parity-64"));
  const { values, shape } = readInput("parity-64");
  const encoded = model.encode(values, shape);
  model.start(encoded);
  const buffers = () => [model.readout.logits, ...Object.values(model.channels)].map(({ buffer }) => buffer);
  const before = buffers();
  for (let tick = 0; tick < 64; tick++) model.tick();
  assert.ok(buffers().every((buffer, index) => buffer === before[index]));
});

/** Return a host and the messages that it has sent. */
function createHost() {
  const messages = [];
  return { host: new EngineHost((message) => messages.push(message)), messages };
}

test("a host loads a checkpoint and posts ticks and the result of a thought", async () => {
  const { host, messages } = createHost();
  await host.handle({ type: "load", id: 1, files: readFiles("parity-16-untaught") });
  assert.equal(messages[0].type, "loaded");
  assert.deepEqual([messages[0].positions, messages[0].classes, messages[0].iterations], [16, 2, 40]);
  assert.ok(messages[0].policies.some(({ policy }) => policy === messages[0].defaultPolicy));
  const input = readInput("parity-16-untaught");
  await host.handle({ type: "think", id: 2, checkpoint: 1, ...input, policy: "ticks=3", recordsChannels: true });
  const [ticks, [result]] = [messages.slice(1, -1), messages.slice(-1)];
  assert.deepEqual(
    ticks.map(({ type, tick, haltReason }) => [type, tick, haltReason]),
    [
      ["tick", 1, null],
      ["tick", 2, null],
      ["tick", 3, "ticks=3"],
    ],
  );
  assert.equal(ticks[0].channels.sync_action.length, ticks[2].channels.sync_action.length);
  assert.notDeepEqual(ticks[0].channels.post_activations, ticks[1].channels.post_activations);
  assert.deepEqual([result.type, result.ticks, result.answerTick, result.reason], ["result", 3, 3, "set to 3 ticks"]);
  assert.equal(result.confidence.pCorrect.length, 3);
  assert.equal(result.probabilities.length, 3 * 32);
  assert.ok(Math.abs(result.probabilities[0] + result.probabilities[1] - 1) < 1e-6);
});

test("a record continues after the halting tick if the request says so", async () => {
  const { host, messages } = createHost();
  await host.handle({ type: "load", id: 1, files: readFiles("parity-16-untaught") });
  const request = { type: "predict", checkpoint: 1, input: "1011001" };
  await host.handle({ ...request, id: 2, policy: "ticks=3" });
  await host.handle({ ...request, id: 3, policy: "ticks=3", continuesAfterHalt: true, reportsTicks: true });
  await host.handle({ ...request, id: 4, policy: "ticks=40", continuesAfterHalt: true });
  const [halted, continued, complete] = messages.filter(({ type }) => type === "record").map(({ record }) => record);
  assert.equal(messages.filter(({ type }) => type === "tick").length, 3, "ticks after the halt are not reported");
  const { continuation, ...rest } = continued;
  const withoutOwn = ({ id, milliseconds, ...record }) => record;
  assert.deepEqual(withoutOwn(rest), withoutOwn(halted), "the record itself is the same");
  assert.equal(continuation.ticks, 40);
  for (const key of Object.keys(continuation)) assert.deepEqual(continuation[key], complete[key], key);
  assert.equal(complete.continuation, undefined, "nothing follows the last tick");
});

test("a host runs thoughts of one model one after the other", async () => {
  const { host, messages } = createHost();
  await host.handle({ type: "load", id: 1, files: readFiles("mazes-15-untaught") });
  const input = readInput("mazes-15-untaught");
  const request = { type: "think", checkpoint: 1, ...input, policy: "certainty>1" };
  await Promise.all(
    [2, 3, 4].map((id) => host.handle({ ...request, id })).concat(host.handle({ type: "cancel", id: 4 })),
  );
  const logits = (id) =>
    messages.filter((message) => message.type === "tick" && message.id === id).map((tick) => tick.logits);
  assert.equal(logits(2).length, 40);
  assert.deepEqual(logits(2), logits(3));
  assert.deepEqual(logits(4), []);
  assert.equal(messages.filter(({ type }) => type === "cancelled").length, 1);
});

test("a host cancels a thought between ticks and answers errors in one sentence", async () => {
  const { host, messages } = createHost();
  await host.handle({ type: "load", id: 1, files: Object.fromEntries(readFiles("mazes-15-untaught")) });
  const input = readInput("mazes-15-untaught");
  const thought = host.handle({ type: "think", id: 2, checkpoint: 1, ...input, policy: "certainty>1" });
  await host.handle({ type: "cancel", id: 2 });
  await thought;
  assert.equal(messages.at(-1).type, "cancelled");
  assert.ok(messages.length < 2 + 40);
  await host.handle({ type: "cancel", id: 77 });
  assert.deepEqual(messages.at(-1), { type: "cancelled", id: 77 });
  const wrong = [
    [{ type: "think", checkpoint: 9 }, /not loaded/],
    [{ type: "think", checkpoint: 1, ...input, policy: "nonsense" }, /is not a halting rule/],
    [{ type: "think", checkpoint: 1, values: [1], shape: [1] }, /numbers and a shape/],
    [{ type: "load", files: { "config.json": new Uint8Array(3) } }, /config\.json is not valid JSON/],
    [{ type: "sing" }, /knows load, think, predict, inside, cancel and unload/],
    [undefined, /knows load/],
  ];
  for (const [request, pattern] of wrong) {
    await host.handle(request && { id: 5, ...request });
    assert.equal(messages.at(-1).type, "error");
    assert.match(messages.at(-1).message, pattern);
  }
  await host.handle({ type: "unload", checkpoint: 1 });
  await host.handle({ type: "think", id: 6, checkpoint: 1, ...input });
  assert.match(messages.at(-1).message, /not loaded/);
});

/** Return a worker of this process. */
function createWorker() {
  const listeners = [];
  const host = new EngineHost((data) => {
    for (const listener of listeners) listener({ data });
  });
  return {
    addEventListener: (type, listener) => type === "message" && listeners.push(listener),
    postMessage: (message) => host.handle(message),
    terminate() {},
  };
}

test("a prediction that was aborted before it started does not replace the newer one in the inside view", async () => {
  const pipeline = await BrowserPipeline.load({
    name: "parity-16-untaught",
    files: readFiles("parity-16-untaught"),
    createWorker,
  });
  const signal = AbortSignal.abort();
  const record = await pipeline.run("1011001", "ticks=3");
  await assert.rejects(pipeline.run("1011001", "ticks=3", { signal }), { name: "AbortError" });
  const answer = await pipeline.inspect(record.id, { what: "neuron", neuron: 3 });
  assert.ok(Object.keys(answer).length > 0);
  await pipeline.run("101", "ticks=3");
  await assert.rejects(pipeline.inspect(record.id, { what: "neuron", neuron: 3 }), /no longer in memory/);
});
