import assert from "node:assert/strict";
import { test } from "node:test";
import { readDashboardAddress, writeDashboardAddress } from "../../ui/static/common/dashboard-address.js";
import { assignHues, selectColours } from "../../ui/static/common/run-colours.js";
import { buildHeatMapFigure, buildLineFigure, getAxisTitle } from "../../ui/static/curves/figures.js";
import { getPositions, getTotal, selectTimeUnit, smoothValues } from "../../ui/static/curves/lines.js";
import { keepDistinct, parseCurves, parsePoints } from "../../ui/static/curves/parse.js";
import {
  describeHeatMap,
  describeLines,
  formatHeatMapCsv,
  formatLinesCsv,
  listHeatMapRows,
  listLineRows,
} from "../../ui/static/curves/tables.js";
import { filterRuns, MAX_SELECTED, parseRuns, showRun, toggleRun } from "../../ui/static/runs/selection.js";
import { THEME } from "./browser-stubs.mjs";

const SERIES = [
  { key: "loss", label: "training", noisy: true },
  { key: "validation_loss", label: "held out" },
];
const VALUE = {
  charts: [{ id: "loss", title: "Loss", is_open: true, log: true, series: SERIES }],
  runs: [
    {
      name: "one",
      samples: [
        [10, 20],
        [40, 120],
      ],
      clock: [
        [10, 20],
        [5, 15],
      ],
      points: {
        loss: [
          [10, 20],
          [4, 2],
        ],
        validation_loss: [[20], [3]],
      },
    },
    { name: "two, b", points: { loss: [[30], [1]] } },
  ],
  heatmap: {
    name: "one",
    steps: [10, 20],
    ticks: [1, 2, 3],
    rows: [
      [100, 200, null],
      [500, 900, 800],
    ],
  },
  differences: [["train.seed", "0", "9"]],
};

function buildView(changes = {}) {
  const { runs } = parseCurves(VALUE);
  selectColours(runs.map(({ name }) => name));
  return {
    runs,
    axis: "step",
    unit: { name: "seconds", seconds: 1 },
    smoothing: 0,
    range: null,
    theme: THEME,
    ...changes,
  };
}

test("points are sorted, points without a step or a value are omitted, and means need one for every point", () => {
  const columns = [
    [3, 1, "x", 2],
    [30, 10, 5, null],
  ];
  assert.deepEqual(parsePoints(columns), { at: [1, 3], value: [10, 30], mean: [10, 30] });
  assert.deepEqual(parsePoints([...columns, [3, 1, 0, 0]]).mean, [1, 3]);
  for (const invalid of [null, 7, [], [[], []], [["a"], [1]], [[1], [1e300]]]) assert.equal(parsePoints(invalid), null);
});

test("items with the same name are kept once", () => {
  const items = [{ name: "a", n: 1 }, { name: "" }, { name: "a", n: 2 }, { name: "b", n: 3 }];
  assert.deepEqual(
    keepDistinct(items, ({ name }) => name).map(({ n }) => n),
    [1, 3],
  );
});

test("a value of any kind is parsed, and charts without points are omitted", () => {
  const { charts, runs, heatMap, differences } = parseCurves(VALUE);
  assert.deepEqual([charts.length, runs.map(({ name }) => name)], [1, ["one", "two, b"]]);
  assert.deepEqual(heatMap.rows, [
    [0.1, 0.2, null],
    [0.5, 0.9, 0.8],
  ]);
  assert.deepEqual(differences, [["train.seed", "0", "9"]]);
  for (const invalid of [null, 7, "text", [], {}, { charts: 5, runs: "x", heatmap: [], differences: 3 }]) {
    const parsed = parseCurves(invalid);
    assert.deepEqual([parsed.charts, parsed.runs, parsed.heatMap, parsed.differences], [[], [], null, []]);
  }
  const ragged = { ...VALUE, heatmap: { ...VALUE.heatmap, rows: [[1], [2, 3, 4]] } };
  assert.equal(parseCurves(ragged).heatMap, null);
  assert.deepEqual(parseCurves({ ...VALUE, charts: [{ id: "lr", series: [{ key: "__proto__" }] }] }).charts, []);
});

test("steps become seconds and samples by interpolation", () => {
  const [one, two] = parseCurves(VALUE).runs;
  assert.equal(getTotal(one.clock, 15), 10);
  assert.equal(getTotal(one.clock, 5), 2.5);
  assert.equal(getTotal(one.clock, 30), 25, "continued at the last known speed");
  assert.equal(getTotal(null, 30), null);
  assert.deepEqual(getPositions(one, [10, 15, 20], "samples"), [40, 80, 120], "a later stage has larger batches");
  assert.deepEqual(getPositions(one, [10, 20], "step"), [10, 20]);
  assert.deepEqual(getPositions(one, [10, 20], "time", 5), [1, 3]);
  assert.deepEqual(getPositions(two, [30], "time"), [null]);
  assert.deepEqual(getPositions(two, [30], "samples"), [null]);
});

test("the unit of time follows the longest run", () => {
  const runs = (seconds) => [{ clock: null }, { clock: { at: [1], value: [seconds] } }];
  const names = [0, 90, 600, 90_000].map((seconds) => selectTimeUnit(runs(seconds)).name);
  assert.deepEqual(names, ["seconds", "seconds", "minutes", "hours"]);
  assert.equal(getAxisTitle(buildView({ axis: "time", unit: selectTimeUnit(runs(600)) })), "minutes of training");
});

test("smoothing keeps a straight line and both ends, and reduces noise", () => {
  const line = Array.from({ length: 50 }, (_, index) => index);
  const smoothed = smoothValues(line, 1, false);
  for (const [index, value] of line.entries()) assert.ok(Math.abs(smoothed[index] - value) < 1e-9);
  const noise = line.map((index) => (index % 2 ? 10 : 0.1));
  const calm = smoothValues(noise, 1, true);
  const middle = calm.slice(10, 40);
  assert.ok(Math.max(...middle) - Math.min(...middle) < 1);
  assert.ok(Math.abs(middle[10] - 1) < 0.5, "logarithms are averaged");
  assert.equal(smoothValues(noise, 0, false), noise);
  assert.deepEqual(smoothValues([1, 9, 1], 1, false), [1, 9, 1], "few points are not smoothed");
});

test("with one run colours distinguish series, with several they distinguish runs", () => {
  const [chart] = parseCurves(VALUE).charts;
  const options = { isLog: true, hidden: new Set() };
  const several = buildLineFigure(buildView(), chart, options);
  assert.deepEqual(
    several.data.map(({ name }) => name),
    ["one: training", "two, b: training", "one: held out"],
  );
  const [first, second, third] = several.data.map(({ line }) => line);
  assert.ok(first.color !== second.color && first.color === third.color);
  assert.ok(first.dash === second.dash && first.dash !== third.dash);
  const single = buildLineFigure(buildView({ runs: buildView().runs.slice(0, 1) }), chart, options);
  assert.notEqual(single.data[0].line.color, single.data[1].line.color);
  assert.deepEqual(
    single.data.map(({ name }) => name),
    ["training", "held out"],
  );
});

test("the figure has the scale, the zoom and the lines that are chosen", () => {
  const [chart] = parseCurves(VALUE).charts;
  const view = buildView({ range: [12, 18] });
  const { data, layout } = buildLineFigure(view, chart, { isLog: true, hidden: new Set(["validation_loss"]) });
  assert.equal(data.length, 2);
  assert.deepEqual([layout.yaxis.type, layout.xaxis.range, layout.xaxis.autorange], ["log", [12, 18], false]);
  const whole = buildLineFigure(buildView(), { ...chart, zero: true }, { isLog: false, hidden: new Set() });
  assert.deepEqual([whole.layout.yaxis.type, whole.layout.yaxis.rangemode], ["linear", "tozero"]);
  assert.equal(whole.layout.xaxis.autorange, true);
  assert.notEqual(whole.layout.uirevision, layout.uirevision, "another scale begins without a zoom");
});

test("a noisy line is drawn pale under a smoothed one", () => {
  const at = Array.from({ length: 40 }, (_, index) => index + 1);
  const points = { loss: [at, at.map((step) => 1 + (step % 2))] };
  const { charts, runs } = parseCurves({ ...VALUE, runs: [{ name: "one", points }] });
  const options = { isLog: false, hidden: new Set() };
  const { data } = buildLineFigure(buildView({ runs, smoothing: 0.5 }), charts[0], options);
  assert.deepEqual([data.length, data[0].opacity < 0.5, data[0].hoverinfo], [2, true, "skip"]);
  assert.ok(Math.max(...data[1].y.slice(8, 32)) < 1.6);
  assert.equal(buildLineFigure(buildView({ runs }), charts[0], options).data.length, 1);
});

test("names of runs and series are text for plotly.js", () => {
  const runs = [{ name: "<b>%{x}</b>", points: VALUE.runs[0].points }, VALUE.runs[1]];
  const parsed = parseCurves({ ...VALUE, runs });
  selectColours(parsed.runs.map(({ name }) => name));
  const view = buildView({ runs: parsed.runs });
  const { data } = buildLineFigure(view, parsed.charts[0], { isLog: false, hidden: new Set() });
  assert.ok(!data[0].hovertemplate.includes("<b>") && data[0].hovertemplate.includes("&lt;b>"));
});

test("the heat map has ticks upwards and evaluations to the right", () => {
  const { heatMap } = parseCurves(VALUE);
  const [trace] = buildHeatMapFigure(buildView({ axis: "samples" }), heatMap).data;
  assert.deepEqual(
    [trace.x, trace.y],
    [
      [40, 120],
      [1, 2, 3],
    ],
  );
  assert.deepEqual(trace.z, [
    [0.1, 0.5],
    [0.2, 0.9],
    [null, 0.8],
  ]);
});

test("tables, descriptions and CSV have the numbers of the charts", () => {
  const { charts, runs, heatMap } = parseCurves(VALUE);
  assert.deepEqual(listLineRows(charts[0], runs)[1], ["one", "training", "4", "2", "4", "2", "20"]);
  assert.match(describeLines(charts[0], runs), /^Loss\. one, training: 2 at step 20; /);
  const lines = formatLinesCsv(charts[0], runs).trim().split("\n");
  assert.deepEqual(lines.slice(0, 3), [
    "run,series,step,seconds,samples,value",
    "one,loss,10,5.0,40,4",
    "one,loss,20,15.0,120,2",
  ]);
  assert.equal(lines[3], '"two, b",loss,30,,,1');
  assert.deepEqual(listHeatMapRows(heatMap)[2], ["20", "50.0%", "90.0%", "2", "80.0%"]);
  assert.match(describeHeatMap(heatMap), /90% at tick 2 in the evaluation at step 20/);
  assert.equal(formatHeatMapCsv(heatMap).split("\n")[3], "one,10,3,");
});

test("a run keeps its colour while other runs come and go", () => {
  const first = assignHues(new Map(), ["a", "b", "c"]);
  const second = assignHues(first, ["c", "d"]);
  assert.deepEqual(
    [...second],
    [
      ["c", 2],
      ["d", 0],
    ],
  );
});

test("the address names the selected runs and the horizontal axis", () => {
  assert.deepEqual(readDashboardAddress("?tab=train&runs=a,b,a,&x=time"), { runs: ["a", "b"], x: "time" });
  assert.deepEqual(readDashboardAddress("?x=__proto__"), { runs: [], x: "step" });
  assert.equal(readDashboardAddress(`?runs=${"a,b,c,d,e,f,g,h"}`).runs.length, MAX_SELECTED);
  assert.equal(writeDashboardAddress("?__theme=dark", { runs: ["a", "b"] }), "?__theme=dark&tab=train&runs=a,b");
  assert.equal(writeDashboardAddress("?tab=train&runs=a", { x: "time" }), "?tab=train&runs=a&x=time");
  assert.equal(writeDashboardAddress("?tab=train&runs=a&x=time&model=m", null), "?model=m");
  assert.equal(writeDashboardAddress("?tab=train", null), "");
});

test("a name replaces a single run and joins several, and a box adds and removes", () => {
  assert.deepEqual(showRun({ selected: ["a"], shown: "a" }, "b"), { selected: ["b"], shown: "b" });
  assert.deepEqual(showRun({ selected: ["a", "b"], shown: "a" }, "c"), { selected: ["a", "b", "c"], shown: "c" });
  assert.deepEqual(showRun({ selected: ["a", "b"], shown: "a" }, "b"), { selected: ["a", "b"], shown: "b" });
  assert.deepEqual(toggleRun({ selected: ["a"], shown: "a" }, "b"), { selected: ["a", "b"], shown: "a" });
  assert.deepEqual(toggleRun({ selected: ["a", "b"], shown: "a" }, "a"), { selected: ["b"], shown: "b" });
  assert.deepEqual(toggleRun({ selected: ["a"], shown: "a" }, "a"), { selected: [], shown: "a" });
  const full = { selected: [..."abcdef"], shown: "a" };
  assert.equal(toggleRun(full, "g"), full);
});

test("the list of runs is parsed from any value, and filtered by words", () => {
  const runs = [{ id: "parity-1", state: "training", task: "parity" }, { id: "m", state: "failed", task: "mazes" }, 7];
  const parsed = parseRuns({
    runs,
    selected: ["m", {}, ""],
    shown: "m",
    revision: 2,
    versions: { list: "1" },
    is_forced: 1,
  });
  assert.deepEqual(
    [parsed.runs.length, parsed.selected, parsed.shown, parsed.revision, parsed.isForced],
    [2, ["m"], "m", 2, false],
  );
  for (const invalid of [null, 7, [], "x", { runs: 7, selected: {}, versions: 3 }]) {
    const { runs: none, selected, shown, revision } = parseRuns(invalid);
    assert.deepEqual([none, selected, shown, revision], [null, [], "", 0]);
  }
  const ids = (filter) => filterRuns(parsed.runs, filter).map(({ id }) => id);
  assert.deepEqual([ids(""), ids("TRAIN par"), ids("fail parity")], [["parity-1", "m"], ["parity-1"], []]);
});
