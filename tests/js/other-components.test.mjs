import assert from "node:assert/strict";
import { test } from "node:test";
import { completeParts } from "../../ui/static/common/accessibility.js";
import { describeBaselines, parseChoices, selectBaselines, selectRules } from "../../ui/static/compare/choices.js";
import { describeEntry, describeResult, getMark } from "../../ui/static/compare/describe.js";
import { parseEntry } from "../../ui/static/compare/parse.js";
import { isAtEnd } from "../../ui/static/log/component.js";
import { findCanvasPoint, fitPicture } from "../../ui/static/sketchpad/component.js";
import { getCellCentre, hasInk, moveCell } from "../../ui/static/sketchpad/grid.js";

const ENTRY = {
  name: "first",
  policy: "energy<-1",
  certainty: [0.1, 2, "x"],
  answers: ["a", "b", "c"],
  iterations: 6,
  answer_tick: 2,
};

test("entries of a comparison are validated", () => {
  const entry = parseEntry(ENTRY);
  assert.deepEqual([entry.ticks, entry.iterations, entry.answerTick, entry.certainty], [3, 6, 2, [0.1, 1, 0]]);
  const bare = parseEntry(null);
  assert.deepEqual([bare.ticks, bare.iterations, bare.problem], [0, 0, "It could not be run on this input."]);
  assert.equal(parseEntry({ problem: "No." }).problem, "No.");
  assert.equal(parseEntry({ ...ENTRY, problem: "No." }).problem, "", "an entry with a result has no problem");
  assert.equal(parseEntry({ ...ENTRY, iterations: 1, answer_tick: 99 }).answerTick, 3);
  for (const invalid of [null, 7, [], {}]) assert.equal(parseEntry(invalid).ticks, 0);
  assert.equal(parseEntry({ certainty: new Array(1e5).fill(1) }).ticks, 1000);
});

test("an entry is described at each tick and after it stopped", () => {
  const entry = parseEntry(ENTRY);
  assert.equal(describeEntry(entry, 2), "tick 2: b");
  assert.equal(describeEntry(entry, 3), "stopped after 3 of 6 ticks with the answer of tick 2: b");
  assert.equal(describeEntry({ ...entry, answerTick: 3 }, 9), "stopped after 3 of 6 ticks: c");
  assert.equal(describeEntry({ ...entry, answers: [] }, 1), "tick 1: ");
  const judged = parseEntry({ ...ENTRY, milliseconds: 6.44, verdict: "correct" });
  assert.equal(describeEntry(judged, 3), "stopped after 3 of 6 ticks with the answer of tick 2: b (correct, 6.4 ms)");
  const unjudged = parseEntry({ ...ENTRY, milliseconds: 6.44, verdict: "unknown" });
  assert.match(describeEntry(unjudged, 3), /: b \(6\.4 ms\)$/);
  assert.equal(describeEntry({ ...entry, problem: "No." }, 1), "No.");
  assert.equal(describeEntry({ ...entry, ticks: 1, iterations: 1, answerTick: 1 }, 1), "one pass, no ticks: a");
});

test("a verdict has a mark if the answer is right or wrong", () => {
  assert.equal(getMark(parseEntry({ ...ENTRY, verdict: "correct" })).kind, "right");
  assert.equal(getMark(parseEntry({ ...ENTRY, verdict: "wrong" })).kind, "wrong");
  assert.equal(getMark(parseEntry({ ...ENTRY, verdict: "gave up" })).symbol, "");
});

const CHOICES = parseChoices([
  { value: "rule:a", name: "Rule: a", policy: "a" },
  { value: "rule:b", name: "Rule: b", policy: "b" },
  { value: "model:other", name: "other", model: "ctm", is_baseline: false },
  { value: "model:ff", name: "ff", model: "ff", is_baseline: true },
  { value: "model:lstm", name: "lstm", model: "lstm", is_baseline: true },
]);

test("one button compares with the models of other types, and one with other rules", () => {
  const baselines = selectBaselines(CHOICES);
  assert.deepEqual(
    baselines.map(({ value }) => value),
    ["model:lstm", "model:ff"],
  );
  assert.equal(describeBaselines(baselines), "with the LSTM and the feed-forward model");
  assert.equal(describeBaselines(baselines.slice(1)), "with the feed-forward model");
  assert.deepEqual(
    selectRules(CHOICES, "a").map(({ value }) => value),
    ["rule:b"],
  );
  for (const invalid of [null, 3, [null, 7]]) assert.ok(parseChoices(invalid).every(({ value }) => value === ""));
});

test("a result names the entries that stopped first", () => {
  const first = parseEntry(ENTRY);
  const second = { ...first, name: "second", ticks: 1 };
  assert.equal(describeResult([first]), "");
  assert.equal(describeResult([first, { ...second, problem: "No." }]), "");
  assert.match(describeResult([first, second]), /^First to stop: second, after 1 tick\.$/);
  assert.match(
    describeResult([first, second, { ...second, name: "third" }]),
    /^First to stop: second and third, after 1 tick\.$/,
  );
  assert.equal(describeResult([first, first]), "All stopped after 3 ticks.");
});

test("a log near its end counts as at its end", () => {
  assert.equal(isAtEnd({ scrollTop: 500, clientHeight: 100, scrollHeight: 600 }), true);
  assert.equal(isAtEnd({ scrollTop: 470, clientHeight: 100, scrollHeight: 600 }), true);
  assert.equal(isAtEnd({ scrollTop: 450, clientHeight: 100, scrollHeight: 600 }), false);
  assert.equal(isAtEnd({ scrollTop: 0, clientHeight: 0, scrollHeight: 0 }), true, "a hidden log counts as at its end");
});

test("a picture fills a canvas as far as its shape allows", () => {
  const canvas = { width: 280, height: 280 };
  assert.deepEqual(fitPicture({ width: 28, height: 28 }, canvas), [0, 0, 280, 280]);
  assert.deepEqual(fitPicture({ width: 56, height: 28 }, canvas), [0, 70, 280, 140]);
});

test("pointer positions are mapped to the resolution of the canvas", () => {
  const box = { left: 10, top: 20, width: 140, height: 140 };
  assert.deepEqual(findCanvasPoint({ clientX: 80, clientY: 90 }, box, { width: 280, height: 280 }), [140, 140]);
});

test("arrow keys move the cursor inside the grid of the sketchpad", () => {
  assert.deepEqual(moveCell([3, 4], [1, 0]), [4, 4]);
  assert.deepEqual(moveCell([0, 13], [-1, 0]), [0, 13]);
  assert.deepEqual(moveCell([0, 13], [0, 1]), [0, 13]);
  assert.deepEqual(getCellCentre([0, 13], { width: 280, height: 280 }), [270, 10]);
});

test("ink is darker than the middle between white and black", () => {
  assert.equal(hasInk(Uint8ClampedArray.from([255, 255, 255, 0, 17, 17, 17, 255])), true);
  assert.equal(hasInk(Uint8ClampedArray.from([255, 0, 0, 0])), false, "only the red part of a grey pixel counts");
});

/** Return an element that knows its attributes. */
function createFakeElement(textContent = "") {
  const attributes = new Map();
  const setAttribute = (name, value) => attributes.set(name, value);
  return { textContent, attributes, setAttribute, getAttribute: (name) => attributes.get(name) ?? null };
}

test("parts of Gradio without a name get one, those with a text keep it", () => {
  const [picture, text, search, code] = [createFakeElement(), createFakeElement("1011"), createFakeElement(), {}];
  const list = { querySelectorAll: () => [picture, text] };
  const parts = { ".gallery": [list], "input.search-input": [search], ".prose pre": [code] };
  completeParts({ querySelectorAll: (selector) => parts[selector] });
  assert.equal(picture.getAttribute("aria-label"), "Example 1 of 2");
  assert.equal(text.getAttribute("aria-label"), null);
  assert.equal(search.getAttribute("aria-label"), "Search in the table");
  assert.equal(code.tabIndex, 0);
});
