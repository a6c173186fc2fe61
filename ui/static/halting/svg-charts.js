/** Charts of the halting view as SVG, for the exported page: plotly.js alone would be many times as large as that page. */

import { createSvgElement } from "../common/dom.js";
import { drawCurves, drawReliability } from "./chart.js";

/** Both charts. See `PlotlyCharts` for the same interface. */
export class SvgCharts {
  #curves;
  #reliability;
  #frame = null;

  /**
   * @param {{chart: HTMLElement, reliability: HTMLElement}} parts - Where the charts go.
   * @param {(ticks: number) => void} onBudget - Called with the budget that a visitor chooses in the chart.
   */
  constructor({ chart, reliability }, onBudget) {
    this.#curves = createSvgElement("svg");
    this.#reliability = createSvgElement("svg");
    chart.replaceChildren(this.#curves);
    reliability.replaceChildren(this.#reliability);
    const follow = (event) => {
      const { left, width } = this.#curves.getBoundingClientRect();
      if (this.#frame) onBudget(this.#frame.toValue((event.clientX - left) / width));
    };
    chart.addEventListener("pointerdown", (event) => {
      chart.setPointerCapture(event.pointerId);
      follow(event);
    });
    chart.addEventListener("pointermove", (event) => {
      if (event.buttons === 1) follow(event);
    });
  }

  /**
   * Draw both charts.
   *
   * @param {import("./parse.js").HaltingView} view - What is known.
   */
  draw(view) {
    this.#frame = drawCurves(this.#curves, view);
    if (view.bins.length) drawReliability(this.#reliability, view.bins);
  }

  /**
   * Mark the budget.
   *
   * @param {number} ticks - Mean ticks.
   */
  showBudget(ticks) {
    if (!this.#frame) return;
    const { box, toX } = this.#frame;
    this.#curves.querySelector("[data-now]").setAttribute("d", `M${toX(ticks)} ${box.top}V${box.bottom}`);
  }
}
