/** Panel: what every pair contributes to an output of the model. */

import { Painter } from "../common/canvas.js";
import { createElement, hasModifier, setText } from "../common/dom.js";
import { formatCount, formatFixed, formatPercent } from "../common/format.js";
import { accumulateShares, countPairsForShare, sortBySize } from "./arithmetic.js";
import { rankClasses } from "./data.js";
import { createSelect, createToggle } from "./parts.js";

const ROW_HEIGHT = 26;
const ROWS_BEYOND = 6; // rendered above and below those in sight
const NONE = "none";
const CURVE_HEIGHT = 90;
const MAIN_SHARE = 0.8;

/** The panel. */
export class ContributionsPanel {
  #actions;
  #of;
  #position;
  #target;
  #against;
  #sum = createElement("p", { class: "inside-values", role: "status" });
  #share = createElement("p", { class: "inside-caption" });
  #curve = createElement("canvas", { class: "inside-canvas", role: "img" });
  #list;
  #spacer = createElement("div", { class: "inside-spacer", role: "presentation" });
  #rows = []; // what the list shows: {pair, left, right, value, share}
  #largest = 1;
  #active = 0;
  #selected = -1;

  /**
   * @param {HTMLElement} body - Element of the panel.
   * @param {import("./component.js").InsideActions} actions - What the panel can change.
   */
  constructor(body, actions) {
    this.#actions = actions;
    this.#of = createToggle(
      "What is explained",
      [
        ["answer", "Score of a class"],
        ["energy", "Energy (gradient × value)"],
      ],
      (of) => actions.setQuery({ of }),
    );
    this.#position = createSelect("Position", (value) => actions.setQuery({ position: Number(value) }));
    this.#target = createSelect("Class", (value) =>
      actions.setQuery({ target: value === NONE ? null : Number(value) }),
    );
    this.#against = createSelect("Compare with", (value) =>
      actions.setQuery({ against: value === NONE ? null : value === "runner-up" ? value : Number(value) }),
    );
    this.#list = createElement("div", {
      class: "inside-list",
      role: "listbox",
      tabindex: "0",
      "aria-label": "Pairs by contribution",
      scroll: () => this.#renderRows(),
      keydown: (event) => this.#press(event),
      click: (event) => this.#click(event),
    });
    this.#list.append(this.#spacer);
    const fields = [this.#position, this.#target, this.#against].map(({ element }) => element);
    const controls = createElement("div", { class: "inside-controls" }, this.#of.element, ...fields);
    body.append(controls, this.#sum, this.#share, this.#curve, this.#list);
  }

  /**
   * Draw.
   *
   * @param {import("./component.js").InsideState} state - What is selected.
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {import("./contribution-cache.js").ShownContributions | null} contributions - The contributions; null until they arrive.
   */
  draw(state, overview, theme, contributions) {
    this.#showControls(state, overview);
    if (!contributions) return;
    const { values, bias, output, isExact, isApproximate } = contributions;
    const order = sortBySize(values);
    const shares = accumulateShares(values, order);
    const { left, right, decay } = overview.pairs.out;
    this.#rows = Array.from(order, (pair, rank) => ({
      pair,
      left: left[pair],
      right: right[pair],
      decay: decay[pair],
      value: values[pair],
      share: shares[rank],
    }));
    this.#largest = Math.abs(values[order[0]] ?? 0) || 1;
    this.#selected = state.pair?.kind === "out" ? state.pair.index : -1;
    const sum = values.reduce((total, value) => total + value, 0);
    const count = formatCount(order.length, "pair");
    const rounded = isApproximate ? " (rounded while playing)" : "";
    setText(
      this.#sum,
      isExact
        ? `${count} ${formatFixed(sum, 3)} + bias ${formatFixed(bias, 3)} = ${describeOutput(state, overview)} ${formatFixed(output, 3)}${rounded}`
        : `Energy ${formatFixed(output, 3)}. Gradient × value: ${count} ${formatFixed(sum, 3)}, other inputs ${formatFixed(bias, 3)}. These do not add up to the energy.`,
    );
    const main = countPairsForShare(shares, MAIN_SHARE);
    const shareText = `${main} of ${count} ${main === 1 ? "makes" : "make"} 80% of all contributions, signs aside.`;
    setText(this.#share, shareText);
    this.#drawCurve(theme, shares, main, shareText);
    this.#spacer.style.height = `${this.#rows.length * ROW_HEIGHT}px`;
    this.#active = Math.min(this.#active, this.#rows.length - 1);
    this.#renderRows();
  }

  #showControls(state, overview) {
    const { positions, labels, hasEnergy } = overview;
    this.#of.set(state.query.of);
    this.#of.setAvailable("energy", hasEnergy);
    this.#of.element.hidden = !hasEnergy;
    const isAnswer = state.query.of === "answer";
    this.#position.element.hidden = !isAnswer || positions === 1;
    this.#target.element.hidden = !isAnswer;
    this.#against.element.hidden = !isAnswer;
    const numbers = Array.from({ length: positions }, (_, index) => [String(index), String(index + 1)]);
    this.#position.set(numbers, String(state.query.position));
    const [best, second] = rankClasses(overview, state.tick, state.query.position);
    const classes = labels.map((label, index) => [String(index), label]);
    const answer = [NONE, `answer at this tick: ${labels[best]}`];
    this.#target.set([answer, ...classes], state.query.target === null ? NONE : String(state.query.target));
    const options = [[NONE, "nothing"]];
    if (second !== undefined) options.push(["runner-up", `next best: ${labels[second]}`]);
    this.#against.set([...options, ...classes], String(state.query.against ?? NONE));
  }

  #drawCurve(theme, shares, main, text) {
    const painter = new Painter(this.#curve, theme, CURVE_HEIGHT);
    if (!painter.width) return;
    const [left, right, top, bottom] = [42, painter.width - 8, 8, CURVE_HEIGHT - 16];
    const toX = (count) => left + ((right - left) * count) / shares.length;
    const toY = (share) => bottom - (bottom - top) * share;
    const points = [[toX(0), toY(0)], ...Array.from(shares, (share, index) => [toX(index + 1), toY(share)])];
    for (const share of [0, MAIN_SHARE, 1]) {
      painter.strokeLine(
        [
          [left, toY(share)],
          [right, toY(share)],
        ],
        theme.line,
      );
      painter.drawText(formatPercent(share, 0), left - 5, toY(share), {
        align: "right",
        size: 10,
        colour: theme.muted,
      });
    }
    painter.strokeLine(points, theme.accent, 2);
    painter.fillDisc([toX(main), toY(shares[main - 1] ?? 0)], 4, theme.accent);
    painter.drawText("pairs, largest first →", right, CURVE_HEIGHT - 6, {
      align: "right",
      size: 10,
      colour: theme.muted,
    });
    this.#curve.setAttribute("aria-label", `Share of the contributions by number of pairs. ${text}`);
  }

  /** Render the rows that are in sight. */
  #renderRows() {
    const first = Math.max(0, Math.floor(this.#list.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const count = Math.ceil((this.#list.clientHeight || 300) / ROW_HEIGHT) + 2 * ROWS_BEYOND;
    const rows = this.#rows.slice(first, first + count).map((row, index) => this.#createRow(row, first + index));
    this.#spacer.replaceChildren(...rows);
    this.#list.setAttribute("aria-activedescendant", this.#rows.length ? this.#getRowId(this.#active) : "");
  }

  #getRowId(rank) {
    return `inside-row-${rank}`;
  }

  #createRow({ pair, left, right, value, share }, rank) {
    const width = (50 * Math.abs(value)) / this.#largest;
    const bar = createElement("span", { class: `inside-bar inside-bar-${value < 0 ? "negative" : "positive"}` });
    bar.style.width = `${width}%`;
    const row = createElement(
      "div",
      {
        class: "inside-row",
        role: "option",
        id: this.#getRowId(rank),
        "data-rank": String(rank),
        "aria-selected": String(pair === this.#selected),
        "aria-posinset": String(rank + 1),
        "aria-setsize": String(this.#rows.length),
        "aria-label": `Pair ${pair}, neurons ${left} and ${right}: ${formatFixed(value, 4)}`,
      },
      createElement("span", { class: "inside-row-name" }, left === right ? `${left} alone` : `${left} × ${right}`),
      createElement("span", { class: "inside-bars" }, bar),
      createElement("span", { class: "inside-number" }, formatFixed(value, 3)),
      createElement("span", { class: "inside-number inside-muted" }, formatPercent(share, 0)),
    );
    row.style.top = `${rank * ROW_HEIGHT}px`;
    row.classList.toggle("inside-row-active", rank === this.#active);
    return row;
  }

  #click(event) {
    const row = event.target.closest("[data-rank]");
    if (row) this.#choose(Number(row.dataset.rank));
  }

  #choose(rank) {
    this.#active = rank;
    this.#actions.selectPair("out", this.#rows[rank].pair);
  }

  #press(event) {
    const page = Math.floor(this.#list.clientHeight / ROW_HEIGHT);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.#rows.length,
      End: this.#rows.length,
    };
    if (hasModifier(event) || !this.#rows.length) return;
    if (event.key === "Enter" || event.key === " ") this.#choose(this.#active);
    else if (steps[event.key]) this.#activate(this.#active + steps[event.key]);
    else return;
    event.preventDefault();
  }

  #activate(rank) {
    this.#active = Math.max(0, Math.min(this.#rows.length - 1, rank));
    const top = this.#active * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.#list;
    if (top < scrollTop) this.#list.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.#list.scrollTop = top + ROW_HEIGHT - clientHeight;
    this.#renderRows();
  }
}

/** Return the name of the output that is explained. */
function describeOutput({ query, tick }, overview) {
  const [best, second] = rankClasses(overview, tick, query.position);
  const target = overview.labels[query.target ?? best];
  if (query.against === null) return `score of “${target}”`;
  return `lead of “${target}” over “${overview.labels[query.against === "runner-up" ? second : query.against]}”`;
}
