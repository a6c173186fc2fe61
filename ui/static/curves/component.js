/** Charts of one run, or of several runs in common charts. */

import { readDashboardAddress, showInAddress, X_AXES } from "../common/dashboard-address.js";
import { createElement, findParts, setText } from "../common/dom.js";
import { loadPlotly } from "../common/plotly.js";
import { getRunColour, selectColours } from "../common/run-colours.js";
import { readTheme } from "../common/theme.js";
import { buildHeatMapFigure, buildLineFigure, getLineStyle } from "./figures.js";
import { listLines, selectTimeUnit } from "./lines.js";
import { ChartPanel } from "./panel.js";
import { parseCurves } from "./parse.js";
import {
  createTable,
  describeHeatMap,
  describeLines,
  formatHeatMapCsv,
  formatLinesCsv,
  listHeatMapRows,
  listLineRows,
} from "./tables.js";

const HEAT_MAP = {
  id: "by-tick",
  title: "Accuracy by tick",
  help: "Share of held-out samples that would be correct if the model stopped at this tick (upwards), at every evaluation (to the right).",
  isOpen: true,
  hasLog: false,
  isLog: false,
};

/** One mounted component. */
export class CurvesComponent {
  #element;
  #props;
  #parts;
  #curves = parseCurves(null);
  #panels = new Map(); // chart id -> panel
  #axis;
  #range = null; // positions in sight; null for all
  #plotly = null;
  #theme = null;
  #differences = "";

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    this.#element = element;
    this.#props = props;
    this.#parts = findParts(element, "curves");
    this.#axis = readDashboardAddress(location.search).x;
    const { axis, smoothing, reset } = this.#parts;
    axis.value = this.#axis;
    axis.addEventListener("change", () => this.#selectAxis(axis.value));
    smoothing.addEventListener("input", () => this.draw());
    reset.addEventListener("click", () => this.#zoom(null));
  }

  /** Show the current value. */
  receive() {
    this.#curves = parseCurves(this.#props.value);
    const { charts, runs, heatMap, note } = this.#curves;
    const isEmpty = charts.length === 0 && !heatMap;
    selectColours(runs.map((run) => run.name));
    this.#parts.note.hidden = !isEmpty;
    this.#parts.body.hidden = isEmpty;
    if (isEmpty) setText(this.#parts.note, note);
    else {
      this.#arrange();
      this.#writeDifferences();
      this.draw();
    }
  }

  /** Draw anew after the theme of the page has changed. */
  refreshTheme() {
    this.#theme = null;
    this.draw();
  }

  #selectAxis(axis) {
    this.#axis = X_AXES.includes(axis) ? axis : "step";
    this.#range = null;
    showInAddress({ x: this.#axis });
    this.draw();
  }

  #zoom(range) {
    this.#range = range;
    this.draw();
  }

  /** Put one panel a chart into the page, in their order: the heat map follows the charts that are unfolded at first. */
  #arrange() {
    const { charts, heatMap } = this.#curves;
    const open = charts.filter((chart) => chart.isOpen);
    const contents = [
      ...open.map((chart) => ({ ...chart, hasLog: true, isLog: chart.log })),
      ...(heatMap ? [HEAT_MAP] : []),
      ...charts.filter((chart) => !chart.isOpen).map((chart) => ({ ...chart, hasLog: true, isLog: chart.log })),
    ];
    const ids = contents.map(({ id }) => id);
    for (const [id, panel] of this.#panels) {
      if (ids.includes(id)) continue;
      panel.root.remove();
      this.#panels.delete(id);
    }
    const { grid } = this.#parts;
    for (const [index, content] of contents.entries()) {
      const { root } = this.#getPanel(content);
      if (grid.children[index] !== root) grid.insertBefore(root, grid.children[index] ?? null);
    }
  }

  #getPanel(content) {
    if (!this.#panels.has(content.id)) {
      const actions = { onOpen: () => this.draw(), onZoom: (range) => this.#zoom(range) };
      this.#panels.set(content.id, new ChartPanel(content, actions));
    }
    return this.#panels.get(content.id);
  }

  /** Draw everything that is unfolded. Nothing is loaded or drawn while the charts are not visible. */
  async draw() {
    if (!this.#panels.size || !this.#parts.grid.clientWidth) return;
    try {
      this.#plotly ??= await loadPlotly();
    } catch (error) {
      this.#parts.note.hidden = false;
      setText(this.#parts.note, error.message);
      return;
    }
    if (!this.#element.isConnected) return;
    this.#theme ??= readTheme(this.#parts.root, this.#parts.root.querySelector(".curves-muted"));
    const view = this.#buildView();
    this.#writeRuns(view);
    for (const chart of this.#curves.charts) {
      const panel = this.#panels.get(chart.id);
      panel.draw(this.#plotly, this.#theme, this.#buildLineSource(view, chart, panel));
    }
    const { heatMap } = this.#curves;
    if (heatMap) this.#panels.get(HEAT_MAP.id).draw(this.#plotly, this.#theme, buildHeatMapSource(view, heatMap));
  }

  #buildView() {
    const { runs } = this.#curves;
    const smoothing = Number(this.#parts.smoothing.value) / 100;
    return { runs, axis: this.#axis, unit: selectTimeUnit(runs), smoothing, range: this.#range, theme: this.#theme };
  }

  #buildLineSource(view, chart, panel) {
    const { runs } = view;
    const shown = chart.series.filter((series) => runs.some((run) => run.points.has(series.key)));
    const keys = shown.map(({ key, label }) => {
      const line = listLines(chart, runs).find(({ series }) => series.key === key);
      const { color, dash } = getLineStyle(view, line);
      return { key, label, dash, color: runs.length > 1 ? view.theme.text : color };
    });
    return {
      buildFigure: () => buildLineFigure(view, chart, { isLog: panel.isLog, hidden: panel.hidden }),
      listRows: () => listLineRows(chart, runs),
      formatCsv: () => formatLinesCsv(chart, runs),
      describe: () => describeLines(chart, runs),
      keys,
    };
  }

  /** Name the runs by their colours, if there are several. */
  #writeRuns({ runs, theme }) {
    const keys = runs.length < 2 ? [] : runs;
    const elements = keys.map(({ name }) => {
      const swatch = createElement("span", { class: "curves-swatch", "aria-hidden": "true" });
      swatch.style.color = getRunColour(name, theme.isDark);
      return createElement("span", { class: "curves-key" }, swatch, name);
    });
    const { children } = this.#parts.runs;
    const isEqual =
      elements.length === children.length && elements.every((one, index) => one.isEqualNode(children[index]));
    if (!isEqual) this.#parts.runs.replaceChildren(...elements);
  }

  #writeDifferences() {
    const { differences, runs } = this.#curves;
    const version = JSON.stringify([differences, runs.map(({ name }) => name)]);
    this.#parts.differences.hidden = !differences.length;
    if (version === this.#differences || !differences.length) return;
    this.#differences = version;
    const rows = [["setting", ...runs.map(({ name }) => name)], ...differences];
    this.#parts.settings.replaceChildren(createTable(rows, "Settings that differ"));
  }
}

function buildHeatMapSource(view, heatMap) {
  return {
    buildFigure: () => buildHeatMapFigure(view, heatMap),
    listRows: () => listHeatMapRows(heatMap),
    formatCsv: () => formatHeatMapCsv(heatMap),
    describe: () => describeHeatMap(heatMap),
    keys: [],
  };
}
