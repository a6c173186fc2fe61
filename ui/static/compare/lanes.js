/** Lanes of a comparison: one per prediction, a cell per tick. */

import { createElement, setText } from "../common/dom.js";
import { describeEntry, getMark } from "./describe.js";

/** A lane. */
export class Lane {
  #entry;
  #cells;
  #status;
  #mark = createElement("span", { class: "compare-mark", "aria-hidden": "true" });

  /**
   * @param {import("./parse.js").Entry} entry - What it shows.
   * @param {number} longest - Ticks of the longest lane: a tick is equally wide in every lane.
   */
  constructor(entry, longest) {
    this.#entry = entry;
    const isSingle = entry.iterations === 1 && !entry.problem;
    const count = entry.problem ? 0 : entry.iterations;
    this.#cells = Array.from({ length: count }, () => createElement("i", {}, isSingle ? entry.answers[0] : ""));
    this.#status = createElement("div", { class: "compare-status" }, entry.problem);
    const track = createElement("div", { class: "compare-track", "aria-hidden": "true" }, ...this.#cells);
    track.classList.toggle("compare-single", isSingle);
    if (!isSingle) track.style.width = `${(100 * entry.iterations) / longest}%`;
    const name = createElement("strong", {}, entry.name);
    const heading = createElement("div", { class: "compare-name" }, this.#mark, name);
    if (entry.policy && !isSingle) heading.append(createElement("code", {}, entry.policy));
    this.root = createElement("li", { class: "compare-row" }, heading, track, this.#status);
  }

  /**
   * Show a tick.
   *
   * @param {number} tick - The tick, from 1.
   */
  show(tick) {
    const { ticks, certainty, answerTick } = this.#entry;
    for (const [index, cell] of this.#cells.entries()) {
      const isReached = index < Math.min(tick, ticks);
      if (isReached) cell.style.setProperty("--certainty", String(certainty[index]));
      cell.toggleAttribute("data-reached", isReached);
      cell.toggleAttribute("data-answers", tick >= ticks && index === answerTick - 1);
    }
    const { symbol, kind } = tick >= ticks ? getMark(this.#entry) : { symbol: "", kind: "" };
    setText(this.#mark, symbol);
    this.#mark.dataset.mark = kind;
    setText(this.#status, describeEntry(this.#entry, tick));
  }
}
