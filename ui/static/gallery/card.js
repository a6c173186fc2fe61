/** One card of the gallery: a button with a thumbnail, the plain name, and what was measured. */

import { createButton, createElement } from "../common/dom.js";
import { formatMean, formatPercent } from "../common/format.js";

const MAX_DOTS = 20;

/**
 * Describe what was measured.
 *
 * @param {import("./parse.js").Card} card - The card.
 * @returns {{accuracy: string, ticks: string}} Texts; empty where nothing was measured.
 */
export function describeFigures({ accuracy, ticks, iterations }) {
  return {
    accuracy: accuracy === null ? "" : `${formatPercent(accuracy)} correct`,
    ticks: describeTicks(ticks, iterations),
  };
}

function describeTicks(ticks, iterations) {
  if (iterations === 1) return "one pass, no ticks";
  if (!iterations) return "";
  return ticks === null ? `up to ${iterations} ticks` : `${formatMean(ticks)} of ${iterations} ticks`;
}

/**
 * Return the accessible name of a card.
 *
 * @param {import("./parse.js").Card} card - The card.
 * @returns {string} Its title, then what it shows.
 */
export function describeCard(card) {
  const { accuracy, ticks } = describeFigures(card);
  return [card.title, card.detail, accuracy, card.note, ticks, card.status, card.action]
    .filter((text) => text && text !== card.title)
    .reduce((name, text) => `${name}, ${text}`, card.title);
}

/** Create an accuracy bar. Its width is the accuracy; the text beside it says the same. */
function createMeter(accuracy) {
  const fill = createElement("span", { class: "gallery-meter-fill" });
  fill.style.width = `${100 * accuracy}%`;
  return createElement("span", { class: "gallery-meter", "aria-hidden": "true" }, fill);
}

/** Create dots for possible ticks, full for those that were used; of many ticks a dot stands for several. */
function createDots(ticks, iterations) {
  const count = Math.min(iterations, MAX_DOTS);
  const used = Math.max(1, Math.round((ticks / iterations) * count));
  const dots = Array.from({ length: count }, (_, index) =>
    createElement("span", { class: "gallery-dot", ...(index < used ? { "data-used": "" } : {}) }),
  );
  return createElement("span", { class: "gallery-dots", "aria-hidden": "true" }, ...dots);
}

function createCanvas() {
  return createElement("canvas", { class: "gallery-canvas", "aria-hidden": "true" });
}

/**
 * Create the button of a card.
 *
 * @param {import("./parse.js").Card} card - The card.
 * @param {(card: import("./parse.js").Card, button: HTMLElement) => void} onPress - Called when it is pressed.
 * @param {{isCompact: boolean}} options - A compact card is one of the strip.
 * @returns {HTMLElement} The button; its canvas is empty.
 */
export function createCard(card, onPress, { isCompact }) {
  const label = describeCard(card);
  const content = createElement(
    "span",
    { class: "gallery-text" },
    createElement("span", { class: "gallery-title" }, card.title),
    ...(isCompact ? createCompactLines(card) : createLines(card)),
  );
  const button = createButton(createCanvas(), () => onPress(card, button), {
    class: isCompact ? "component-card gallery-card gallery-compact" : "component-card gallery-card",
    "data-name": card.name,
    "aria-label": label,
    title: isCompact ? label : "",
    ...(card.isOffline ? { "data-offline": "" } : {}),
  });
  button.append(content);
  return button;
}

function createLine(className, text) {
  return text ? [createElement("span", { class: className }, text)] : [];
}

function createCompactLines(card) {
  const { accuracy, ticks } = describeFigures(card);
  return [
    ...createLine("gallery-figure", accuracy || card.status || card.detail),
    ...createLine("gallery-muted", accuracy ? ticks : ""),
  ];
}

function createLines(card) {
  const { accuracy, ticks } = describeFigures(card);
  return [
    ...createLine("gallery-muted gallery-detail", card.detail === card.title ? "" : card.detail),
    ...(card.accuracy === null ? [] : [createMeter(card.accuracy)]),
    ...createLine("gallery-figure", [accuracy, card.note].filter(Boolean).join(", ")),
    ...(card.ticks !== null && card.iterations > 1 ? [createDots(card.ticks, card.iterations)] : []),
    ...createLine("gallery-muted", ticks),
    ...createLine("gallery-action", card.action),
    ...createLine("gallery-status", card.status),
  ];
}
