import assert from "node:assert/strict";
import { test } from "node:test";
import { describeEntry, describeResult } from "../../ui/static/compare/describe.js";
import { parseComparison } from "../../ui/static/compare/parse.js";
import { isAtEnd } from "../../ui/static/log/component.js";
import { findCanvasPoint, fitPicture } from "../../ui/static/sketchpad/component.js";

const ENTRY = {
  name: "first",
  policy: "energy<-1",
  certainty: [0.1, 2, "x"],
  answers: ["a", "b", "c"],
  iterations: 6,
  answer_tick: 2,
};

test("entries of a comparison are validated", () => {
  const [entry] = parseComparison({ rows: [ENTRY] });
  assert.deepEqual([entry.ticks, entry.iterations, entry.answerTick, entry.certainty], [3, 6, 2, [0.1, 1, 0]]);
  const [bare] = parseComparison({ rows: [null] });
  assert.deepEqual([bare.ticks, bare.iterations, bare.problem], [0, 0, "It could not be run on this input."]);
  assert.equal(parseComparison({ rows: [{ problem: "No." }] })[0].problem, "No.");
  assert.equal(
    parseComparison({ rows: [{ ...ENTRY, problem: "No." }] })[0].problem,
    "",
    "an entry with a result has no problem",
  );
  assert.equal(parseComparison({ rows: [{ ...ENTRY, iterations: 1, answer_tick: 99 }] })[0].answerTick, 3);
  for (const invalid of [null, 7, [], {}, { rows: "x" }]) assert.deepEqual(parseComparison(invalid), []);
  assert.equal(parseComparison({ rows: new Array(99).fill(ENTRY) }).length, 6);
  assert.equal(parseComparison({ rows: [{ certainty: new Array(1e5).fill(1) }] })[0].ticks, 1000);
});

test("an entry is described at each tick and after it stopped", () => {
  const [entry] = parseComparison({ rows: [ENTRY] });
  assert.equal(describeEntry(entry, 2), "tick 2: b");
  assert.equal(describeEntry(entry, 3), "stopped after 3 of 6 ticks with the answer of tick 2: b");
  assert.equal(describeEntry({ ...entry, answerTick: 3 }, 9), "stopped after 3 of 6 ticks: c");
  assert.equal(describeEntry({ ...entry, answers: [] }, 1), "tick 1: ");
  const [judged] = parseComparison({ rows: [{ ...ENTRY, milliseconds: 6.44, verdict: "correct" }] });
  assert.equal(describeEntry(judged, 3), "stopped after 3 of 6 ticks with the answer of tick 2: b (correct, 6.4 ms)");
  const [unjudged] = parseComparison({ rows: [{ ...ENTRY, milliseconds: 6.44, verdict: "unknown" }] });
  assert.match(describeEntry(unjudged, 3), /: b \(6\.4 ms\)$/);
  assert.equal(describeEntry({ ...entry, problem: "No." }, 1), "No.");
  assert.equal(describeEntry({ ...entry, ticks: 1, iterations: 1, answerTick: 1 }, 1), "one pass, no ticks: a");
});

test("a result names the entries that stopped first", () => {
  const [first] = parseComparison({ rows: [ENTRY] });
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
