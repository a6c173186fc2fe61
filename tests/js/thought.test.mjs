import assert from "node:assert/strict";
import { test } from "node:test";
import {
  describeEstimate,
  describeInterimAnswer,
  describeQuantities,
  describeTick,
  describeVerdict,
  findLargest,
  getLabel,
  replaceThreshold,
} from "../../ui/static/thought/describe.js";
import { formatCsv } from "../../ui/static/thought/export.js";
import { fillPixels } from "../../ui/static/thought/images.js";
import { findKeyAction } from "../../ui/static/thought/keyboard.js";
import { fitGrid, layOutCells } from "../../ui/static/thought/layout.js";
import { parseRecord, selectClasses } from "../../ui/static/thought/parse-record.js";
import { distributePanels } from "../../ui/static/thought/stage.js";

const encode = (bytes) => Buffer.from(bytes).toString("base64");

function createRecord(changes = {}) {
  return {
    ticks: 2,
    iterations: 5,
    answer_tick: 2,
    certainty: [0.2, 0.9],
    energy: [1, -1],
    p_correct: [0.5, null],
    choices: {
      kind: "classes",
      of: 3,
      labels: ["a", "b"],
      probabilities: [
        [0.1, 0.9],
        [0.8, 0.2],
      ],
    },
    ...changes,
  };
}

test("the answer of a tick is named while it is not final", () => {
  const thought = parseRecord(createRecord({ labels_by_tick: ["3", "7", "no such tick"] }));
  assert.deepEqual(thought.labels, ["3", "7"]);
  assert.equal(describeInterimAnswer(thought, 1), "At tick 1: 3?");
  assert.equal(describeInterimAnswer(parseRecord(createRecord()), 1), "", "an old record has no answers by tick");
});

test("ticks after the halting tick come from the continuation", () => {
  const continuation = {
    ticks: 4,
    certainty: [0.2, 0.9, 0.5, 0.4],
    energy: [1, -1, 0, 0],
    labels_by_tick: ["3", "7", "7", "1"],
  };
  const thought = parseRecord(createRecord({ labels_by_tick: ["3", "7"], continuation }));
  assert.deepEqual([thought.ticks, thought.computedTicks, thought.iterations], [2, 4, 5]);
  assert.deepEqual(thought.energy, [1, -1, 0, 0]);
  assert.equal(describeInterimAnswer(thought, 4), "Had it gone on to tick 4: 1");
  assert.equal(describeTick(thought, 4), "Tick 4, after the stop at 2");
  assert.equal(describeTick(thought, 2), "Tick 2 of 2 (limit 5)");
  assert.equal(formatCsv(thought).trim().split("\n").length, 3, "the download has the ticks that were used");
  for (const invalid of [
    null,
    [],
    { ticks: 1, certainty: [1] },
    { ticks: 9 },
    { ticks: "4", certainty: [1, 1, 1, 1] },
  ]) {
    assert.equal(parseRecord(createRecord({ continuation: invalid })).computedTicks, 2);
  }
});

test("an estimate is one sentence with the policy and the samples", () => {
  const estimate = { accuracy: 0.984, mean_ticks: 4.1, n: 4096 };
  const thought = parseRecord(createRecord({ policy: "energy<-3", estimate }));
  assert.equal(
    describeEstimate(thought),
    "With energy<-3: about 98.4% correct in 4.1 ticks on average (4,096 calibration samples).",
  );
  assert.equal(describeEstimate(parseRecord(createRecord({ estimate: { accuracy: "high" } }))), "");
});

test("a dragged threshold replaces its number in the policy", () => {
  assert.equal(replaceThreshold("energy<-3.704", "energy", -3.704, -2.123456), "energy<-2.123");
  const combined = "certainty.min>0.5&energy<-1e+09|ticks=5";
  assert.equal(replaceThreshold(combined, "certainty", 0.5, 0.75), "certainty.min>0.75&energy<-1e+09|ticks=5");
  assert.equal(replaceThreshold(combined, "energy", -1e9, -4), "certainty.min>0.5&energy<-4|ticks=5");
  assert.equal(replaceThreshold("energy<-3", "energy", -4, -2), null, "another threshold");
  assert.equal(replaceThreshold("margin>0.5", "certainty", 0.5, 0.6), null);
});

test("keys move through the ticks unless what has the focus needs them", () => {
  const press = (key, selectors = [], changes = {}) => {
    const matches = (list) => list.split(", ").some((selector) => selectors.includes(selector));
    const target = { matches, closest: (list) => (matches(list) ? {} : null) };
    return findKeyAction({ key, target, ...changes }, { contains: () => true });
  };
  assert.deepEqual(
    ["ArrowLeft", "End", " ", "P", "h", "x"].map((key) => press(key)),
    ["back", "last", "play", "certain", "halt", null],
  );
  assert.equal(press("h", ["input"]), null, "a field takes letters");
  assert.equal(press(" ", ["button"]), null, "Space presses a button");
  assert.equal(press("h", ["button"]), "halt");
  assert.equal(press("ArrowLeft", ["input[type=range]"]), null, "the slider has arrows of its own");
  assert.equal(press("p", ["input[type=range]"]), "certain");
  assert.equal(press("p", [], { ctrlKey: true }), null);
  assert.equal(press("p", [], { defaultPrevented: true }), null);
});

test("the panel of the task is on the stage, and the others follow below", () => {
  const thought = parseRecord(createRecord({ p_correct: null }));
  assert.deepEqual(distributePanels(thought), { stage: ["answer"], below: [] });
  const picture = { kind: "picture", width: 1, height: 1, channels: 1, data: encode([7]) };
  const activity = { neurons: 1, of: 1, data: encode([1, 2]) };
  const attention = { heads: 1, map: [1, 1], data: encode([9, 9]) };
  const looking = parseRecord(createRecord({ p_correct: null, input: picture, activity, attention }));
  assert.deepEqual(distributePanels(looking), { stage: ["look", "answer"], below: ["attention", "activity"] });
  const routes = [
    [0, 0],
    [0, 0],
  ];
  const walking = parseRecord(createRecord({ p_correct: null, input: picture, activity, attention, routes }));
  assert.deepEqual(distributePanels(walking), { stage: ["route"], below: ["answer", "attention", "activity"] });
  const items = parseRecord(createRecord({ p_correct: null, input: { kind: "sequence", items: ["1"] }, attention }));
  assert.deepEqual(distributePanels(items), { stage: ["answer", "attention"], below: [] });
});

test("a record without ticks is null", () => {
  const invalidRecords = [
    undefined,
    null,
    7,
    "text",
    [],
    {},
    { ticks: 0, certainty: [1] },
    { ticks: 3 },
    { ticks: "2", certainty: [1, 1] },
  ];
  for (const value of invalidRecords) assert.equal(parseRecord(value), null);
});

test("parsing keeps the valid parts of a record", () => {
  const thought = parseRecord(createRecord());
  assert.deepEqual(
    [thought.ticks, thought.iterations, thought.answerTick, thought.milliseconds, thought.guarantee],
    [2, 5, 2, null, ""],
  );
  assert.equal(thought.sentence, "It used 2 ticks.");
  assert.deepEqual(thought.chance, [0.5, Number.NaN]);
  assert.deepEqual(thought.answer.shown, [0, 1]);
  assert.equal(thought.answer.size, 3, "improbable classes are omitted from the rows");
  for (const panel of ["routes", "trajectory", "stack", "emissions", "schedule", "attention", "activity", "input"]) {
    assert.equal(thought[panel], null, panel);
  }
});

test("the verdict is one of four, and unfamiliar inputs are named", () => {
  const read = (values) => describeVerdict(parseRecord(createRecord(values)));
  assert.equal(read({ verdict: "gave up" }), "Gave up");
  assert.equal(read({ verdict: "wrong", unfamiliar: "Unlike the training data." }), "Wrong, unfamiliar input");
  assert.equal(read({ unfamiliar: "Unlike the training data." }), "Unfamiliar input");
  for (const verdict of ["unknown", "", null, 7, "<b>"]) assert.equal(read({ verdict }), "");
});

test("invalid numbers in a record are replaced or clamped", () => {
  const thought = parseRecord(
    createRecord({
      ticks: 1e9,
      iterations: -3,
      answer_tick: 99,
      certainty: [7, "x", -2],
      energy: ["x", null, []],
      lines: "no",
    }),
  );
  assert.deepEqual([thought.ticks, thought.iterations, thought.answerTick], [3, 3, 3]);
  assert.deepEqual(thought.certainty, [1, Number.NaN, 0]);
  assert.equal(thought.energy, null, "an energy without numbers is null");
  assert.equal(thought.answer, null, "a table requires one row per tick");
  assert.deepEqual(thought.thresholds, []);
});

test("thresholds require a level and are limited in number", () => {
  const lines = [
    { of: "energy", at: -3 },
    { of: "certainty" },
    null,
    ...Array.from({ length: 9 }, () => ({ of: "energy", at: 1 })),
  ];
  const { thresholds } = parseRecord(createRecord({ lines }));
  assert.equal(thresholds.length, 4);
  assert.deepEqual(thresholds[0], { quantity: "energy", level: -3 });
});

test("answers of all kinds are validated", () => {
  const parse = (choices) => parseRecord(createRecord({ choices })).answer;
  assert.equal(parse({ kind: "else" }), null);
  assert.equal(
    parse({
      kind: "positions",
      chosen: [[1], [2]],
      probability: [
        [1, 1],
        [1, 1],
      ],
    }),
    null,
  );
  const positions = parse({ kind: "positions", chosen: [[1], [0]], probability: [[0.5], [1]], labels: [] });
  assert.deepEqual([positions.size, positions.classes], [1, 2]);
  const spoken = parse({ kind: "spoken", of: 3, chosen: [9, null], probability: [2, null] });
  assert.deepEqual(
    [spoken.chosen, spoken.probability],
    [
      [3, 3],
      [1, 0],
    ],
  );
  assert.equal(parse({ kind: "spoken", of: 0, chosen: [1, 1], probability: [1, 1] }), null);
  assert.equal(parse({ kind: "classes", probabilities: [[], []] }), null);
});

test("inputs are validated", () => {
  const parse = (input) => parseRecord(createRecord({ input })).input;
  const picture = parse({ kind: "picture", width: 2, height: 2, data: encode([0, 1, 2, 3]), start: [0, 9], goal: [1] });
  assert.deepEqual([picture.channels, picture.start, picture.goal], [1, [0, 1], null]);
  assert.deepEqual([...picture.pixels], [0, 1, 2, 3]);
  assert.equal(parse({ kind: "picture", width: 2, height: 2, data: encode([0, 1, 2]) }), null);
  assert.equal(parse({ kind: "picture", width: 2, height: 2, channels: 3, data: encode([0, 1, 2, 3]) }), null);
  assert.equal(parse({ kind: "sequence", items: [] }), null);
  assert.deepEqual(parse({ kind: "sequence", items: [1, "b", null], group: 99 }).items, ["1", "b", ""]);
  assert.equal(parse({ kind: "sequence", items: [1, 2], group: 99 }).group, 2);
});

test("the most probable of many classes have bars", () => {
  assert.deepEqual(selectClasses([0.1, 0.5]), [0, 1]);
  const many = Array.from({ length: 1000 }, (_, index) => (index === 700 ? 1 : index / 10000));
  const shown = selectClasses(many);
  assert.deepEqual([shown.length, shown[0], shown[1]], [10, 700, 999]);
});

test("known quantities are described", () => {
  const thought = parseRecord(createRecord());
  assert.deepEqual(describeQuantities(thought, 1), ["energy 1.00", "certainty 0.20", "confidence 50%"]);
  assert.deepEqual(describeQuantities(thought, 2), ["energy \u22121.00", "certainty 0.90"]);
  assert.equal(getLabel(thought.answer, 2), "2");
  assert.equal(findLargest([1, 3, 3]), 1);
  assert.equal(findLargest([]), -1);
});

test("the CSV export quotes special characters", () => {
  const choices = {
    kind: "classes",
    labels: ['say "a", b', "c"],
    probabilities: [
      [1, 0],
      [0, 1],
    ],
  };
  const lines = formatCsv(parseRecord(createRecord({ choices, p_correct: null }))).split("\n");
  assert.deepEqual(lines, ["tick,energy,p_correct,certainty,answer_1", '1,1,,0.2,"say ""a"", b"', "2,-1,,0.9,c", ""]);
});

test("the CSV export has one column per position and emissions at their ticks", () => {
  const positions = {
    kind: "positions",
    labels: ["x", "y"],
    chosen: [
      [0, 1],
      [1, 1],
    ],
    probability: [
      [1, 1],
      [1, 1],
    ],
  };
  assert.match(formatCsv(parseRecord(createRecord({ choices: positions }))), /answer_1,answer_2\n1,1,0.5,0.2,x,y\n2/);
  const spoken = { kind: "spoken", of: 2, chosen: [2, 0], probability: [1, 1] };
  const input = { kind: "sequence", items: ["5", "6"], numbers: [5, 6] };
  assert.match(formatCsv(parseRecord(createRecord({ choices: spoken, input }))), /0.2,\n2,-1,NaN,0.9,5\n$/);
});

test("cells are laid out in rows of about equal length", () => {
  const { places, rows } = layOutCells(10, 1, 10, 45);
  assert.equal(rows, 3);
  assert.deepEqual(places[4], { x: 0, row: 1 });
  assert.ok(places.every(({ x }) => x + 10 <= 45));
  assert.equal(layOutCells(3, 1, 100, 10).rows, 3, "one cell per row if the width is too small");
  assert.deepEqual(layOutCells(0, 1, 10, 45).places, []);
});

test("groups of cells stay in one row if they fit", () => {
  const { places, rows } = layOutCells(6, 2, 10, 60);
  assert.equal(rows, 2);
  assert.deepEqual(
    places.map(({ x, row }) => [x, row]),
    [
      [0, 0],
      [10, 0],
      [32, 0],
      [42, 0],
      [0, 1],
      [10, 1],
    ],
  );
  assert.ok(
    layOutCells(8, 8, 30, 60).places.every(({ x }) => x + 30 <= 60),
    "a group that does not fit is split",
  );
});

test("images are as large as the available space allows", () => {
  const picture = { ratio: 1, gap: 0, label: 0 };
  assert.deepEqual(fitGrid(4, { width: 200, height: 204 }, picture), { columns: 2, side: 100 });
  assert.deepEqual(fitGrid(4, { width: 400, height: 104 }, picture).columns, 4);
  assert.deepEqual(fitGrid(0, { width: 10, height: 10 }, picture), { columns: 1, side: 0 });
});

test("pixels are filled row by row, opaque by default", () => {
  const pixels = new Uint8ClampedArray(16);
  fillPixels(pixels, 2, 2, (column, row) => (row ? [column, row, 9, 0.5] : [column, row, 7]));
  assert.deepEqual([...pixels], [0, 0, 7, 255, 1, 0, 7, 255, 0, 1, 9, 128, 1, 1, 9, 128]);
});
