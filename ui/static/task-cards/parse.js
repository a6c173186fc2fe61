/** Parsing what the first two steps of a new run show: cards, presets and sliders. */

import { isNumber, readArray, readInteger, readObject, readShare, readText } from "../common/validate.js";

const MAX_CARDS = 100;
const MAX_POSITIONS = 50;
const THUMBNAIL_ADDRESS = /^thumbnails\/[0-9a-f]{16}\.json$/;

/**
 * @typedef {object} TaskCard
 * @property {string} name - Name of its recipe.
 * @property {string} title - Plain name.
 * @property {string} learns - What the model learns.
 * @property {number | null} accuracy - Share of correct answers of the bundled model; null if it was not measured.
 * @property {string[]} times - How long each preset takes.
 * @property {string} thumbnail - Address of its thumbnail; empty if there is none.
 *
 * @typedef {object} Slider
 * @property {string} name - Name in the request.
 * @property {string} label - Name on the page.
 * @property {string[]} texts - Text of every position.
 * @property {number} selected - Position; -1 while the value of the recipe counts.
 * @property {string} current - Text of the value of the recipe.
 */

/**
 * Parse the value of the component.
 *
 * @param {unknown} value - The component's value.
 * @returns {{cards: TaskCard[], selected: string, preset: string, presets: object[], sliders: Slider[],
 *   note: string}} What it shows.
 */
export function parseTaskCards(value) {
  const data = readObject(value);
  return {
    cards: readArray(data.cards, MAX_CARDS)
      .map(parseCard)
      .filter(({ name }) => name),
    selected: readText(data.selected, 100),
    preset: readText(data.preset, 20),
    presets: readArray(data.presets, 10).map((preset) => {
      const { name, title, text } = readObject(preset);
      return { name: readText(name, 20), title: readText(title, 60), text: readText(text) };
    }),
    sliders: readArray(data.sliders, 10)
      .map(parseSlider)
      .filter(({ texts }) => texts.length),
    note: readText(data.note),
  };
}

function parseCard(value) {
  const card = readObject(value);
  return {
    name: readText(card.name, 100),
    title: readText(card.title, 100),
    learns: readText(card.learns, 200),
    accuracy: isNumber(card.accuracy) ? readShare(card.accuracy) : null,
    times: readArray(card.times, 5).map((time) => readText(time, 200)),
    thumbnail: THUMBNAIL_ADDRESS.test(readText(card.thumbnail)) ? card.thumbnail : "",
  };
}

function parseSlider(value) {
  const slider = readObject(value);
  const texts = readArray(slider.texts, MAX_POSITIONS).map((text) => readText(text, 80));
  return {
    name: readText(slider.name, 20),
    label: readText(slider.label, 80),
    texts,
    selected: readInteger(slider.selected, -1, texts.length - 1),
    current: readText(slider.current, 80),
  };
}
