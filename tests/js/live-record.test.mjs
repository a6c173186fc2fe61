import assert from "node:assert/strict";
import { test } from "node:test";
import { isGrowing, LiveRecord } from "../../ui/static/thought/live-record.js";
import { parseRecord } from "../../ui/static/thought/parse-record.js";

const partial = (id, changes = {}) => ({ id, is_complete: false, is_stopped: false, ...changes });

test("a record grows until it is complete or stopped", () => {
  assert.equal(isGrowing(partial("a")), true);
  assert.equal(isGrowing(partial("a", { is_stopped: true })), false);
  for (const record of [{}, { id: "a" }, { is_complete: true }]) assert.equal(isGrowing(record), false);
});

test("updates of the shown record are distinguished from new records", () => {
  const live = new LiveRecord();
  assert.equal(live.receive(partial("a")), "new");
  assert.equal(live.receive(partial("a")), "update");
  assert.equal(live.receive({ id: "a" }), "update");
  assert.equal(live.receive({ id: "a" }), "outdated", "the server repeats its last message");
  assert.equal(live.receive({ id: "b" }), "new");
  assert.equal(live.receive({ id: "b" }), "new", "a record that came whole may be shown again");
});

test("a stopped record is final, and late updates of a former record are ignored", () => {
  const live = new LiveRecord();
  live.receive(partial("a"));
  assert.equal(live.receive(partial("a", { is_stopped: true })), "update");
  assert.equal(live.receive(partial("a", { is_stopped: true })), "outdated");
  assert.equal(live.receive(partial("b")), "new");
  assert.equal(live.receive(partial("a")), "outdated");
  assert.equal(live.receive(partial("b")), "update");
  assert.equal(live.receive({ selected: "digits" }), "new");
  assert.equal(live.receive(partial("b")), "outdated");
});

test("a new record is followed again", () => {
  const live = new LiveRecord();
  live.receive(partial("a"));
  live.isFollowing = false;
  live.receive(partial("a"));
  assert.equal(live.isFollowing, false, "the visitor's choice wins");
  live.receive(partial("b"));
  assert.equal(live.isFollowing, true);
});

test("a parsed record says whether it is partial and whether it grows", () => {
  const parse = (changes) => parseRecord({ ticks: 1, iterations: 5, certainty: [0.5], ...changes });
  const read = ({ isPartial, isGrowing: grows }) => [isPartial, grows];
  assert.deepEqual(read(parse({})), [false, false]);
  assert.deepEqual(read(parse(partial("a"))), [true, true]);
  assert.deepEqual(read(parse(partial("a", { is_stopped: true }))), [true, false]);
});
