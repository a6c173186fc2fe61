/** Parts that panels share: toggles, selects, and traces over ticks. */

import { createButton, createElement } from "../common/dom.js";
import { formatFixed } from "../common/format.js";

/**
 * Create a row of buttons of which one is pressed.
 *
 * @param {string} label - Name of the group.
 * @param {string[][]} options - [value, text] each.
 * @param {(value: string) => void} onChange - Called with the value that is chosen.
 * @returns {{element: HTMLElement, set: (value: string) => void, setAvailable: (value: string, isAvailable: boolean) => void}} The group.
 */
export function createToggle(label, options, onChange) {
  const buttons = new Map(
    options.map(([value, text]) => [
      value,
      createButton(text, () => onChange(value), { class: "component-pill", "aria-pressed": "false" }),
    ]),
  );
  const element = createElement(
    "span",
    { class: "inside-toggle", role: "group", "aria-label": label },
    ...buttons.values(),
  );
  return {
    element,
    set(value) {
      for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === value));
    },
    setAvailable(value, isAvailable) {
      buttons.get(value).hidden = !isAvailable;
    },
  };
}

/**
 * Create a labelled select.
 *
 * @param {string} label - Its label.
 * @param {(value: string) => void} onChange - Called with the value that is chosen.
 * @returns {{element: HTMLElement, set: (options: string[][], value: string) => void}} The select; options are [value, text] each.
 */
export function createSelect(label, onChange) {
  const select = createElement("select", { change: () => onChange(select.value) });
  const element = createElement("label", { class: "inside-field" }, `${label} `, select);
  let version = "";
  return {
    element,
    set(options, value) {
      const next = JSON.stringify(options);
      if (next !== version)
        select.replaceChildren(...options.map(([key, text]) => createElement("option", { value: key }, text)));
      version = next;
      select.value = value;
    },
  };
}

/**
 * Draw traces over ticks, with the tick that is shown.
 *
 * @param {import("../common/canvas.js").Painter} painter - Draws.
 * @param {object} chart - What is drawn.
 * @param {{values: ArrayLike<number>, colour: string, dash?: number[], width?: number, first?: number}[]} chart.traces - Values from tick
 *   `first` on (1 if it is missing).
 * @param {number} chart.ticks - Number of ticks.
 * @param {number} chart.tick - The tick that is shown, from 1.
 * @param {number} chart.top - Upper edge.
 * @param {number} chart.height - Its height.
 * @param {string} [chart.label] - Name of the chart.
 * @param {number[]} [chart.band] - First and last tick of a band in the background.
 */
export function drawTraces(painter, { traces, ticks, tick, top, height, label = "", band = null }) {
  const { theme, width } = painter;
  const first = Math.min(1, ...traces.map((trace) => trace.first ?? 1));
  const left = 42;
  const toX = (at) => left + ((width - left - 8) * (at - first + 0.5)) / (ticks - first + 1);
  const all = traces.flatMap(({ values }) => Array.from(values)).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const range = Math.max(high - low, 1e-6);
  const toY = (value) => top + 16 + ((height - 28) * (high - value)) / range;
  if (band) {
    const [from, to] = band.map((at) => Math.max(first, at));
    painter.fillRect(toX(from - 0.5), top + 12, toX(to + 0.5) - toX(from - 0.5), height - 14, theme.accent, 0.14);
  }
  painter.strokeLine(
    [
      [left, toY(0)],
      [width - 8, toY(0)],
    ],
    theme.line,
  );
  painter.strokeLine(
    [
      [toX(tick), top + 12],
      [toX(tick), top + height - 2],
    ],
    theme.muted,
    1.5,
  );
  for (const { values, colour, dash = [], width: lineWidth = 2, first: start = 1 } of traces) {
    const points = Array.from(values, (value, index) => [toX(start + index), toY(value)]);
    if (points.length > 1) painter.strokeLine(points, colour, lineWidth, dash);
    const at = points[tick - start];
    if (at) painter.fillDisc(at, 3.5, colour);
  }
  for (const value of [high, low]) {
    if (value || high === low) {
      painter.drawText(formatFixed(value, 2), left - 5, toY(value), { align: "right", size: 10, colour: theme.muted });
    }
  }
  if (label) painter.drawText(label, left, top + 5, { size: 11, colour: theme.muted, maxWidth: width - left - 8 });
}

/**
 * Create the key of a trace or a colour.
 *
 * @param {string} colour - The colour.
 * @param {string} text - What it means.
 * @returns {HTMLElement} The key.
 */
export function createKey(colour, text) {
  const swatch = createElement("span", { class: "inside-swatch" });
  swatch.style.background = colour;
  return createElement("span", { class: "inside-key" }, swatch, text);
}
