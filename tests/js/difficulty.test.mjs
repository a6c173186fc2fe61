import assert from "node:assert/strict";
import { test } from "node:test";
import { describeLevel, parseScale } from "../../ui/static/difficulty/scale.js";

const VALUE = {
  name: "steps to the goal",
  noun: "mazes",
  verb: "solved",
  levels: [
    { level: 10, accuracy: 0.9976, samples: 424 },
    { level: 22, accuracy: 0.952, samples: 1396 },
  ],
  selected: 1,
};

test("a level is described with its measured accuracy and number of samples", () => {
  assert.deepEqual(describeLevel(parseScale(VALUE)), {
    label: "Difficulty of a random input: 22 steps to the goal",
    line: "95% of such mazes are solved (n = 1,396).",
  });
  const easy = describeLevel(parseScale({ ...VALUE, selected: 0 }));
  assert.equal(easy.line, "99.8% of such mazes are solved (n = 424).", "it must not be rounded to all of them");
});

test("invalid scales have no levels", () => {
  for (const invalid of [null, 3, { levels: "x" }, { levels: [null, {}] }, { levels: [VALUE.levels[0]] }]) {
    assert.deepEqual(parseScale(invalid).levels, []);
  }
  assert.equal(parseScale({ ...VALUE, selected: 99 }).selected, 1);
});
