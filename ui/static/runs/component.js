/** List of runs: what is selected, and the poll that keeps the dashboard up to date. */

import { readDashboardAddress, showInAddress } from "../common/dashboard-address.js";
import { createElement, findParts, setText } from "../common/dom.js";
import { formatCount } from "../common/format.js";
import { getRunColour, selectColours } from "../common/run-colours.js";
import { filterRuns, MAX_SELECTED, parseRuns, showRun, toggleRun } from "./selection.js";

const POLL_INTERVAL_MS = 1000;
const EMPTY_NOTE = "No runs yet.";

/** One mounted component. It raises `tick` to ask for what is new, `input` after a selection, and `submit` for a new run. */
export class RunsComponent {
  #element;
  #props;
  #trigger;
  #parts;
  #runs = [];
  #selection;
  #revision = 0; // counts the selections of the visitor
  #versions = {}; // of what the page shows
  #rows = new Map(); // id -> elements of a row
  #listed = ""; // what the rows were made for
  #wasVisible = false;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#element = element;
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "runs");
    const { runs } = readDashboardAddress(location.search);
    this.#selection = { selected: runs, shown: runs[0] ?? "" };
    this.#parts.new.addEventListener("click", () => trigger("submit"));
    this.#parts.new.disabled = false; // the template disables it: a click before this module is loaded would be lost
    this.#parts.filter.addEventListener("input", () => this.#list());
    this.#startPolling();
  }

  #startPolling() {
    const timer = setInterval(() => {
      if (!this.#element.isConnected) clearInterval(timer);
      this.poll();
    }, POLL_INTERVAL_MS);
  }

  /** Ask for what is new, if anybody can see it. */
  poll() {
    const hasChartsAlone = document.documentElement.dataset.view === "charts"; // the list itself is hidden
    const isVisible = this.#element.isConnected && (this.#element.offsetParent !== null || hasChartsAlone);
    if (this.#wasVisible && !isVisible) showInAddress(null);
    this.#wasVisible = isVisible;
    if (!isVisible || document.hidden) return;
    if (this.#props.value?.revision !== this.#revision) this.#write();
    this.#trigger("tick");
  }

  /** Write the state into the value, from which events read it. */
  #write() {
    this.#props.value = { ...this.#selection, revision: this.#revision, versions: this.#versions };
  }

  /** Show the current value. The answer to a former selection of the visitor changes the list alone. */
  receive() {
    const { runs, selected, shown, revision, versions, isForced } = parseRuns(this.#props.value);
    if (runs) this.#runs = runs;
    if (isForced) {
      this.#select({ selected, shown }, versions);
    } else if (revision === this.#revision && shown) {
      this.#selection = { selected, shown };
      this.#versions = versions;
    } else if (runs) {
      this.#versions = { ...this.#versions, list: versions.list };
    }
    this.#list();
  }

  /** Change the selection. What belongs to another run is asked for anew. */
  #select(selection, versions) {
    const { list, samples } = this.#versions;
    const isSameRun = selection.shown === this.#selection.shown;
    this.#versions = versions ?? (isSameRun ? { ...this.#versions, curves: "" } : { list, samples });
    this.#selection = selection;
    this.#revision += 1;
    this.#write();
    showInAddress({ runs: selection.selected });
    this.showSelection();
  }

  #choose(selection) {
    if (selection === this.#selection) {
      setText(this.#parts.note, `At most ${formatCount(MAX_SELECTED, "run")} fit into the charts.`);
      this.showSelection(true);
      return;
    }
    this.#select(selection);
    this.#trigger("input");
  }

  /** List the runs that pass the filter. Rows that are there already keep the focus. */
  #list() {
    const runs = filterRuns(this.#runs, this.#parts.filter.value);
    const listed = JSON.stringify(runs);
    if (listed !== this.#listed) {
      this.#listed = listed;
      const rows = runs.map((run) => this.#getRow(run));
      const { list } = this.#parts;
      for (const row of [...list.children]) if (!rows.includes(row)) row.remove();
      for (const [index, row] of rows.entries()) {
        if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      }
    }
    this.showSelection();
  }

  #getRow({ id, state, task }) {
    const row = this.#rows.get(id) ?? this.#createRow(id);
    this.#rows.set(id, row);
    setText(row.details, `${state} · ${task}`);
    return row.root;
  }

  #createRow(id) {
    const box = createElement("input", {
      type: "checkbox",
      "aria-label": `Show ${id} in the charts`,
      change: () => this.#choose(toggleRun(this.#selection, id)),
    });
    const details = createElement("small");
    const dot = createElement("span", { class: "runs-dot", "aria-hidden": "true" });
    const name = createElement(
      "button",
      { type: "button", class: "runs-name", click: () => this.#choose({ ...showRun(this.#selection, id) }) },
      id,
      details,
    );
    const check = createElement("span", { class: "runs-check" }, box);
    const root = createElement("li", { class: "runs-row" }, check, dot, name);
    return { root, box, dot, name, details };
  }

  /**
   * Show which runs are selected.
   *
   * @param {boolean} [keepsNote] - Whether the note stays.
   */
  showSelection(keepsNote = false) {
    const { selected, shown } = this.#selection;
    selectColours(selected);
    const isDark = this.#element.closest(".dark") !== null;
    for (const [id, { root, box, dot, name }] of this.#rows) {
      const isSelected = selected.includes(id);
      box.checked = isSelected;
      dot.style.background = isSelected ? getRunColour(id, isDark) : "transparent";
      root.toggleAttribute("data-shown", id === shown);
      if (id === shown) name.setAttribute("aria-current", "true");
      else name.removeAttribute("aria-current");
    }
    if (keepsNote) return;
    const { list, note } = this.#parts;
    const isFiltered = list.children.length < this.#runs.length;
    const count = `${list.children.length} of ${formatCount(this.#runs.length, "run")}`;
    setText(note, this.#runs.length ? (isFiltered ? count : "") : EMPTY_NOTE);
  }
}
