/** Charts of the halting view with plotly.js. */

import { createButton, createElement } from "../common/dom.js";
import { saveFile } from "../common/download.js";
import { drawPicture, loadPlotly, PLOT_CONFIG } from "../common/plotly.js";
import { readTheme } from "../common/theme.js";
import { getColourVariable } from "./chart.js";
import {
  buildBudgetLine,
  buildCurvesFigure,
  buildReliabilityFigure,
  formatCurvesCsv,
  formatReliabilityCsv,
} from "./figures.js";

const CLICK_DISTANCE = 4; // pixels; a longer way is a zoom

/** Both charts. `SvgCharts` has the same interface. */
export class PlotlyCharts {
  #parts;
  #plotly = null;
  #theme = null;
  #view = null;
  #budget = 1;

  /**
   * @param {Record<string, HTMLElement>} parts - Where the charts go: `chart` and `reliability`; `about` describes the first one.
   * @param {(ticks: number) => void} onBudget - Called with the budget that a visitor chooses in the chart.
   */
  constructor(parts, onBudget) {
    this.#parts = parts;
    const { chart, reliability } = parts;
    chart.addEventListener("pointerdown", (event) => this.#followClick(event, onBudget), { capture: true });
    chart.after(this.#createActions("Accuracy by average ticks", chart, formatCurvesCsv));
    reliability.after(this.#createActions("Accuracy by stated confidence", reliability, formatReliabilityCsv));
  }

  #createActions(title, plot, formatCsv) {
    const savePicture = async () => {
      if (plot.on) saveFile(await drawPicture(this.#plotly, plot, this.#theme, title), "halting.png");
    };
    const saveTable = () => {
      if (this.#view) saveFile(new Blob([formatCsv(this.#view)], { type: "text/csv" }), "halting.csv");
    };
    return createElement(
      "p",
      { class: "halting-actions" },
      createButton("PNG", savePicture, { class: "component-pill", "aria-label": `Save ${title} as PNG` }),
      createButton("CSV", saveTable, { class: "component-pill", "aria-label": `Save ${title} as CSV` }),
    );
  }

  /**
   * Draw both charts, once the library is there.
   *
   * @param {import("./parse.js").HaltingView} view - What is known.
   */
  async draw(view) {
    this.#view = view;
    const { chart, reliability, about } = this.#parts;
    if (!chart.clientWidth) return; // the section is closed; it is drawn when it opens
    try {
      this.#plotly ??= await loadPlotly();
    } catch (error) {
      about.textContent = error.message;
      return;
    }
    const root = chart.closest(".halting");
    this.#theme = readTheme(root, about);
    const style = getComputedStyle(root);
    const getColour = (name) => style.getPropertyValue(getColourVariable(name)).trim() || this.#theme.text;
    const { data, layout } = buildCurvesFigure(this.#view, this.#theme, getColour, this.#budget);
    this.#plotly.react(chart, data, layout, PLOT_CONFIG);
    if (!this.#view.bins.length) return;
    const figure = buildReliabilityFigure(this.#view.bins, this.#theme, getColour("energy"));
    this.#plotly.react(reliability, figure.data, figure.layout, PLOT_CONFIG);
  }

  /**
   * Mark the budget.
   *
   * @param {number} ticks - Mean ticks.
   */
  showBudget(ticks) {
    this.#budget = ticks;
    if (this.#parts.chart.on)
      this.#plotly.relayout(this.#parts.chart, { shapes: [buildBudgetLine(this.#theme, ticks)] });
  }

  /** A press without a movement chooses the budget under the pointer. */
  #followClick(event, onBudget) {
    const { chart } = this.#parts;
    const { clientX, clientY } = event;
    const onUp = (up) => {
      if (!chart.on || Math.hypot(up.clientX - clientX, up.clientY - clientY) > CLICK_DISTANCE) return;
      const { left, width } = chart.getBoundingClientRect();
      const { margin, xaxis } = chart.layout;
      const share = (clientX - left - margin.l) / (width - margin.l - margin.r);
      onBudget(xaxis.range[0] + share * (xaxis.range[1] - xaxis.range[0]));
    };
    window.addEventListener("pointerup", onUp, { once: true, capture: true });
  }
}
