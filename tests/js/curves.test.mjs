import assert from "node:assert/strict";
import { test } from "node:test";
import { layOutChart } from "../../ui/static/curves/canvas.js";
import { computePinchFactor } from "../../ui/static/curves/interaction.js";
import { assignHues, findNearest, getExtent, listPositions } from "../../ui/static/curves/lines.js";
import { describeChart, describePosition } from "../../ui/static/curves/panels.js";
import { keepDistinct, parseCurves, parsePoints } from "../../ui/static/curves/parse.js";
import { buildScale, formatLabel, formatValue, listLogLabels } from "../../ui/static/curves/scales.js";
import { CurvesState } from "../../ui/static/curves/state.js";

const PLAIN = { log: false, percent: false, zero: false, unit: "", axis: "step" };

function createState(
  runs = {
    first: [
      [0, 10, 20, 30],
      [4, 3, 2, 1],
    ],
  },
  changes = {},
) {
  const charts = [{ id: "loss", title: "Loss", series: [{ key: "loss", label: "training" }], ...changes }];
  const state = new CurvesState();
  state.palette = ["red", "green"];
  state.replace(
    parseCurves({
      charts,
      runs: Object.entries(runs).map(([name, points]) => ({ name, points: { loss: points }, evaluated: 20 })),
    }),
  );
  return state;
}

test("points are sorted, and points without a position or a value are omitted", () => {
  assert.deepEqual(
    parsePoints([
      [3, 1, "x", 2],
      [30, 10, 5, null],
    ]),
    { at: [1, 3], value: [10, 30], smooth: null },
  );
  assert.deepEqual(
    parsePoints([
      [1, 2],
      [1, 2],
      [1, 3],
    ]).smooth,
    [1, 3],
  );
  assert.equal(parsePoints([[1, 2], [1, 2], [1]]).smooth, null, "smoothed values need one for every point");
  for (const invalid of [null, 3, [], [[1]], [[], []], [[1], ["x"]], [[1], [1e300]]])
    assert.equal(parsePoints(invalid), null);
  const long = Array.from({ length: 9000 }, (_, index) => index);
  assert.equal(parsePoints([long, long]).at.length, 5000);
});

test("charts without points and repeated names are omitted", () => {
  const chart = { id: "a", series: [{ key: "k" }, { key: "k" }, { key: "__proto__" }] };
  const run = { name: "r", points: { k: [[1], [2]] } };
  const curves = parseCurves({
    charts: [chart, chart, { id: "b", series: [{ key: "z" }] }],
    runs: [run, run, {}],
    note: 5,
  });
  assert.deepEqual(
    curves.charts.map(({ id }) => id),
    ["a"],
  );
  assert.deepEqual([curves.runs.length, curves.charts[0].series.length, curves.note], [1, 2, "5"]);
  for (const invalid of [null, 7, "x", [], { charts: 5 }, { charts: [null], runs: [3] }]) {
    assert.deepEqual(parseCurves(invalid), { charts: [], runs: [], note: "Charts appear after the first steps." });
  }
  assert.deepEqual(
    keepDistinct(["a", "", "b", "a"], (name) => name),
    ["a", "b"],
  );
});

test("the nearest point is found only close to the line", () => {
  const line = { at: [0, 10, 20] };
  const range = [0, 100];
  assert.deepEqual(
    [-1, 0, 4, 5, 6, 14, 20, 25].map((at) => findNearest(line, at, range)),
    [0, 0, 0, 0, 1, 1, 2, 2],
  );
  assert.equal(findNearest(line, 31, range), -1);
  assert.equal(findNearest(line, -11, range), -1);
  assert.equal(findNearest({ at: [5] }, 5, range), 0);
});

test("the extent covers the visible values", () => {
  const line = { at: [0, 10, 20], value: [9, -2, 5], isShown: true };
  assert.deepEqual(getExtent([line], [0, 20]), [-2, 9]);
  assert.deepEqual(getExtent([line], [15, 25]), [5, 5]);
  assert.deepEqual(getExtent([line], [12, 14]), [-2, -2], "without a visible point, the nearest one is used");
  assert.equal(getExtent([{ ...line, isShown: false }], [0, 20]), null);
  assert.equal(getExtent([], [0, 20]), null);
  assert.deepEqual(
    listPositions([line, { ...line, at: [10, 15] }, { ...line, at: [1], isShown: false }]),
    [0, 10, 15, 20],
  );
});

test("runs keep their colours when other runs are added or removed", () => {
  const first = assignHues(new Map(), ["a", "b"]);
  assert.deepEqual(
    [...first],
    [
      ["a", 0],
      ["b", 1],
    ],
  );
  assert.deepEqual(
    [...assignHues(first, ["c", "b"])],
    [
      ["b", 1],
      ["c", 0],
    ],
  );
});

test("values are formatted with their unit", () => {
  assert.equal(formatValue(PLAIN, 0.27067), "0.2707");
  assert.equal(formatValue({ ...PLAIN, unit: "GB" }, 1.5), "1.5\u00a0GB");
  assert.equal(formatValue({ ...PLAIN, percent: true }, 0.5), "50%");
  assert.equal(formatValue(PLAIN, undefined), "\u2013");
  assert.equal(formatLabel({ ...PLAIN, percent: true }, 0.25), "25%");
});

test("a linear scale contains all values and has a positive size", () => {
  for (const extent of [[1, 5], [3, 3], [0, 0], [-1e30, 1e30], [1e-30, 2e-30], null]) {
    const { min, max, labels, toShare } = buildScale(PLAIN, extent, false);
    const [lowest, highest] = extent ?? [0, 1];
    assert.ok(min < max && labels.length >= 2, `${extent}`);
    assert.ok(toShare(lowest) >= -1e-9 && toShare(highest) <= 1 + 1e-9);
  }
  assert.equal(buildScale({ ...PLAIN, zero: true }, [3, 5], false).min, 0);
});

test("a percentage scale spans 0 to 1 unless the chart is zoomed", () => {
  const chart = { ...PLAIN, percent: true };
  const all = buildScale(chart, [0.4, 0.5], false);
  assert.deepEqual([all.min, all.max], [0, 1]);
  const zoomed = buildScale(chart, [0.4, 0.5], true);
  assert.ok(zoomed.min > 0.3 && zoomed.max < 0.6);
  assert.ok(buildScale(chart, [0, 3], false).max >= 3, "values above 1 extend the scale");
});

test("a logarithmic scale needs positive values", () => {
  const chart = { ...PLAIN, log: true };
  const scale = buildScale(chart, [0.01, 100], false);
  assert.ok(Math.abs(scale.toShare(1) - 0.5) < 1e-9 && scale.min < 0.01 && scale.max > 100);
  assert.ok(buildScale(chart, [-1, 100], false).min <= -1, "otherwise the scale is linear");
  assert.ok(buildScale(chart, [5e-324, 1], false).labels.every(Number.isFinite));
  for (const [min, max] of [
    [0.9, 1.1],
    [0.01, 100],
    [1, 4],
    [1e-30, 1e30],
  ]) {
    const labels = listLogLabels(min, max);
    assert.ok(
      labels.length >= 2 &&
        labels.length <= 30 &&
        labels.every((label) => label >= min * 0.999 && label <= max * 1.001),
    );
  }
});

test("a zoom is limited to the steps, has a minimum size, and is reset when all steps are visible", () => {
  const state = createState();
  state.zoomTo(5, 15);
  assert.deepEqual(state.zoom, [5, 15]);
  state.zoomTo(10, 10);
  assert.deepEqual(state.zoom, [8, 12]);
  state.zoomTo(-50, 15);
  assert.deepEqual(state.zoom, [0, 15]);
  state.zoomTo(-50, 50);
  assert.equal(state.zoom, null);
  const empty = new CurvesState();
  empty.zoomTo(1, 2);
  assert.equal(empty.zoom, null);
  assert.deepEqual(empty.getRange("step"), [0, 1]);
});

test("zooming by a factor keeps the relative position of the crosshair", () => {
  const state = createState();
  state.aim("step", 10);
  state.zoomBy(0.5);
  assert.deepEqual(state.zoom, [5, 20]);
  state.zoomBy(2);
  assert.equal(state.zoom, null);
  state.zoomBy(0.5, 30);
  assert.deepEqual(state.zoom, [15, 30]);
});

test("a zoom is kept after new values and reset for other runs", () => {
  const state = createState();
  state.zoomTo(20, 28);
  state.replace({ charts: state.charts, runs: state.runs });
  assert.deepEqual(state.zoom, [20, 28]);
  state.replace(
    createState({
      short: [
        [0, 5],
        [1, 2],
      ],
    }),
  );
  assert.equal(state.zoom, null);
});

test("the crosshair moves from point to point, and a zoom follows it", () => {
  const state = createState();
  const [chart] = state.charts;
  assert.equal(state.moveCrosshair(chart, -1), true);
  assert.equal(state.crosshair.step, 30, "the first step back selects the last point");
  state.moveCrosshair(chart, -1);
  assert.equal(state.crosshair.step, 20);
  state.moveCrosshair(chart, Number.NEGATIVE_INFINITY);
  assert.equal(state.crosshair.step, 0);
  state.zoomTo(0, 10);
  state.moveCrosshair(chart, Number.POSITIVE_INFINITY);
  assert.deepEqual([state.crosshair.step, state.zoom], [30, [20, 30]]);
  assert.equal(state.aimNear(chart, 26), true);
  assert.equal(state.crosshair.step, 30);
  state.hiddenSeries.add("loss/loss");
  assert.equal(state.moveCrosshair(chart, -1), true, "the only series of a chart cannot be hidden");
});

test("hidden runs are ignored, but a single run is always shown", () => {
  const runs = {
    first: [
      [0, 10],
      [4, 3],
    ],
    second: [
      [5, 50],
      [1, 1],
    ],
  };
  const state = createState(runs);
  const [chart] = state.charts;
  assert.deepEqual(
    state.buildLines(chart).map(({ colour }) => colour),
    ["red", "green"],
  );
  assert.deepEqual(state.getDomain("step"), [0, 50]);
  state.hiddenRuns.add("second");
  assert.deepEqual(state.getDomain("step"), [0, 10]);
  state.hiddenRuns.add("first");
  assert.equal(state.getDomain("step"), null);
  assert.equal(state.aimNear(chart, 3), false);
  state.replace(createState({ first: runs.first }));
  assert.deepEqual(state.getDomain("step"), [0, 10]);
});

test("the value is the one at the crosshair, or else the newest", () => {
  const state = createState();
  const [line] = state.buildLines(state.charts[0]);
  assert.equal(state.getValue(line), 1);
  state.aim("step", 11);
  assert.equal(state.getValue(line), 3);
  state.aim("step", 99);
  assert.equal(state.getValue(line), undefined);
});

test("a chart and the position are described as text", () => {
  const state = createState();
  const [chart] = state.charts;
  const describe = () => describeChart(state, chart, state.buildLines(chart));
  assert.equal(describe(), "Loss, at step 30: training 1");
  assert.equal(describePosition(state), "Step 30");
  state.aim("step", 10);
  state.zoomTo(5, 15);
  assert.equal(describe(), "Loss, at step 10: training 3");
  assert.equal(describePosition(state), "Zoomed to steps 5 to 15, at step 10");
  state.aim("tick", 3);
  assert.equal(describePosition(state), "Zoomed to steps 5 to 15, at tick 3 of the evaluation at step 20");
});

test("a layout maps positions and values to pixels and back", () => {
  const state = createState();
  const layout = layOutChart(state, state.charts[0], { clientWidth: 368, clientHeight: 134 });
  assert.deepEqual([layout.toX(0), layout.toX(30)], [56, 356]);
  assert.ok(Math.abs(layout.toPosition(layout.toX(12)) - 12) < 1e-9);
  assert.ok(layout.toY(4) < layout.toY(1) && layout.toY(1e300) >= -9 * 110);
  const hidden = layOutChart(state, state.charts[0], { clientWidth: 0, clientHeight: 0 });
  assert.ok(Number.isFinite(hidden.toX(10)));
});

test("a pinch zooms unless the fingers are close or cross", () => {
  assert.equal(computePinchFactor(100, 150, 200), 0.5);
  assert.equal(computePinchFactor(100, 50, 20), 50 / 80);
  assert.equal(computePinchFactor(100, 150, 105), null);
  assert.equal(computePinchFactor(100, 150, 50), null);
  assert.equal(computePinchFactor(100, 100, 150), null);
});
