// Training curves. Gradio runs this once per mounted component, as the body of a function that is given `element` (the
// component's root), `props` (whose `value` says what to draw, or is empty) and `watch`. Nothing here is global.
//
// A new value replaces `charts` and `runs`; what a person did (`view`, `cross`, what is hidden) stays. Values may come
// from anywhere, so each is read into checked numbers and texts first: what is missing or odd is left out, never throws.
"use strict";

const MOST_CHARTS = 40, MOST_SERIES = 12, MOST_RUNS = 24, MOST_POINTS = 5000, LARGEST = 1e30;
const NOTHING = "Nothing to draw yet.";

const parts = {};
for (const part of element.querySelectorAll("[data-curves]")) parts[part.dataset.curves] = part;

let charts = []; // what to draw: [{id, title, help, unit, log, percent, zero, axis, series: [{key, label}]}]
let runs = []; // [{name, steps, evaluated, points: key -> {at, value, smooth}, hue}]
let view = null; // the steps that were zoomed to, [first, last]; null shows all
let cross = { step: null, tick: null }; // where the crosshair is, by axis
let drag = null; // the steps being selected, {from, to}
const hiddenRuns = new Set(), hiddenSeries = new Set();
const hues = new Map(); // run name -> number of its colour, kept while the run is shown
let look = null; // colours and font of the page as it is now

// --- reading a value -------------------------------------------------------------------------------------------------

const isNumber = (x) => typeof x === "number" && Number.isFinite(x) && Math.abs(x) <= LARGEST;
const clamp = (x, least, most) => Math.min(most, Math.max(least, x));
const list = (x, most) => (Array.isArray(x) ? x.slice(0, most) : []);
const object = (x) => (x && typeof x === "object" && !Array.isArray(x) ? x : {});
const text = (x, most = 300) => (typeof x === "string" || isNumber(x) ? String(x).slice(0, most) : "");

/** The first of those that share a name, if they have one. */
function distinct(things, nameOf) {
  const seen = new Set();
  return things.filter((thing) => nameOf(thing) && !seen.has(nameOf(thing)) && seen.add(nameOf(thing)));
}

function readChart(value) {
  const said = object(value);
  const series = list(said.series, MOST_SERIES).map((one) => ({ key: text(object(one).key), label: text(object(one).label) || text(object(one).key) }));
  return {
    id: text(said.id),
    title: text(said.title) || text(said.id),
    help: text(said.help, 600),
    unit: text(said.unit, 20),
    log: said.log === true,
    percent: said.percent === true,
    zero: said.zero === true,
    axis: said.axis === "tick" ? "tick" : "step",
    series: distinct(series, (one) => one.key),
  };
}

function readRun(value, keys) {
  const said = object(value), given = object(said.points), points = new Map();
  for (const key of keys) {
    const read = Object.hasOwn(given, key) ? readPoints(given[key]) : null;
    if (read) points.set(key, read);
  }
  return { name: text(said.name), steps: isNumber(said.steps) ? said.steps : null, evaluated: isNumber(said.evaluated) ? said.evaluated : null, points };
}

/** Columns of steps, values and perhaps smoothed values, in order of steps; null if there is no point. */
function readPoints(columns) {
  const [steps, values, smooth] = list(columns, 3).map((column) => list(column, MOST_POINTS));
  const rows = (steps ?? []).map((step, index) => [step, values?.[index], smooth?.[index]]);
  const there = rows.filter(([step, value]) => isNumber(step) && isNumber(value)).sort((a, b) => a[0] - b[0]);
  if (!there.length) return null;
  return { at: there.map((row) => row[0]), value: there.map((row) => row[1]), smooth: there.every((row) => isNumber(row[2])) ? there.map((row) => row[2]) : null };
}

/** Take over a value; charts without a point in any run are left out. */
function read(value) {
  const said = object(value), offered = distinct(list(said.charts, MOST_CHARTS).map(readChart), (chart) => chart.id);
  const keys = new Set(offered.flatMap((chart) => chart.series.map((one) => one.key)));
  runs = distinct(list(said.runs, MOST_RUNS).map((run) => readRun(run, keys)), (run) => run.name);
  charts = offered.filter((chart) => chart.series.some((one) => runs.some((run) => run.points.has(one.key))));
  giveHues();
  return text(said.note, 600) || NOTHING;
}

/** A run keeps its colour while others come and go. */
function giveHues() {
  for (const name of hues.keys()) if (!runs.some((run) => run.name === name)) hues.delete(name);
  for (const { name } of runs) {
    if (hues.has(name)) continue;
    const taken = new Set(hues.values());
    let free = 0;
    while (taken.has(free)) free++;
    hues.set(name, free);
  }
  for (const run of runs) run.hue = hues.get(run.name);
}

// --- what is shown of it ---------------------------------------------------------------------------------------------

/** Several runs are told apart by colour, and series by dashes; of one run, series are told apart by colour. */
const comparing = () => runs.length > 1;
const isHidden = (run) => comparing() && hiddenRuns.has(run.name);
const seriesName = (chart, one) => `${chart.id}/${one.key}`;

/** All lines of a chart that have points, hidden or not. */
function linesOf(chart) {
  return chart.series.flatMap((one, place) => runs.filter((run) => run.points.has(one.key)).map((run) => ({
    chart, run, one, ...run.points.get(one.key),
    colour: look.hues[(comparing() ? run.hue : place) % look.hues.length],
    dash: comparing() ? DASHES[place % DASHES.length] : [],
    shown: !isHidden(run) && !(chart.series.length > 1 && hiddenSeries.has(seriesName(chart, one))),
  })));
}

/** First and last place on an axis of the lines that are shown there; null if there are none. */
function domain(axis) {
  let [first, last] = [Infinity, -Infinity];
  for (const chart of charts) {
    if (chart.axis !== axis) continue;
    for (const line of linesOf(chart)) if (line.shown) [first, last] = [Math.min(first, line.at[0]), Math.max(last, line.at.at(-1))];
  }
  return first <= last ? [first, last] : null;
}

/** What of an axis is in sight. */
function inSight(axis) {
  const [first, last] = (axis === "step" && view) || domain(axis) || [0, 1];
  return first < last ? [first, last] : [first - 0.5, last + 0.5];
}

/** The place of the point of a line that is nearest to `at`; -1 where the line does not reach. */
function nearest(line, at) {
  const { at: places } = line, last = places.length - 1;
  let low = 0, high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (places[middle] <= at) low = middle;
    else high = middle;
  }
  const [first, end] = inSight(line.chart.axis), slack = Math.max((end - first) / 50, (places[last] - places[0]) / Math.max(1, last));
  const found = at - places[low] <= places[high] - at ? low : high;
  return at < places[0] - slack || at > places[last] + slack ? -1 : found;
}
