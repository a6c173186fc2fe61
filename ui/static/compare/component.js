/** Several policies or models beside each other, played tick by tick. */

import { createElement, findParts, setText } from "../common/dom.js";
import { Playback, prefersReducedMotion } from "../common/playback.js";
import { CheckpointSelection } from "../common/selection.js";
import { describeEntry, describeResult } from "./describe.js";
import { parseComparison } from "./parse.js";

const MAX_TICK_MS = 350;
const MIN_PLAYBACK_MS = 1500;
const MAX_PLAYBACK_MS = 8000;

/** One mounted component. */
export class CompareComponent {
  #props;
  #parts;
  #playback;
  #selection = new CheckpointSelection();
  #rows = []; // {entry, root, cells, status}

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    this.#props = props;
    this.#parts = findParts(element, "compare");
    this.#playback = new Playback(() => element.isConnected);
    this.#parts.replay.addEventListener("click", () => this.#play());
  }

  /** Show the current value from its beginning, unless it is a late result of another checkpoint. */
  receive() {
    if (!this.#selection.accepts(this.#props.value)) return;
    this.#playback.stop();
    const entries = parseComparison(this.#props.value);
    this.#parts.root.hidden = !entries.length;
    if (!entries.length) return;
    const longest = Math.max(...entries.map((entry) => entry.iterations), 1);
    this.#rows = entries.map((entry) => createRow(entry, longest));
    this.#parts.rows.replaceChildren(...this.#rows.map((row) => row.root));
    this.#play();
  }

  get #lastTick() {
    return Math.max(...this.#rows.map(({ entry }) => entry.ticks), 0);
  }

  #play() {
    this.#playback.stop();
    const last = this.#lastTick;
    if (last <= 1 || prefersReducedMotion()) {
      this.#finish();
      return;
    }
    this.#playback.start({
      first: 1,
      last,
      interval: Math.max(MIN_PLAYBACK_MS / last, Math.min(MAX_TICK_MS, MAX_PLAYBACK_MS / last)),
      onTick: (tick) => {
        this.#show(tick);
        this.#parts.clock.textContent = `tick ${tick}`;
      },
      onEnd: () => this.#finish(),
    });
  }

  #finish() {
    this.#show(this.#lastTick);
    this.#parts.clock.textContent = describeResult(this.#rows.map(({ entry }) => entry));
  }

  #show(tick) {
    for (const row of this.#rows) showRow(row, tick);
  }
}

/** Create a row. A tick is equally wide in every row. */
function createRow(entry, longest) {
  const cells = Array.from({ length: entry.iterations }, () => createElement("i"));
  const status = createElement("div", { class: "compare-status" }, entry.problem);
  const track = createElement("div", { class: "compare-track", "aria-hidden": "true" }, ...cells);
  track.style.width = `${(100 * entry.iterations) / longest}%`;
  const name = createElement("strong", {}, entry.name);
  const heading = createElement("div", { class: "compare-name" }, name, createElement("code", {}, entry.policy));
  const root = createElement("li", { class: "compare-row" }, heading, track, status);
  return { entry, root, cells, status };
}

function showRow({ entry, cells, status }, tick) {
  const { ticks, certainty, answerTick } = entry;
  for (const [index, cell] of cells.entries()) {
    const isReached = index < Math.min(tick, ticks);
    if (isReached) cell.style.setProperty("--certainty", String(certainty[index]));
    cell.toggleAttribute("data-reached", isReached);
    cell.toggleAttribute("data-answers", tick >= ticks && index === answerTick - 1);
  }
  setText(status, describeEntry(entry, tick));
}
