/** The page around the canvases: panels, legends, and values at the crosshair. */

import { createElement, createSvgElement, setText } from "../common/dom.js";
import { formatExact, UNKNOWN } from "../common/format.js";
import { formatValue } from "./scales.js";
import { CurvesState } from "./state.js";

/**
 * One chart in the page.
 *
 * @typedef {object} CurvesPanel
 * @property {import("./parse.js").Chart} chart - What it shows.
 * @property {HTMLElement} root - The panel.
 * @property {HTMLElement} title - Its heading.
 * @property {HTMLElement} legend - Its legend.
 * @property {HTMLElement} help - What the chart shows.
 * @property {HTMLCanvasElement} canvas - Lines.
 * @property {HTMLCanvasElement} overlay - Crosshair and selection; it takes pointers and keys.
 * @property {import("./canvas.js").Layout} layout - Where it was drawn last.
 * @property {{run: string, key: string, element: HTMLElement, chip: HTMLElement | null}[]} values - Texts that follow the crosshair.
 */

/**
 * Create a panel.
 *
 * @param {import("./parse.js").Chart} chart - What it shows.
 * @returns {CurvesPanel} The panel, not yet in the page.
 */
export function createPanel(chart) {
  const title = createElement("h3", { class: "curves-title" });
  const legend = createElement("div", { class: "curves-legend" });
  const canvas = createElement("canvas", { class: "curves-lines", "aria-hidden": "true" });
  const overlay = createElement("canvas", {
    class: "curves-overlay",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "chart",
  });
  const frame = createElement("div", { class: "curves-frame" }, canvas, overlay);
  const help = createElement("p", { class: "curves-muted" });
  const root = createElement("section", { class: "curves-panel", "data-chart": chart.id }, title, legend, frame, help);
  return { chart, root, title, legend, help, canvas, overlay, layout: null, values: [] };
}

/**
 * Create a button that hides and shows something; it is pressed while the thing is shown.
 *
 * @param {string} className - Its class.
 * @param {Set<string>} hidden - Names of what is hidden.
 * @param {string} name - Name of the thing.
 * @param {() => void} onChange - Called after a press.
 * @param {...(Node | string)} children - Its content.
 * @returns {HTMLElement} The button.
 */
function createToggle(className, hidden, name, onChange, ...children) {
  const isPressed = () => String(!hidden.has(name));
  const toggle = ({ currentTarget }) => {
    if (!hidden.delete(name)) hidden.add(name);
    currentTarget.setAttribute("aria-pressed", isPressed());
    onChange();
  };
  const attributes = { type: "button", class: className, "aria-pressed": isPressed(), click: toggle };
  return createElement("button", attributes, ...children);
}

function createSwatch(colour, dash) {
  const line = createSvgElement("line", {
    x1: 0,
    x2: 22,
    y1: 4,
    y2: 4,
    stroke: colour,
    "stroke-width": 2.5,
    "stroke-dasharray": dash.join(" ") || "none",
  });
  return createSvgElement("svg", { class: "curves-swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, line);
}

function createDot(colour) {
  const dot = createElement("span", { class: "curves-dot" });
  dot.style.background = colour;
  return dot;
}

/**
 * Create the button of a run, which hides and shows it.
 *
 * @param {CurvesState} state - What is shown.
 * @param {import("./parse.js").Run} run - The run.
 * @param {() => void} onChange - Called after a press.
 * @returns {HTMLElement} The button.
 */
export function createRunButton(state, run, onChange) {
  const name = createElement("span", { class: "curves-name" }, run.name);
  const dot = createDot(state.getRunColour(run));
  const button = createToggle("curves-run", state.hiddenRuns, run.name, onChange, dot, name);
  button.title = run.name;
  return button;
}

/**
 * Write the legend of a panel: a row a series, with its value for each run.
 *
 * @param {CurvesPanel} panel - The panel; its `values` are replaced.
 * @param {CurvesState} state - What is shown.
 * @param {() => void} onChange - Called after a series was hidden or shown.
 */
export function writeLegend(panel, state, onChange) {
  const lines = state.buildLines(panel.chart);
  panel.values = [];
  const rows = panel.chart.series.map((series, index) => {
    const own = lines.filter((line) => line.series === series);
    return own.length ? createLegendRow(panel, state, series, index, own, onChange) : null;
  });
  panel.legend.replaceChildren(...rows.filter(Boolean));
}

function createLegendRow(panel, state, series, index, lines, onChange) {
  const { chart } = panel;
  const colour = state.isComparing ? "currentColor" : lines[0].colour;
  const label = createElement("span", { class: "curves-label" }, series.label);
  const content = [createSwatch(colour, state.getDash(index)), label];
  if (!state.isComparing) content.push(createValue(panel, lines[0], null));
  const name = CurvesState.getSeriesName(chart, series);
  const key =
    chart.series.length > 1
      ? createToggle("curves-key", state.hiddenSeries, name, onChange, ...content)
      : createElement("span", { class: "curves-key" }, ...content);
  if (!state.isComparing) return createElement("div", { class: "curves-row" }, key);
  return createElement("div", { class: "curves-row curves-wide" }, key, createChips(panel, lines));
}

function createValue(panel, { run, series }, chip) {
  const element = createElement("span", { class: "curves-value" });
  panel.values.push({ run: run.name, key: series.key, element, chip });
  return element;
}

/** Create the values by run: beside the name of the series if all fit there, else below it. */
function createChips(panel, lines) {
  const chips = lines.map((line) => {
    const chip = createElement("span", { class: "curves-chip", title: line.run.name }, createDot(line.colour));
    chip.append(createValue(panel, line, chip));
    return chip;
  });
  const group = createElement("span", { class: "curves-chips" }, ...chips);
  group.style.flexBasis = `${6 * lines.length}em`;
  return group;
}

// --- values at the crosshair ---

/**
 * Describe what a chart shows at the crosshair, or at its end.
 *
 * @param {CurvesState} state - What is shown.
 * @param {import("./parse.js").Chart} chart - The chart.
 * @param {import("./lines.js").Line[]} lines - Its lines.
 * @returns {string} Such as "Loss, at step 980: training 0.27".
 */
export function describeChart(state, chart, lines) {
  const shown = lines.filter((line) => line.isShown);
  const values = shown.map((line) => {
    const run = state.isComparing ? `${line.run.name}, ` : "";
    return `${run}${line.series.label} ${formatValue(chart, state.getValue(line))}`;
  });
  return `${chart.title}, ${describePlace(state, chart, shown)}: ${values.join("; ")}`;
}

function describePlace(state, { axis }, shown) {
  const position = state.crosshair[axis];
  if (position !== null) return `at ${axis} ${formatExact(position)}`;
  if (!shown.length) return "nothing shown";
  return `at ${axis} ${formatExact(Math.max(...shown.map((line) => line.at.at(-1))))}`;
}

/**
 * Describe zoom and crosshair.
 *
 * @param {CurvesState} state - What is shown.
 * @returns {string} Such as "Zoomed to steps 400 to 890, at step 780".
 */
export function describePosition(state) {
  const { zoom, crosshair, runs } = state;
  const parts = [];
  if (zoom) parts.push(`Zoomed to steps ${formatExact(Math.round(zoom[0]))} to ${formatExact(Math.round(zoom[1]))}`);
  if (crosshair.step !== null) parts.push(`at step ${formatExact(crosshair.step)}`);
  if (crosshair.tick !== null) {
    const steps = [...new Set(runs.map((run) => run.evaluated).filter((step) => step !== null))];
    const evaluation = steps.length === 1 ? ` of the evaluation at step ${formatExact(steps[0])}` : "";
    parts.push(`at tick ${formatExact(crosshair.tick)}${evaluation}`);
  }
  const domain = state.getDomain("step");
  if (crosshair.step === null && crosshair.tick === null && domain) {
    parts.push(`Step ${formatExact(domain[1])}`);
  }
  return parts.join(", ");
}

/**
 * Show the values of a panel at the crosshair, or the newest ones.
 *
 * @param {CurvesPanel} panel - The panel.
 * @param {CurvesState} state - What is shown.
 */
export function showValues(panel, state) {
  const { chart, layout, overlay, values } = panel;
  for (const { run, key, element, chip } of values) {
    const line = layout.lines.find((other) => other.run.name === run && other.series.key === key);
    setText(element, line ? formatValue(chart, state.getValue(line)) : UNKNOWN);
    if (chip) chip.hidden = !line?.isShown;
  }
  overlay.setAttribute("aria-label", describeChart(state, chart, layout.lines));
}
