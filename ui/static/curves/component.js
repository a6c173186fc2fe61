/** Charts of one run, or of several runs against each other. */

import { findParts, setText } from "../common/dom.js";
import { readTheme } from "../common/theme.js";
import { drawChart, drawOverlay, layOutChart } from "./canvas.js";
import { Interaction } from "./interaction.js";
import { createPanel, createRunButton, describeChart, describePosition, showValues, writeLegend } from "./panels.js";
import { parseCurves } from "./parse.js";
import { CurvesState } from "./state.js";

const PALETTES = {
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7B4FB5", "#666666"],
  dark: ["#56B4E9", "#E69F00", "#2CC49A", "#E39CC5", "#F0E442", "#FF8A4C", "#B79AEA", "#BBBBBB"],
};

/** One mounted component. */
export class CurvesComponent {
  #props;
  #parts;
  #state = new CurvesState();
  #interaction;
  #theme = null;
  #panels = new Map(); // chart id -> panel
  #legendVersion = ""; // what the legends were written for
  #selection = null;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    this.#props = props;
    this.#parts = findParts(element, "curves");
    this.#interaction = new Interaction(this.#buildActions());
    this.#parts.reset.addEventListener("click", () => this.#resetZoom());
  }

  /** Size that drawing depends on. */
  get size() {
    return `${this.#parts.grid.clientWidth} ${this.#parts.grid.clientHeight}`;
  }

  #buildActions() {
    const state = this.#state;
    return {
      aimNear: (panel, position) => state.aimNear(panel.chart, position) && this.#drawOverlays(),
      removeCrosshair: (panel) => {
        state.aim(panel.chart.axis, null);
        this.#drawOverlays();
      },
      moveCrosshair: (panel, points) => this.#moveCrosshair(panel, points),
      zoomTo: (from, to) => {
        state.zoomTo(from, to);
        this.draw();
      },
      zoomBy: (factor, step) => {
        state.zoomBy(factor, step);
        this.draw();
      },
      resetZoom: () => this.#resetZoom(),
      select: (selection) => {
        this.#selection = selection;
        this.#drawOverlays();
      },
    };
  }

  #moveCrosshair(panel, points) {
    const { zoom } = this.#state;
    if (!this.#state.moveCrosshair(panel.chart, points)) return;
    if (this.#state.zoom === zoom) this.#drawOverlays();
    else this.draw();
    this.#parts.announcement.textContent = describeChart(this.#state, panel.chart, panel.layout.lines);
  }

  #resetZoom() {
    this.#state.zoom = null;
    this.draw();
  }

  /** Show the current value. */
  receive() {
    const curves = parseCurves(this.#props.value);
    const isEmpty = curves.charts.length === 0;
    this.#parts.note.hidden = !isEmpty;
    this.#parts.body.hidden = isEmpty;
    if (isEmpty) setText(this.#parts.note, curves.note);
    if (!this.#theme) this.#readTheme();
    this.#state.replace(curves);
    if (isEmpty) return;
    this.#arrange();
    this.#writeLegends();
    this.draw();
  }

  /** Draw anew after the theme of the page has changed. */
  refreshTheme() {
    this.#readTheme();
    if (!this.#state.charts.length) return;
    this.#writeLegends();
    this.draw();
  }

  #readTheme() {
    this.#theme = readTheme(this.#parts.root, this.#parts.position);
    this.#state.palette = PALETTES[this.#theme.isDark ? "dark" : "light"];
  }

  /** Put one panel a chart into the page, in their order. A panel that is in its place is not moved, so it keeps the focus. */
  #arrange() {
    const { charts } = this.#state;
    for (const [id, panel] of this.#panels) {
      if (charts.some((chart) => chart.id === id)) continue;
      panel.root.remove();
      this.#panels.delete(id);
    }
    const { grid } = this.#parts;
    for (const [index, chart] of charts.entries()) {
      const panel = this.#getPanel(chart);
      panel.chart = chart;
      panel.title.textContent = chart.title;
      panel.help.textContent = chart.help;
      const current = grid.children[index] ?? null;
      if (current !== panel.root) grid.insertBefore(panel.root, current);
    }
  }

  #getPanel(chart) {
    if (!this.#panels.has(chart.id)) {
      const panel = createPanel(chart);
      this.#interaction.listen(panel);
      this.#panels.set(chart.id, panel);
    }
    return this.#panels.get(chart.id);
  }

  /** Write all legends, unless they were written for the same runs and series. */
  #writeLegends() {
    const { runs, charts, isComparing } = this.#state;
    const colours = runs.map((run) => [run.name, this.#state.getRunColour(run)]);
    const version = JSON.stringify([
      this.#state.palette,
      colours,
      charts.map((chart) => [chart, this.#state.buildLines(chart).length]),
    ]);
    if (version === this.#legendVersion) return;
    this.#legendVersion = version;
    const onChange = () => this.draw();
    const buttons = isComparing ? runs.map((run) => createRunButton(this.#state, run, onChange)) : [];
    this.#parts.runs.hidden = !isComparing;
    this.#parts.runs.replaceChildren(...buttons);
    for (const panel of this.#panels.values()) writeLegend(panel, this.#state, onChange);
  }

  /** Draw everything. A chart in a hidden tab has no size: the size observer draws it later. */
  draw() {
    if (!this.#state.charts.length) return;
    for (const panel of this.#panels.values()) {
      panel.layout = layOutChart(this.#state, panel.chart, panel.canvas);
      if (panel.canvas.clientWidth) drawChart(panel.canvas, this.#theme, panel.chart, panel.layout);
    }
    this.#parts.reset.classList.toggle("curves-absent", this.#state.zoom === null);
    this.#drawOverlays();
  }

  /** Draw only what lies over the lines: it follows the pointer. */
  #drawOverlays() {
    for (const panel of this.#panels.values()) {
      const { overlay, chart, layout } = panel;
      if (!layout) continue; // not drawn yet
      if (overlay.clientWidth) drawOverlay(overlay, this.#theme, this.#state, chart, layout, this.#selection);
      showValues(panel, this.#state);
    }
    this.#parts.position.textContent = describePosition(this.#state);
  }
}
