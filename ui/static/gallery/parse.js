/** Parsing what the gallery shows: groups, cards and findings. */

import { isNumber, readArray, readInteger, readObject, readShare, readText } from "../common/validate.js";

const MAX_CARDS = 500;
const MAX_POINTS = 2000;
const MAX_TICKS = 100000;
const THUMBNAIL_ADDRESS = /^thumbnails\/[0-9a-f]{16}\.json$/;

/**
 * A card.
 *
 * @typedef {object} Card
 * @property {string} name - Name of the checkpoint.
 * @property {string} title - Plain name.
 * @property {string} detail - Name of the run or of the repository; empty for bundled checkpoints.
 * @property {string} group - Name of its group.
 * @property {string} action - What a visitor does.
 * @property {number | null} accuracy - Share of correct answers; null if it was not measured.
 * @property {string} note - A second figure; empty if there is none.
 * @property {number | null} ticks - Mean ticks used; null if they were not measured.
 * @property {number} iterations - Ticks that are possible.
 * @property {string} model - Name of the architecture, if it is a baseline.
 * @property {string[]} tags - What filters look at.
 * @property {string} status - Why it cannot be used now; empty if it can.
 * @property {boolean} isRemote - Whether it has to be downloaded first.
 * @property {boolean} isOffline - Whether it cannot be reached.
 * @property {string} thumbnail - Address of its thumbnail; empty if there is none.
 */

/**
 * Parse the value of a gallery.
 *
 * @param {unknown} value - The component's value.
 * @returns {{mode: string, groups: object[], cards: Card[], studies: object[], selected: string, opened: string}} What it shows.
 */
export function parseGallery(value) {
  const data = readObject(value);
  const cards = readArray(data.cards, MAX_CARDS)
    .map(parseCard)
    .filter(({ name }) => name);
  return {
    mode: data.mode === "pick" ? "pick" : "browse",
    groups: readArray(data.groups, 20).map((group) => {
      const { name, title } = readObject(group);
      return { name: readText(name, 40), title: readText(title, 80) };
    }),
    cards,
    studies: readArray(data.studies, 50).map((study) => parseStudy(study, cards)),
    selected: readText(data.selected, 400),
    opened: readText(data.opened, 40),
  };
}

function parseCard(value) {
  const card = readObject(value);
  const name = readText(card.name, 400);
  return {
    name,
    title: readText(card.title, 120) || name,
    detail: readText(card.detail, 200),
    group: readText(card.group, 40),
    action: readText(card.action, 200),
    accuracy: isNumber(card.accuracy) ? readShare(card.accuracy) : null,
    note: readText(card.note, 80),
    ticks: isNumber(card.ticks) && card.ticks > 0 ? card.ticks : null,
    iterations: readInteger(card.iterations, 0, MAX_TICKS),
    model: readText(card.model, 40),
    tags: readArray(card.tags, 10).map((tag) => readText(tag, 40)),
    status: readText(card.status, 120),
    isRemote: card.is_remote === true,
    isOffline: card.is_offline === true,
    thumbnail: THUMBNAIL_ADDRESS.test(readText(card.thumbnail)) ? card.thumbnail : "",
  };
}

function parseStudy(value, cards) {
  const study = readObject(value);
  const names = readArray(study.checkpoints, 20).map((name) => readText(name, 400));
  return {
    group: readText(study.group, 40),
    title: readText(study.title, 200),
    text: readText(study.text, 3000),
    cards: names.map((name) => cards.find((card) => card.name === name)).filter(Boolean),
    figure: parseFigure(study.figure),
  };
}

/**
 * Parse a figure.
 *
 * @param {unknown} value - Rows with a value and its interval, or series of points.
 * @returns {object | null} The figure; null if nothing in it can be drawn.
 */
export function parseFigure(value) {
  const figure = readObject(value);
  if (figure.kind === "dots") {
    const rows = readArray(figure.rows, 20)
      .map(readObject)
      .filter((row) => [row.value, row.low, row.high].every(isNumber))
      .map((row) => ({
        label: readText(row.label, 80),
        ...Object.fromEntries(["value", "low", "high"].map((key) => [key, readShare(row[key])])),
      }));
    return rows.length ? { kind: "dots", rows } : null;
  }
  const series = readArray(figure.series, 8)
    .map(readObject)
    .map(({ label, points }) => ({ label: readText(label, 80), points: parsePoints(points) }))
    .filter(({ points }) => points.length > 1);
  return figure.kind === "lines" && series.length ? { kind: "lines", axis: readText(figure.axis, 40), series } : null;
}

function parsePoints(points) {
  return readArray(points, MAX_POINTS)
    .map((point) => readArray(point, 4))
    .filter((point) => point.length === 4 && point.every(isNumber))
    .map(([x, ...shares]) => [x, ...shares.map(readShare)]);
}

/**
 * Select the cards that fit a text and filters.
 *
 * @param {Card[]} cards - The cards.
 * @param {string} text - Words that a card has to contain, in any order.
 * @param {Set<string>} tags - Tags that a card has to have.
 * @returns {Card[]} The cards that fit.
 */
export function filterCards(cards, text, tags) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return cards.filter((card) => {
    const content = [card.title, card.name, card.action, card.model].join(" ").toLowerCase();
    return words.every((word) => content.includes(word)) && [...tags].every((tag) => card.tags.includes(tag));
  });
}

/**
 * List the cards of the strip: those to begin with, those trained here and from the Hub, and the selected one.
 *
 * @param {Card[]} cards - All cards.
 * @param {string} selected - Name of the selected checkpoint; a saved step of a run has no card of its own.
 * @returns {Card[]} The cards of the strip.
 */
export function listStripCards(cards, selected) {
  const listed = cards.filter((card) => !card.isRemote && !["compare", "experiments"].includes(card.group));
  if (!selected || listed.some(({ name }) => name === selected)) return listed;
  return [cards.find(({ name }) => name === selected) ?? parseCard({ name: selected }), ...listed];
}
