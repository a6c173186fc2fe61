import assert from "node:assert/strict";
import { test } from "node:test";
import { activityPanel, parseActivity } from "../../ui/static/thought/panels/activity.js";
import {
  answerPanel,
  computeColourStrength,
  computeStripHeight,
  getPositionNames,
  listBars,
  selectLabelForm,
} from "../../ui/static/thought/panels/answer.js";
import {
  attentionPanel,
  getHeadWeights,
  isWithoutPicture,
  layOutHeads,
  parseAttention,
  sumHeadWeights,
} from "../../ui/static/thought/panels/attention.js";
import {
  buildEnergyScale,
  chartPanel,
  describeChange,
  findThresholdNear,
  findTickAt,
  layOutChart,
} from "../../ui/static/thought/panels/chart.js";
import { ctcPanel, findRoomBeside, parseEmissions } from "../../ui/static/thought/panels/ctc.js";
import { inputPanel } from "../../ui/static/thought/panels/input.js";
import { parseRoutes, reachesGoal, routePanel } from "../../ui/static/thought/panels/route.js";
import { findPhase, parseSchedule, schedulePanel } from "../../ui/static/thought/panels/schedule.js";
import { describeVerdict, getPrediction, parseStack, stackPanel } from "../../ui/static/thought/panels/stack.js";
import {
  getQuarter,
  listPossiblePlaces,
  parseTrajectory,
  readExpectation,
  trackingPanel,
} from "../../ui/static/thought/panels/tracking.js";

const encode = (bytes) => Buffer.from(bytes).toString("base64");
const INVALID_VALUES = [undefined, null, 7, "x", [], [null], {}];

test("every panel implements the panel interface", () => {
  for (const panel of [answerPanel, chartPanel, ctcPanel, routePanel, schedulePanel, stackPanel, trackingPanel]) {
    assert.equal(typeof panel.name, "string");
    for (const method of ["select", "draw", "describe"]) assert.equal(typeof panel[method], "function", panel.name);
  }
});

test("activations require one byte per neuron and tick", () => {
  assert.equal(parseActivity({ neurons: 2, data: encode([1, 2, 3]) }, 2), null);
  const { neurons, total, values } = parseActivity({ neurons: 2, of: 1, data: encode([1, 2, 3, 4]) }, 2);
  assert.deepEqual([neurons, total, [...values]], [2, 2, [1, 2, 3, 4]]);
  assert.equal(parseActivity({}, 2), null);
});

test("attention requires a map of positions and an input with the same axes", () => {
  const record = { heads: 2, map: [1, 2], data: encode([255, 0, 51, 102]) };
  const picture = { kind: "picture" };
  const attention = parseAttention(record, 1, picture);
  assert.deepEqual([attention.places, attention.shown], [2, 2]);
  assert.deepEqual(getHeadWeights(attention, 1, 1), [0.2, 0.4]);
  assert.deepEqual(sumHeadWeights(attention, 1), [1, 102 / 306]);
  assert.equal(parseAttention(record, 2, picture), null, "too few bytes");
  assert.equal(parseAttention(record, 1, null), null);
  assert.equal(parseAttention({ ...record, map: [2] }, 1, picture), null, "a picture has two axes");
  assert.ok(parseAttention({ ...record, map: [2] }, 1, { kind: "sequence" }));
  for (const map of [...INVALID_VALUES, [0], [-1, 2]])
    assert.equal(parseAttention({ ...record, map }, 1, picture), null);
});

test("weights that are all zero stay zero", () => {
  const attention = parseAttention({ heads: 1, map: [2], data: encode([0, 0]) }, 1, { kind: "sequence" });
  assert.deepEqual(sumHeadWeights(attention, 1), [0, 0]);
});

test("heads are laid out beside the large image, below it, or alone", () => {
  const beside = layOutHeads(600, 1, 4, false);
  assert.ok(beside.big > 0 && beside.left > beside.big && beside.top === 0);
  const below = layOutHeads(200, 1, 16, false);
  assert.ok(below.left === 0 && below.top > below.big);
  assert.equal(layOutHeads(600, 1, 4, true).big, 0);
});

test("colour strength is the probability above chance", () => {
  assert.equal(computeColourStrength({ classes: 4 }, 0.25), 0);
  assert.equal(computeColourStrength({ classes: 4 }, 1), 1);
  assert.equal(computeColourStrength({ classes: 2 }, 0.1), 0);
  assert.equal(computeColourStrength({ classes: 2 }, Number.NaN), 0);
});

test("the strip of all ticks has a height only for several ticks", () => {
  assert.equal(computeStripHeight(1, 9), 0);
  assert.equal(computeStripHeight(2, 4), 80);
  assert.equal(computeStripHeight(2, 1000), 2000);
});

test("positions are named by the task, or else by the items", () => {
  const thought = (input) => ({ input });
  assert.equal(getPositionNames(thought(null), 2), null);
  assert.deepEqual(getPositionNames(thought({ places: ["row", "column"], items: ["a"] }), 2), ["row", "column"]);
  assert.deepEqual(getPositionNames(thought({ places: [], items: ["a", "b"] }), 2), ["a", "b"]);
  assert.equal(getPositionNames(thought({ items: ["a"] }), 2), null);
});

test("labels become initials where there are many positions and initials are distinct", () => {
  assert.equal(selectLabelForm({ size: 25, labels: ["up", "down"] })("down"), "d");
  assert.equal(selectLabelForm({ size: 25, labels: ["up", "under"] })("under"), "under");
  assert.equal(selectLabelForm({ size: 24, labels: ["up", "down"] })("down"), "down");
});

test("classes without their own bar share one", () => {
  const answer = { rows: [[0.1, 0.2, 0.6]], size: 5, labels: ["a", "", "c"], shown: [0, 1] };
  const bars = listBars(answer, 1);
  assert.deepEqual(
    bars.map((bar) => [bar.name, bar.isBest]),
    [
      ["a", false],
      ["1", false],
      ["3 others", true],
    ],
  );
  assert.ok(Math.abs(bars[2].value - 0.7) < 1e-9);
  assert.equal(listBars({ ...answer, size: 2, rows: [[0.9, 0.1]] }, 1).length, 2);
});

test("the answer panel omits answers that have their own panel", () => {
  assert.equal(answerPanel.select({ answer: { kind: "spoken" } }), null);
  assert.equal(answerPanel.select({ answer: { kind: "positions" }, stack: {} }), null);
  assert.deepEqual(answerPanel.select({ answer: { kind: "classes" }, stack: null }), { kind: "classes" });
});

test("a model without ticks has no chart and no neurons by tick, and shows its picture", () => {
  const picture = { kind: "picture", width: 2, height: 2 };
  const thought = {
    iterations: 1,
    ticks: 1,
    activity: {},
    input: picture,
    routes: null,
    attention: null,
    schedule: null,
  };
  const select = (changes) =>
    [chartPanel, activityPanel, inputPanel].map((panel) => panel.select({ ...thought, ...changes }));
  assert.deepEqual(select({}), [null, null, picture]);
  const { attention } = { attention: {} };
  assert.deepEqual(select({ iterations: 2, attention }).map(Boolean), [true, true, false]);
  assert.equal(inputPanel.select({ ...thought, input: { kind: "sequence" } }), null);
});

test("attention shows nothing at ticks that have no picture", () => {
  const schedule = [
    { name: "1st digit", from: 1, until: 3, picture: 0 },
    { name: "answer", from: 4, until: 9, picture: null },
  ];
  assert.deepEqual(
    [1, 3, 4, 10].map((tick) => isWithoutPicture({ schedule }, tick)),
    [false, false, true, true],
  );
  assert.equal(isWithoutPicture({ schedule: null }, 1), false);
  const attention = { heads: 2, map: [8, 8] };
  const thought = { schedule, input: { kind: "picture" } };
  assert.match(attentionPanel.describe({ thought, tick: 5 }, attention), /^No picture at this tick/);
  assert.match(attentionPanel.describe({ thought, tick: 2 }, attention), /^Attention of 2 heads at tick 2/);
});

test("the energy scale has round labels and a minimum size", () => {
  const scale = buildEnergyScale([-3.1, 0.4, Number.NaN]);
  assert.ok(scale.min <= -3.1 && scale.max >= 0.4 && scale.labels.length >= 4);
  const flat = buildEnergyScale([2, 2]);
  assert.ok(flat.min < 2 && flat.max > 2 && flat.max - flat.min >= 0.8);
  const zero = buildEnergyScale([0]);
  assert.ok(zero.min < 0 && zero.max > 0);
  assert.ok(Number.isFinite(buildEnergyScale([1e30, -1e30]).max));
});

test("the tick under the pointer is clamped to the computed ticks", () => {
  const thought = { ticks: 2, computedTicks: 3, iterations: 10, energy: null };
  assert.equal(findTickAt(thought, 14 + 1, 154), 1);
  assert.equal(findTickAt(thought, 14 + 25, 154), 3);
  assert.equal(findTickAt(thought, 9999, 154), 3);
  assert.equal(findTickAt(thought, -50, 154), 1);
  assert.equal(findTickAt({ ...thought, energy: [1] }, 44 + 15, 184), 2);
});

test("a pointer takes hold of the nearest threshold line, and its height is a level", () => {
  const thresholds = [
    { quantity: "energy", level: -3 },
    { quantity: "certainty", level: 0.9 },
    { quantity: "margin", level: 0.5 },
  ];
  const thought = { ticks: 3, computedTicks: 3, iterations: 5, energy: [1, -2, -4], schedule: null, thresholds };
  const layout = layOutChart(thought, 300);
  assert.deepEqual(
    layout.thresholds.map(({ index }) => index),
    [0, 1],
    "a margin has no axis",
  );
  for (const { quantity, level, y, index } of layout.thresholds) {
    assert.equal(findThresholdNear(layout, y + 4).index, index);
    assert.ok(Math.abs(layout.toLevel[quantity](y) - level) < 1e-9);
  }
  assert.equal(findThresholdNear(layout, layout.top - 30), null);
  assert.deepEqual([layout.toLevel.certainty(-999), layout.toLevel.certainty(9999)], [1, 0]);
});

test("a change is described as fell, rose or stayed", () => {
  assert.equal(describeChange("Energy", [1, 5, 0.5]), "Energy fell from 1.00 to 0.50");
  assert.equal(describeChange("Energy", [1, 2]), "Energy rose from 1.00 to 2.00");
  assert.equal(describeChange("Energy", [1]), "Energy stayed from 1.00 to 1.00");
  assert.match(describeChange("Energy", [Number.NaN, 2]), /stayed from unknown/);
  const thought = { energy: [1, 0], certainty: [0, 1], ticks: 2 };
  assert.equal(
    chartPanel.describe({}, thought),
    "Energy fell from 1.00 to 0.00 and certainty rose from 0.00 to 1.00 over 2 ticks",
  );
});

const ITEMS = { kind: "sequence", items: ["5", "-1", "7"] };

function emit(...chosen) {
  return parseEmissions([5, -1, 7], ITEMS, { kind: "spoken", size: 3, chosen, probability: chosen.map(() => 0.5) });
}

test("repeated items are one emission unless a blank separates them", () => {
  const { all } = emit(3, 1, 1, 3, 1, 0, 2);
  assert.deepEqual(
    all.map(({ tick, value }) => [tick, value]),
    [
      [2, -1],
      [5, -1],
      [6, 5],
      [7, 7],
    ],
  );
  assert.deepEqual(
    all.map(({ isInOrder }) => isInOrder),
    [true, false, true, true],
  );
  assert.deepEqual(
    all.map(({ pause, gap }) => [pause, gap]),
    [
      [2, 0],
      [3, 0],
      [1, 6],
      [1, 2],
    ],
  );
  assert.deepEqual(emit(3, 3).all, []);
});

test("a number below an earlier one is out of order", () => {
  assert.deepEqual(
    emit(2, 3, 0).all.map(({ isInOrder }) => isInOrder),
    [true, false],
  );
  const words = ctcPanel.describe({ tick: 3 }, emit(2, 3, 0));
  assert.equal(words, "At tick 3 the model has output 2 of 3 numbers, 1 of them out of order: 7 5");
  assert.equal(ctcPanel.describe({ tick: 1 }, emit(3, 1)), "At tick 1 the model has output 0 of 3 numbers");
});

test("emissions require numbers that match the input and the answer", () => {
  const answer = { kind: "spoken", size: 3, chosen: [0], probability: [1] };
  for (const numbers of [...INVALID_VALUES, [1, 2], ["x", 1, 2]])
    assert.equal(parseEmissions(numbers, ITEMS, answer), null);
  assert.equal(parseEmissions([1, 2, 3], { ...ITEMS, items: ["5"] }, answer), null);
  assert.equal(parseEmissions([1, 2, 3], ITEMS, { kind: "classes" }), null);
  assert.equal(parseEmissions([1, 2, 3], ITEMS, null), null);
});

test("a label beside a dot does not overlap other labels", () => {
  const box = { left: 0, right: 100 };
  assert.deepEqual(findRoomBeside([50, 20], 10, box, []), [33, 20]);
  assert.deepEqual(findRoomBeside([5, 20], 10, box, []), [12, 20], "at the left edge the label is on the right");
  const occupied = [{ left: 0, right: 100, y: 20 }];
  assert.equal(findRoomBeside([50, 20], 10, box, occupied), null);
  assert.equal(findRoomBeside([50, 20], 200, box, []), null);
});

const PICTURE = { kind: "picture", width: 3, height: 2, goal: [1, 2], start: [0, 0] };

test("routes require one entry per tick and are clamped to the image", () => {
  assert.deepEqual(
    parseRoutes(
      [
        [0, 0, 9, 9],
        [-1, 1, 5],
      ],
      2,
      PICTURE,
    ),
    [
      [
        [0, 0],
        [1, 2],
      ],
      [[0, 1]],
    ],
  );
  assert.equal(parseRoutes([[0, 0]], 2, PICTURE), null);
  assert.equal(parseRoutes([[0, 0]], 1, ITEMS), null);
  assert.deepEqual(parseRoutes([null], 1, PICTURE), [[]]);
});

test("a route reaches the goal if it ends there", () => {
  assert.equal(
    reachesGoal(
      [
        [0, 0],
        [1, 2],
      ],
      [1, 2],
    ),
    true,
  );
  assert.equal(
    reachesGoal(
      [
        [1, 2],
        [0, 0],
      ],
      [1, 2],
    ),
    false,
  );
  assert.equal(reachesGoal([], [1, 2]), false);
  assert.equal(reachesGoal([[1, 2]], null), false);
  const view = { thought: { input: PICTURE }, tick: 1 };
  assert.equal(
    routePanel.describe(view, [
      [
        [0, 0],
        [1, 2],
      ],
    ]),
    "At tick 1 the path has 1 step and reaches the goal",
  );
  assert.equal(routePanel.describe(view, [[]]), "At tick 1 the path has 0 steps");
});

const STRIP = { kind: "picture", width: 4, height: 2 };
const PHASES = [
  { name: "1st", from: 1, until: 3, picture: 1 },
  { name: "+", from: 4, until: 5, picture: 2 },
];

test("a schedule requires valid ticks and ignores missing images", () => {
  const schedule = parseSchedule(PHASES, STRIP);
  assert.deepEqual(
    schedule.map(({ picture }) => picture),
    [1, null],
  );
  for (const phases of [...INVALID_VALUES, [{ from: 9, until: 2 }], [{ name: "x" }]])
    assert.equal(parseSchedule(phases, STRIP), null);
  assert.equal(parseSchedule(PHASES, ITEMS), null);
  assert.equal(parseSchedule(PHASES, { kind: "picture", width: 1, height: 2 }), null);
});

test("the phase of a tick is found", () => {
  const schedule = parseSchedule(PHASES, STRIP);
  assert.equal(findPhase(schedule, 3).name, "1st");
  assert.equal(findPhase(schedule, 4).name, "+");
  assert.equal(findPhase(schedule, 6), null);
  assert.equal(findPhase(null, 1), null);
  const view = (tick) => ({ thought: { inputTicks: 5 }, tick });
  assert.equal(schedulePanel.describe(view(4), schedule), "At tick 4 the input is +; it answers after tick 5");
  assert.equal(schedulePanel.describe(view(6), schedule), "At tick 6 nothing is shown; the model may answer");
});

const BRACKETS = { kind: "sequence", items: ["(", ")", "["] };
const PREDICTIONS = {
  kind: "positions",
  size: 3,
  classes: 4,
  chosen: [
    [1, 0, 0],
    [1, 0, 2],
    [1, 0, 99],
  ],
  probability: [
    [1, 1, 0.6],
    [1, 1, 0.9],
    [1, 1, 1],
  ],
};

test("a stack requires one entry per bracket", () => {
  const stack = parseStack({ depths: [1, 0, 99], tops: [1, 0, 9] }, BRACKETS, PREDICTIONS);
  assert.deepEqual(
    [stack.depths, stack.tops],
    [
      [1, 0, 3],
      [1, 0, 3],
    ],
  );
  for (const invalid of [{}, { depths: [1] }, { depths: [1, 0, 1], tops: "x" }])
    assert.equal(parseStack(invalid, BRACKETS, PREDICTIONS), null);
  const valid = { depths: [1, 0, 1], tops: [1, 0, 2] };
  assert.equal(parseStack(valid, PICTURE, PREDICTIONS), null);
  assert.equal(parseStack(valid, BRACKETS, { ...PREDICTIONS, classes: 3 }), null);
  assert.equal(parseStack(valid, BRACKETS, null), null);
});

test("a verdict states the last prediction and whether it is correct", () => {
  const stack = { size: 3, depths: [1, 0, 1], tops: [1, 0, 2] };
  assert.deepEqual(describeVerdict(PREDICTIONS, stack, 1), ["balanced", "60% probability, wrong"]);
  assert.deepEqual(describeVerdict(PREDICTIONS, stack, 2), [
    "not balanced, [ is left open",
    "90% probability, correct",
  ]);
  assert.deepEqual(describeVerdict(PREDICTIONS, stack, 3), [
    "not balanced, closed wrongly",
    ">99.9% probability, correct for a wrong reason",
  ]);
  assert.equal(getPrediction(PREDICTIONS, 3, 2), 3, "an invalid class is clamped");
});

const FIELD = { side: 16, fastest: 2, ahead: 3, frames: [[5, 10], [5, 12], null, [5, 14], [5, 12]] };
const PLACES = {
  kind: "positions",
  size: 2,
  chosen: [
    [5, 6],
    [99, 0],
  ],
  probability: [
    [0.5, 0.5],
    [1, 2],
  ],
};

test("a trajectory with enough visible frames has one target", () => {
  const trajectory = parseTrajectory(FIELD, PLACES);
  assert.deepEqual([trajectory.target, trajectory.isQuarters], [[5, 6], false]);
  const once = parseTrajectory({ ...FIELD, frames: [[5, 10], null] }, PLACES);
  assert.equal(once.target, null);
  assert.deepEqual(parseTrajectory({ ...FIELD, frames: [[99, -1], [1]] }, PLACES).frames, [[15, 0], null]);
});

test("a trajectory requires a field, a visible dot and a matching answer", () => {
  for (const frames of [...INVALID_VALUES, [null]]) assert.equal(parseTrajectory({ ...FIELD, frames }, PLACES), null);
  for (const side of [0, 1, "x"]) assert.equal(parseTrajectory({ ...FIELD, side }, PLACES), null);
  for (const answer of [null, { ...PLACES, size: 3 }, { kind: "classes", size: 3, rows: [[1, 0, 0]] }]) {
    assert.equal(parseTrajectory(FIELD, answer), null);
  }
});

test("possible positions are consistent with all visible frames", () => {
  assert.deepEqual(listPossiblePlaces([0, 1, 2], 4, 2, 1), [3]);
  assert.deepEqual(listPossiblePlaces([0, 1, 2], 4, 2, 2), [2], "the dot is reflected at the wall");
  assert.deepEqual(listPossiblePlaces([0, 3], 4, 1, 1), [], "faster than the maximum speed");
  assert.equal(listPossiblePlaces([null, null], 4, 1, 0).length, 4);
});

test("an expectation is a position or a quarter, and correct or wrong if the target is known", () => {
  const trajectory = parseTrajectory(FIELD, PLACES);
  const first = readExpectation({ trajectory, answer: PLACES }, 1);
  assert.deepEqual([first.text, first.probability, first.isRight], ["at row 5, column 6", 0.25, true]);
  const second = readExpectation({ trajectory, answer: PLACES }, 2);
  assert.deepEqual([second.text, second.probability, second.isRight], ["at row 15, column 0", 1, false]);
  const quarters = { kind: "classes", size: 4, labels: ["upper left"], rows: [[0.7, 0.1, 0.1, 0.1]] };
  const other = readExpectation({ trajectory: parseTrajectory(FIELD, quarters), answer: quarters }, 1);
  assert.deepEqual([other.text, other.isRight], ["in the upper left quarter", true]);
  assert.deepEqual(
    [
      [0, 0],
      [0, 8],
      [8, 0],
      [15, 15],
    ].map((cell) => getQuarter(cell, 16)),
    [0, 1, 2, 3],
  );
});
