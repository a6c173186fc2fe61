import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { EngineHost } from "../../ui/static/ctm/engine-host.js";
import {
  accumulateShares,
  buildWindow,
  computePairTerms,
  correlate,
  countPairsForShare,
  readNeuronModel,
  runNeuronModel,
  sortBySize,
  sortNeurons,
} from "../../ui/static/inside/arithmetic.js";
import { describePlace, listTopPlaces } from "../../ui/static/inside/attention.js";
import { buildRequest, ContributionCache } from "../../ui/static/inside/contribution-cache.js";
import { decodeArray, decodeHalf, findNeuronPairs, rankClasses, readOverview } from "../../ui/static/inside/data.js";
import { computeLayout } from "../../ui/static/inside/layout.js";
import { chooseLines, MAX_LINES, placeNeurons } from "../../ui/static/inside/lines.js";
import { describeSilenced } from "../../ui/static/inside/neuron.js";
import { describePair, readPair } from "../../ui/static/inside/pair.js";
import {
  buildView,
  DEFAULT_CAMERA,
  findLineAt,
  findNeuronAt,
  projectPoint,
  turnCamera,
} from "../../ui/static/inside/projection.js";
import { createSource, ServerRequests } from "../../ui/static/inside/sources.js";

const encode = (typed) => Buffer.from(typed.buffer, typed.byteOffset, typed.byteLength).toString("base64");
const INVALID_VALUES = [
  undefined,
  null,
  7,
  "x",
  [],
  {},
  { type: "float32" },
  { type: "float32", data: "AAA" },
  { type: "float64", data: "" },
];

/** Run a bundled checkpoint in the engine, and return a source of its inside. */
async function openSource(name, input, policy) {
  const messages = [];
  const host = new EngineHost((message) => messages.push(message));
  const files = {};
  for (const file of ["model.safetensors", "config.json", "task.json", "halting.json", "layout.json"]) {
    files[file] = new Uint8Array(readFileSync(new URL(`../../checkpoints/${name}/${file}`, import.meta.url)));
  }
  const ask = async (request) => {
    await host.handle(request);
    const response = messages.pop();
    if (response.type === "error") throw new Error(response.message);
    return response;
  };
  await ask({ type: "load", id: 0, files });
  const { record } = await ask({ type: "predict", id: 1, checkpoint: 0, input, policy });
  let id = 1;
  return createSource(async (request) => {
    id += 1;
    return (await ask({ type: "inside", id, checkpoint: 0, record: record.id, request })).answer;
  });
}

const source = await openSource("arithmetic", "2 4 6 8", "ticks=7");
const overview = readOverview(await source.getOverview());

test("half-precision numbers are decoded", () => {
  const cases = [
    [0x0000, 0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x3555, 0.333251953125],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x7c00, Number.POSITIVE_INFINITY],
  ];
  for (const [bits, expected] of cases) assert.equal(decodeHalf(bits), expected);
  assert.ok(Number.isNaN(decodeHalf(0x7e00)));
});

test("arrays are decoded from base64 and from typed arrays; other values are none", () => {
  const floats = Float32Array.of(1.5, -2);
  assert.deepEqual(decodeArray({ type: "float32", data: encode(floats) }), floats);
  assert.equal(decodeArray(floats), floats);
  assert.deepEqual([...decodeArray({ type: "uint16", data: encode(Uint16Array.of(1, 300)) })], [1, 300]);
  assert.deepEqual([...decodeArray({ type: "float16", data: encode(Uint16Array.of(0x3c00)) })], [1]);
  assert.deepEqual([...decodeArray({ type: "uint8", data: encode(Uint8Array.of(9)) })], [9]);
  for (const value of INVALID_VALUES) assert.equal(decodeArray(value), null, JSON.stringify(value));
});

test("an overview with a missing or damaged part is an error of one sentence", async () => {
  const answer = await source.getOverview();
  for (const name of ["activations", "pre_activations", "sync_out", "logits", "pairs"]) {
    for (const value of INVALID_VALUES) {
      assert.throws(() => readOverview({ ...answer, [name]: value }), /incomplete: run the model again/, name);
    }
  }
  const far = { ...answer.pairs, left: Int32Array.from(answer.pairs.left, () => 5000) };
  assert.throws(() => readOverview({ ...answer, pairs: far }), /incomplete/);
  for (const value of INVALID_VALUES) assert.throws(() => readOverview(value), /incomplete/);
});

test("a missing or foreign layout is replaced by one of this unroll", async () => {
  const answer = await source.getOverview();
  assert.ok(overview.layout.isStored);
  for (const layout of [null, 3, { order: [0], x: [0], y: [0] }, { ...answer.layout, order: answer.layout.x }]) {
    const computed = readOverview({ ...answer, layout }).layout;
    assert.equal(computed.isStored, false);
    assert.deepEqual(
      [...computed.order].sort((a, b) => a - b),
      Array.from({ length: 128 }, (_, index) => index),
    );
    assert.ok(computed.places.every((value) => Math.abs(value) <= 1.001));
  }
});

test("neurons with equal activations are neighbours in a computed layout", () => {
  const signals = [Math.sin, Math.cos, (x) => Math.sin(2 * x)];
  const activations = Float32Array.from({ length: 40 * 30 }, (_, at) =>
    signals[(at % 30) % 3](Math.floor(at / 30) / 3),
  );
  const { order } = computeLayout(activations, 30, 40);
  const changes = order.filter((neuron, rank) => neuron % 3 !== order.at(rank - 1) % 3).length;
  assert.ok(changes <= 6, `${changes} changes`);
  assert.ok(computeLayout(new Float32Array(20), 5, 4).places.every(Number.isFinite), "constant neurons");
  assert.ok(computeLayout(new Float32Array(3), 1, 3).places.every(Number.isFinite), "one neuron");
});

test("the model of a neuron gives the activation of the engine", async () => {
  for (const neuron of [0, 17, 127]) {
    const model = readNeuronModel(await source.getNeuron(neuron));
    for (let tick = 1; tick <= overview.ticks; tick++) {
      const outputs = runNeuronModel(model, buildWindow(model, tick));
      assert.ok(Math.abs(outputs.at(-1).outputs[0] - model.activations[tick - 1]) < 1e-5);
      assert.equal(outputs.length, 2);
    }
  }
});

test("the terms of a pair give its synchronisation", async () => {
  for (const kind of ["out", "action"]) {
    const pair = readPair(await source.getPair(kind, 11));
    for (let tick = 1; tick <= overview.ticks; tick++) {
      assert.ok(Math.abs(computePairTerms(pair, tick).value - pair.sync[tick - 1]) < 1e-4, `${kind} ${tick}`);
    }
    assert.match(describePair(pair, 3, null), /^Neuron.* up to tick 3: synchronisation .*\.$/);
  }
  const answering = readPair(await source.getPair("out", 11));
  assert.match(describePair(answering, 3, -0.5), /this lowers the value that is explained by 0\.500\.$/);
});

test("bias and contributions add up to the logit that is explained", async () => {
  const size = overview.logits.length / overview.ticks;
  for (const [target, against] of [
    [3, null],
    [12, null],
    [3, 7],
  ]) {
    const { values, bias, output } = await source.getContributions({ of: "answer", target, against, tick: 6 });
    const read = (index) => overview.logits[5 * size + index];
    const expected = read(target) - (against === null ? 0 : read(against));
    assert.ok(Math.abs(values.reduce((sum, value) => sum + value, bias) - expected) < 1e-4);
    assert.ok(Math.abs(output - expected) < 1e-4);
  }
});

test("contributions of a tick that passes by come from its rounded synchronisation", async () => {
  const cache = new ContributionCache();
  const query = { of: "answer", position: 1, target: 4, against: "runner-up" };
  const [request, other] = [6, 5].map((tick) => buildRequest({ query: { ...query, against: 2 }, tick }, overview));
  assert.deepEqual(request, { of: "answer", target: 14, against: 12, tick: 6 });
  assert.equal(buildRequest({ query, tick: 6 }, overview).against, 10 + rankClasses(overview, 6, 1)[1]);
  assert.deepEqual(buildRequest({ query: { ...query, of: "energy" }, tick: 2 }, overview), { of: "energy", tick: 2 });
  assert.equal(cache.get(request, overview), null);
  assert.ok(cache.reserve(request));
  assert.equal(cache.reserve(request), false, "it is requested once");
  cache.release(request);
  assert.ok(cache.reserve(request));
  cache.take(request, await source.getContributions(request));
  assert.equal(cache.get(request, overview).isApproximate, false);
  const passing = cache.get(other, overview);
  assert.ok(passing.isApproximate);
  const exact = await source.getContributions(other);
  assert.ok(Math.abs(passing.output - exact.output) < 1e-3);
  cache.clear();
  assert.equal(cache.get(request, overview), null);
});

test("silencing does not change later answers", async () => {
  const silenced = await source.silence(4);
  assert.equal(silenced.ticks, 7);
  assert.notDeepEqual(silenced.logits, overview.logits);
  assert.deepEqual((await source.getOverview()).logits, overview.logits);
  const model = readNeuronModel(await source.getNeuron(4));
  assert.ok(model.activations.some((value) => value !== 0));
});

test("what silencing changes is described", () => {
  const before = { ticks: 3, answerTick: 3, labelsByTick: ["1", "2", "2"] };
  const after = { ticks: 2, answerTick: 2, labelsByTick: ["1", "5"] };
  assert.equal(
    describeSilenced(9, before, after),
    "With neuron 9 held at zero, the answer is “5” instead of “2”, after 2 ticks instead of 3; it differs at 1 of 2 ticks.",
  );
  assert.match(describeSilenced(9, before, before), /the answer stays “2”, after 3 ticks as before/);
});

test("pairs are sorted by size, and counted until they make a share", () => {
  const order = sortBySize([1, -4, 3]);
  assert.deepEqual([...order], [1, 2, 0]);
  const shares = accumulateShares([1, -4, 3], order);
  assert.deepEqual([...shares], [0.5, 0.875, 1]);
  assert.deepEqual(
    [0.5, 0.8, 1].map((share) => countPairsForShare(shares, share)),
    [1, 2, 3],
  );
  assert.deepEqual([...accumulateShares([0, 0], Int32Array.of(0, 1))], [0, 0]);
});

test("lines are those of the largest values and of the selected neuron, without pairs of a neuron with itself", () => {
  const { out } = overview.pairs;
  const values = Float32Array.from({ length: out.count }, (_, pair) => out.count - pair);
  const lines = chooseLines(out, values, null);
  const selfPairs = [...out.left].slice(0, MAX_LINES).filter((left, pair) => left === out.right[pair]).length;
  assert.equal(lines.length, Math.min(MAX_LINES, out.count) - selfPairs);
  assert.ok(lines.every(({ share }) => share > 0 && share <= 1));
  const own = findNeuronPairs(out, 5);
  const withOwn = new Set(chooseLines(out, values, 5).map(({ pair }) => pair));
  for (const pair of own) assert.ok(withOwn.has(pair) || out.left[pair] === out.right[pair]);
});

test("neurons are sorted by number, phase and correlation", () => {
  assert.deepEqual(sortNeurons(overview, "index", 0).slice(0, 3), [0, 1, 2]);
  assert.deepEqual(sortNeurons(overview, "phase", 0), overview.layout.order);
  const sorted = sortNeurons(overview, "correlation", 9);
  assert.equal(sorted[0], 9);
  const values = sorted.map((neuron) => correlate(overview.activations, 128, overview.ticks, 9, neuron));
  for (let rank = 2; rank < values.length; rank++) assert.ok(values[rank] <= values[rank - 1]);
});

test("classes are ranked by their logit", () => {
  const ranked = rankClasses(overview, 7, 1);
  const start = 6 * 30 + 10;
  for (let rank = 1; rank < 10; rank++) {
    assert.ok(overview.logits[start + ranked[rank - 1]] >= overview.logits[start + ranked[rank]]);
  }
});

test("few neurons form a ring, many those of the layout", () => {
  const layout = { order: [2, 0, 1], places: Float32Array.of(9, 9, 9, 9, 9, 9) };
  const ring = placeNeurons({ neurons: 3, layout });
  for (let neuron = 0; neuron < 3; neuron++) {
    assert.ok(Math.abs(Math.hypot(ring[2 * neuron], ring[2 * neuron + 1]) - 1) < 1e-6);
  }
  assert.ok(Math.abs(ring[4] - 1) < 1e-6, "the first neuron of the order is at angle 0");
  assert.equal(placeNeurons(overview), overview.layout.places);
});

test("a neuron and a line are found where they are drawn, from any side", () => {
  const size = { width: 400, height: 300 };
  for (const camera of [DEFAULT_CAMERA, turnCamera(DEFAULT_CAMERA, 1.1, -0.4), { yaw: 0, pitch: 0, zoom: 2 }]) {
    const view = buildView(camera, size, 3, 20);
    const places = Float32Array.of(-0.8, 0.1, 0.5, 0.7, 0.2, -0.6);
    for (let neuron = 0; neuron < 3; neuron++) {
      const point = projectPoint(view, places[2 * neuron], places[2 * neuron + 1], 3);
      assert.equal(findNeuronAt(view, places, point, 10), neuron);
    }
    const [a, b] = [projectPoint(view, -0.8, 0.1, 3), projectPoint(view, 0.5, 0.7, 3)];
    const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    assert.equal(findLineAt(view, places, [{ left: 0, right: 1, pair: 42 }], middle, 5), 42);
    assert.equal(findLineAt(view, places, [{ left: 0, right: 1, pair: 42 }], { x: -100, y: -100 }, 5), -1);
  }
  assert.ok(Math.abs(turnCamera(DEFAULT_CAMERA, 0, 9).pitch) < Math.PI / 2);
});

test("the plane that is shown is centred, and later planes are on one side", () => {
  const view = buildView(DEFAULT_CAMERA, { width: 400, height: 300 }, 5, 10);
  const { x, y, scale } = projectPoint(view, 0, 0, 5);
  assert.deepEqual([x, y, scale], [200, 150, 1]);
  const before = projectPoint(view, 0, 0, 4);
  const after = projectPoint(view, 0, 0, 6);
  assert.ok(before.x > 200 !== after.x > 200);
});

test("attention lists the places with the largest weights", () => {
  const attention = {
    heads: 2,
    map: [2, 2],
    places: 4,
    scale: Float32Array.of(1, 0.5, 0, 1),
    data: Uint8Array.of(0, 9, 3, 1, 2, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0),
  };
  assert.deepEqual(listTopPlaces(attention, 1, 0), [
    { place: 1, weight: 9 },
    { place: 2, weight: 3 },
    { place: 3, weight: 1 },
  ]);
  assert.deepEqual(listTopPlaces(attention, 2, 0), []);
  assert.equal(describePlace([2, 2], 2), "row 2, column 1");
  assert.equal(describePlace([7], 2), "place 3");
});

test("requests to the server are sent one after the other, and stale values are ignored", async () => {
  const sent = [];
  const requests = new ServerRequests((message) => sent.push(message));
  const first = requests.ask("r", { what: "overview" });
  const second = requests.ask("r", { what: "neuron", neuron: 1 });
  assert.equal(sent.length, 1);
  requests.receive({});
  requests.receive(sent[0]);
  requests.receive({ serial: 77, answer: {} });
  assert.equal(sent.length, 1);
  requests.receive({ serial: sent[0].serial, answer: { ticks: 2 } });
  assert.deepEqual(await first, { ticks: 2 });
  assert.equal(sent.length, 2);
  requests.receive({ serial: sent[1].serial, problem: "No." });
  await assert.rejects(second, /^Error: No\.$/);
});
