import assert from "node:assert/strict";
import { test } from "node:test";
import { getAccuracyRange, getCurveColour, isDashed, layOutFrame } from "../../ui/static/halting/chart.js";
import {
  buildCurvesFigure,
  buildReliabilityFigure,
  formatCurvesCsv,
  formatReliabilityCsv,
} from "../../ui/static/halting/figures.js";
import {
  findBestAccuracy,
  findCorner,
  getFirstBudget,
  isWithin,
  parseHalting,
  roundBudget,
} from "../../ui/static/halting/parse.js";
import { describeCurves, describeLevel, describeReliability } from "../../ui/static/halting/tables.js";
import { THEME } from "./browser-stubs.mjs";

const VALUE = {
  iterations: 6,
  n: 800,
  split: "calibration",
  curves: [
    {
      name: "energy",
      label: "energy",
      form: "energy<",
      corners: [
        [4, 0.99, 2],
        [1, 0.8, -1],
        [2, "x", 1],
        [3, 0.97, 1],
      ],
    },
  ],
  rules: [
    {
      label: "safe",
      rule: "energy<1",
      ticks: 3.04,
      accuracy: 0.97,
      held_out: { accuracy: 0.9, mean_ticks: 3, lost: 0.01 },
    },
    { label: "fast", rule: "energy<2", ticks: 2, accuracy: 0.9, default: true, held_out: { accuracy: 0.9 } },
    { label: "unknown" },
  ],
  held_out: { n: 400 },
  reliability: {
    ece: 0.012,
    bins: [
      [0.5, 0.4, 10],
      [0.99, 0.98, 790],
      ["x", 1, 1],
    ],
  },
};

test("parsing keeps the valid parts of a view", () => {
  const view = parseHalting(VALUE);
  assert.deepEqual(view.curves[0].corners, [
    [1, 0.8, -1],
    [3, 0.97, 1],
    [4, 0.99, 2],
  ]);
  assert.deepEqual(
    view.policies.map(({ heldOut }) => heldOut !== null),
    [true, false],
  );
  assert.deepEqual([view.samples, view.heldOutSamples, view.calibrationError, view.bins.length], [800, 400, 0.012, 2]);
});

test("a view without a valid curve is null", () => {
  for (const invalid of [
    null,
    7,
    [],
    {},
    { ...VALUE, curves: [] },
    { ...VALUE, curves: [{ corners: [[1, 2]] }] },
    { ...VALUE, iterations: "x" },
  ]) {
    assert.equal(parseHalting(invalid), null);
  }
  const bare = parseHalting({ curves: VALUE.curves, iterations: 0, n: Number.NaN });
  assert.deepEqual([bare.iterations, bare.samples, bare.policies, bare.bins], [1, null, [], []]);
});

test("a corner is the least conservative one within a budget", () => {
  const [curve] = parseHalting(VALUE).curves;
  assert.deepEqual(findCorner(curve, 3.5), [3, 0.97, 1]);
  assert.deepEqual(findCorner(curve, 3), [3, 0.97, 1]);
  assert.deepEqual(findCorner(curve, 0.5), [1, 0.8, -1], "the first corner if all corners exceed the budget");
  assert.equal(isWithin(0.1 + 0.2, 0.3), true);
});

test("budgets are rounded to tenths of a tick and clamped to the available ticks", () => {
  assert.equal(roundBudget(3.04, 6), 3);
  assert.equal(roundBudget(0, 6), 1);
  assert.equal(roundBudget(99, 6), 6);
  assert.equal(roundBudget(5, 0.5), 1);
  const view = parseHalting(VALUE);
  assert.equal(getFirstBudget(view), 2, "the budget of the default policy");
  assert.equal(getFirstBudget({ ...view, policies: [view.policies[0]] }), 3);
  assert.equal(getFirstBudget({ ...view, policies: [] }), 6);
});

test("a level is described in numbers", () => {
  const [curve] = parseHalting(VALUE).curves;
  assert.deepEqual(describeLevel(curve, 3, 0.99), {
    accuracy: "97.0%",
    loss: "2 points",
    ticks: "3",
    policy: "energy<1",
  });
  assert.deepEqual(describeLevel(curve, 4, 0.99).loss, "nothing");
  assert.equal(describeLevel(curve, 0.5, 0.99).ticks, "needs at least 1");
  assert.equal(describeLevel({ ...curve, form: "" }, 3, 0.99).policy, "", "an oracle has no policy");
  assert.equal(describeLevel({ ...curve, corners: [[1, 1, 0.123456789]] }, 3, 1).policy, "energy<0.12346");
});

test("the loss of every curve is against the best accuracy of all that have a policy", () => {
  const energy = { form: "energy<", corners: [[3, 0.776, 1]] };
  const fixed = { form: "ticks=", corners: [[25, 0.696, 25]] };
  const oracle = { form: "", corners: [[13, 0.85, 1]] };
  assert.equal(findBestAccuracy([energy, fixed, oracle]), 0.776);
  assert.equal(findBestAccuracy([oracle]), 0.85);
  assert.equal(describeLevel(fixed, 40, 0.776).loss, "8 points");
  assert.equal(describeLevel(oracle, 40, 0.776).loss, "nothing");
});

test("charts are described in sentences", () => {
  const view = parseHalting(VALUE);
  assert.match(describeCurves(view), /on 800 calibration samples/);
  assert.match(describeCurves({ ...view, samples: null }), /on some calibration samples/);
  assert.match(
    describeReliability(view),
    /790 of 400 answers at 99.0% confidence, 98.0% correct. Average gap \(ECE\): 1.2 points.$/,
  );
  assert.match(
    describeReliability({ ...view, heldOutSamples: null, calibrationError: null }),
    /790 of all answers .*98.0% correct.$/,
  );
});

test("a frame maps values to pixels and back", () => {
  const frame = layOutFrame(600, 250, [1, 6], [0.5, 1]);
  assert.deepEqual([frame.toX(1), frame.toX(6), frame.toY(0.5), frame.toY(1)], [44, 586, 216, 8]);
  assert.ok(Math.abs(frame.toValue(frame.toX(3.3) / 600) - 3.3) < 1e-9);
  assert.ok(Number.isFinite(layOutFrame(120, 250, [1, 1], [1, 1]).toX(1)));
});

test("the accuracy range is extended to multiples of 0.1", () => {
  const range = (...values) => getAccuracyRange([{ corners: values.map((value) => [1, value, 0]) }]);
  assert.deepEqual(range(0.82, 0.95), [0.8, 1]);
  assert.deepEqual(range(0, 1), [0, 1]);
  assert.ok(range(0.8)[0] < 0.8, "a curve does not lie on the axis");
});

test("unknown curves have a default colour", () => {
  assert.equal(getCurveColour("energy"), "var(--energy)");
  assert.equal(getCurveColour("constructor"), "var(--fixed)");
  assert.deepEqual(["fixed", "energy", "toString"].map(isDashed), [true, false, false]);
});

test("the figures for plotly.js have all curves, the rules, the budget and the groups of answers", () => {
  const view = parseHalting(VALUE);
  const { data, layout } = buildCurvesFigure(view, THEME, (name) => `colour of ${name}`, 2.5);
  assert.deepEqual([data[0].line.color, data[0].x.at(-1)], ["colour of energy", 6]);
  assert.deepEqual(data.at(-1).text, ["1", "2"]);
  assert.deepEqual([layout.shapes[0].x0, layout.xaxis.range], [2.5, [1, 6]]);
  const reliability = buildReliabilityFigure(view.bins, THEME, "red");
  assert.deepEqual(reliability.data[0].customdata, [10, 790]);
  assert.equal(formatCurvesCsv(view).split("\n")[1], "energy,1,0.8,-1");
  assert.equal(formatReliabilityCsv(view).split("\n")[2], "0.99,0.98,790");
});
