/** Figures for plotly.js: traces and layouts, as plain data. */

import { buildAxis, buildLayout } from "../common/plotly.js";
import { getPaletteColour, getRunColour } from "../common/run-colours.js";
import { getPositions, listLines, smoothValues } from "./lines.js";

const DASHES = ["solid", "dash", "dot", "longdash", "dashdot"];
const RAW_OPACITY = 0.3;

/**
 * What all charts share.
 *
 * @typedef {object} View
 * @property {import("./parse.js").Run[]} runs - The runs.
 * @property {"step" | "time" | "samples"} axis - What is to the right.
 * @property {{name: string, seconds: number}} unit - Unit of time.
 * @property {number} smoothing - 0 to 1.
 * @property {number[] | null} range - First and last position in sight; null for all.
 * @property {import("../common/theme.js").Theme} theme - Colours.
 */

/**
 * Return the title of the horizontal axis.
 *
 * @param {View} view - What is shown.
 * @returns {string} Such as "minutes of training".
 */
export function getAxisTitle({ axis, unit }) {
  return axis === "time" ? `${unit.name} of training` : axis === "samples" ? "training samples" : "step";
}

/**
 * Return colour and dash of a line: with one run, colours distinguish series; with several, colours distinguish runs.
 *
 * @param {View} view - What is shown.
 * @param {{run: {name: string}, seriesIndex: number}} line - The line.
 * @returns {{color: string, dash: string}} They.
 */
export function getLineStyle({ runs, theme }, { run, seriesIndex }) {
  if (runs.length < 2) return { color: getPaletteColour(seriesIndex, theme.isDark), dash: "solid" };
  return { color: getRunColour(run.name, theme.isDark), dash: DASHES[seriesIndex % DASHES.length] };
}

/**
 * Build the figure of a chart of lines.
 *
 * @param {View} view - What is shown.
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {{isLog: boolean, hidden: Set<string>}} options - Whether the scale is logarithmic; keys of hidden series.
 * @returns {{data: object[], layout: object}} Traces and layout.
 */
export function buildLineFigure(view, chart, { isLog, hidden }) {
  const lines = listLines(chart, view.runs).filter(({ series }) => !hidden.has(series.key));
  const data = lines.flatMap((line) => buildTraces(view, chart, line, isLog));
  const format = chart.percent ? { tickformat: ",.0%", hoverformat: ",.1%" } : { hoverformat: ".4~g" };
  const values = { type: isLog ? "log" : "linear", rangemode: chart.zero && !isLog ? "tozero" : "normal", ...format };
  if (isLog && !chart.percent) values.tickformat = ".3~g";
  if (isLog && isWithinDecades(lines)) values.dtick = "D2"; // labels at 1, 2 and 5 times powers of ten
  const title = chart.unit ? { title: { text: chart.unit } } : {};
  const layout = buildLayout(view.theme, {
    hovermode: "x unified",
    dragmode: "zoom",
    uirevision: `${view.axis} ${isLog}`,
    xaxis: buildHorizontalAxis(view),
    yaxis: buildAxis(view.theme, { ...values, ...title }),
  });
  return { data, layout };
}

/** Return whether all values are so close together that whole powers of ten are not enough for labels. */
function isWithinDecades(lines) {
  const values = lines.flatMap(({ value }) => value.filter((one) => one > 0));
  return values.length > 0 && Math.max(...values) / Math.min(...values) < 100;
}

function buildHorizontalAxis(view) {
  const range = view.range ? { range: [...view.range], autorange: false } : { autorange: true };
  return buildAxis(view.theme, { title: { text: getAxisTitle(view), standoff: 6 }, nticks: 6, ...range });
}

function buildTraces(view, { percent }, line, isLog) {
  const { run, series, at, value, mean } = line;
  const x = getPositions(run, at, view.axis, view.unit.seconds);
  const name = view.runs.length > 1 ? `${run.name}: ${series.label}` : series.label;
  const style = getLineStyle(view, line);
  const base = { type: "scatter", mode: at.length < 2 ? "markers" : "lines", x, name };
  const number = percent ? "%{y:,.1%}" : "%{y:.4~g}";
  const shown = {
    ...base,
    hovertemplate: `${number} ${escapeHtml(name)}<extra></extra>`,
    uid: `${run.name} ${series.key}`,
  };
  const smoothed = series.isNoisy ? smoothValues(mean, view.smoothing, isLog) : value;
  if (smoothed === value || smoothed === mean) return [{ ...shown, y: value, line: { ...style, width: 2 } }];
  const raw = {
    ...base,
    y: value,
    line: { ...style, width: 1 },
    opacity: RAW_OPACITY,
    hoverinfo: "skip",
    showlegend: false,
  };
  return [
    { ...raw, uid: `${shown.uid} raw` },
    { ...shown, y: smoothed, line: { ...style, width: 2 } },
  ];
}

/** Escape a text for plotly.js, which reads some HTML in texts. */
function escapeHtml(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("%{", "% {");
}

/**
 * Build the figure of the accuracy by tick: evaluations to the right, ticks upwards.
 *
 * @param {View} view - What is shown.
 * @param {import("./parse.js").HeatMap} heatMap - The accuracies.
 * @returns {{data: object[], layout: object}} Trace and layout.
 */
export function buildHeatMapFigure(view, { name, steps, ticks, rows }) {
  const run = view.runs.find((one) => one.name === name) ?? { clock: null, samples: null };
  const trace = {
    type: "heatmap",
    x: getPositions(run, steps, view.axis, view.unit.seconds),
    y: ticks,
    z: ticks.map((_, tick) => rows.map((row) => row[tick])),
    zmin: 0,
    zmax: 1,
    colorscale: "Viridis",
    colorbar: { thickness: 10, outlinewidth: 0, tickformat: ",.0%", nticks: 3 },
    hovertemplate: "%{x}, tick %{y}: %{z:,.1%}<extra></extra>",
  };
  const layout = buildLayout(view.theme, {
    dragmode: "zoom",
    uirevision: view.axis,
    xaxis: buildHorizontalAxis(view),
    yaxis: buildAxis(view.theme, { title: { text: "tick", standoff: 4 }, nticks: 6 }),
  });
  return { data: [trace], layout };
}
