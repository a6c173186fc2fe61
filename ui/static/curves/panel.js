/** The panel of one chart: heading, legend, plot, and buttons that do with the keyboard what a pointer does. */

import { createButton, createElement, hasModifier } from "../common/dom.js";
import { buildFileName, saveFile } from "../common/download.js";
import { drawPicture, PLOT_CONFIG } from "../common/plotly.js";
import { createTable } from "./tables.js";

const PAN_SHARE = 0.1;
const ZOOM_FACTOR = 0.7;

/**
 * What a panel needs of a chart.
 *
 * @typedef {object} PanelContent
 * @property {string} id - Name of the chart.
 * @property {string} title - Its heading.
 * @property {string} help - What it shows.
 * @property {boolean} isOpen - Whether it is unfolded at first.
 * @property {boolean} hasLog - Whether its scale may be logarithmic.
 * @property {boolean} isLog - Whether it is logarithmic at first.
 */

/** One panel. Its content is drawn while it is unfolded. */
export class ChartPanel {
  #plotly = null;
  #theme = null;
  #title;
  #log;
  #help;
  #legend;
  #plot;
  #values;
  #table;
  #source = null; // functions that build figure, rows, CSV and description
  #legendVersion = "";
  #onZoom;
  #isZoomingItself = false; // a change of the range that the page made itself

  /** Keys of hidden series. @type {Set<string>} */
  hidden = new Set();

  /**
   * @param {PanelContent} content - The chart.
   * @param {{onOpen: () => void, onZoom: (range: number[] | null) => void}} actions - Called when the panel is unfolded or its scale changes, and when a visitor zooms.
   */
  constructor({ id, title, help, isOpen, hasLog, isLog }, { onOpen, onZoom }) {
    this.#onZoom = onZoom;
    this.#title = title;
    this.#log = createElement("input", { type: "checkbox", change: onOpen });
    this.#log.checked = isLog;
    this.#help = createElement("p", { class: "curves-muted" }, help);
    this.#legend = createElement("div", { class: "curves-legend", role: "group", "aria-label": `Lines of ${title}` });
    this.#plot = createElement("div", { class: "curves-plot", tabindex: "0", role: "img", "aria-label": title });
    this.#plot.addEventListener("keydown", (event) => this.#handleKey(event));
    this.#table = createElement("div", {
      class: "curves-scroll",
      role: "group",
      "aria-label": `${title}: values`,
      tabindex: "0",
    });
    this.#values = createElement(
      "details",
      { class: "curves-values", toggle: () => this.#writeTable() },
      createElement("summary", {}, "Values"),
      this.#table,
    );
    const log = createElement("label", {}, this.#log, "logarithmic");
    const actions = createElement(
      "div",
      { class: "curves-actions" },
      ...(hasLog ? [log] : []),
      createButton("PNG", () => this.#savePicture(), { class: "component-pill", "aria-label": `Save ${title} as PNG` }),
      createButton("CSV", () => this.#saveTable(), { class: "component-pill", "aria-label": `Save ${title} as CSV` }),
      this.#values,
    );
    this.root = createElement(
      "details",
      { class: "curves-panel", "data-chart": id, toggle: onOpen },
      createElement("summary", {}, createElement("h3", {}, title)),
      this.#help,
      this.#legend,
      this.#plot,
      actions,
    );
    this.root.open = isOpen;
  }

  /** Whether the scale is logarithmic. */
  get isLog() {
    return this.#log.checked;
  }

  /**
   * Show data.
   *
   * @param {object} plotly - The library.
   * @param {import("../common/theme.js").Theme} theme - Colours.
   * @param {{buildFigure: () => {data: object[], layout: object}, listRows: () => string[][], formatCsv: () => string, describe: () => string, keys: object[]}} source - Builds what is shown; `keys` has colour, dash, label and key of each line.
   */
  draw(plotly, theme, source) {
    this.#plotly = plotly;
    this.#theme = theme;
    this.#source = source;
    if (!this.root.open || !this.#plot.clientWidth) return;
    this.#writeLegend(source.keys);
    this.#writeTable();
    this.#plot.setAttribute("aria-label", source.describe());
    const { data, layout } = source.buildFigure();
    const isFirst = !this.#plot.on;
    this.#isZoomingItself = true;
    plotly.react(this.#plot, data, layout, PLOT_CONFIG);
    this.#isZoomingItself = false;
    if (isFirst) this.#plot.on("plotly_relayout", (change) => this.#receiveZoom(change));
  }

  #writeTable() {
    if (!this.#values.open || !this.#source) return;
    const table = createTable(this.#source.listRows(), `${this.#title}: values`);
    if (!this.#table.firstChild?.isEqualNode(table)) this.#table.replaceChildren(table);
  }

  #writeLegend(keys) {
    const version = JSON.stringify(keys);
    if (version === this.#legendVersion) return;
    this.#legendVersion = version;
    this.#legend.replaceChildren(...keys.map((key) => this.#createKey(key, keys.length > 1)));
    this.#legend.hidden = !keys.length;
  }

  #createKey({ color, dash, label, key }, canHide) {
    const swatch = createElement("span", { class: "curves-swatch", "aria-hidden": "true" });
    swatch.style.color = color;
    swatch.style.borderTopStyle = { solid: "solid", dot: "dotted" }[dash] ?? "dashed";
    if (!canHide) return createElement("span", { class: "curves-key" }, swatch, label);
    const button = createButton(swatch, () => this.#toggleSeries(key, button), {
      class: "curves-key",
      "aria-pressed": String(!this.hidden.has(key)),
      title: "Hide or show this line",
    });
    button.append(label);
    return button;
  }

  #toggleSeries(key, button) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    button.setAttribute("aria-pressed", String(!this.hidden.has(key)));
    this.draw(this.#plotly, this.#theme, this.#source);
  }

  // --- zoom ---

  #receiveZoom(change) {
    if (this.#isZoomingItself) return;
    const range = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (range.every(Number.isFinite)) this.#onZoom(range);
    else if (change["xaxis.autorange"]) this.#onZoom(null);
  }

  #handleKey(event) {
    const [first, last] = this.#plot.layout?.xaxis?.range ?? [];
    if (hasModifier(event) || !Number.isFinite(first)) return;
    const width = last - first;
    const middle = (first + last) / 2;
    const move = (share) => [first + share * width, last + share * width];
    const scale = (factor) => [middle - (factor * width) / 2, middle + (factor * width) / 2];
    const ranges = {
      ArrowLeft: () => move(-PAN_SHARE),
      ArrowRight: () => move(PAN_SHARE),
      "+": () => scale(ZOOM_FACTOR),
      "=": () => scale(ZOOM_FACTOR),
      "-": () => scale(1 / ZOOM_FACTOR),
      0: () => null,
    };
    if (!Object.hasOwn(ranges, event.key)) return;
    event.preventDefault();
    this.#onZoom(ranges[event.key]());
  }

  // --- files ---

  async #savePicture() {
    if (!this.#plot.on) return;
    const picture = await drawPicture(this.#plotly, this.#plot, this.#theme, this.#title);
    saveFile(picture, buildFileName(["training", this.#title], "png"));
  }

  #saveTable() {
    if (!this.#source) return;
    const content = new Blob([this.#source.formatCsv()], { type: "text/csv" });
    saveFile(content, buildFileName(["training", this.#title], "csv"));
  }
}
