/** Which runs are in the charts, and which one is shown in detail. Everything here is plain data. */

import { readArray, readInteger, readObject, readText } from "../common/validate.js";

/** Largest number of runs in the charts. */
export const MAX_SELECTED = 6;
const MAX_RUNS = 10000;
const MAX_ID = 300;

/**
 * @typedef {object} Selection
 * @property {string[]} selected - Runs in the charts.
 * @property {string} shown - Run in detail; empty for none.
 */

/**
 * Select one run by its name: it is shown. It replaces a single other run in the charts, and joins several.
 *
 * @param {Selection} selection - The selection so far.
 * @param {string} id - The run.
 * @returns {Selection} The new selection.
 */
export function showRun({ selected }, id) {
  if (selected.includes(id)) return { selected, shown: id };
  const isJoining = selected.length > 1 && selected.length < MAX_SELECTED;
  return { selected: isJoining ? [...selected, id] : [id], shown: id };
}

/**
 * Put a run into the charts, or take it out.
 *
 * @param {Selection} selection - The selection so far.
 * @param {string} id - The run.
 * @returns {Selection} The new selection; the same one if there is no room.
 */
export function toggleRun(selection, id) {
  const { selected, shown } = selection;
  if (selected.includes(id)) {
    const rest = selected.filter((other) => other !== id);
    return { selected: rest, shown: shown === id ? (rest[0] ?? shown) : shown };
  }
  if (selected.length >= MAX_SELECTED) return selection;
  return { selected: [...selected, id], shown: selected.length ? shown : id };
}

/**
 * Parse the component's value.
 *
 * @param {unknown} value - The value.
 * @returns {Selection & {runs: object[] | null, revision: number, versions: object, isForced: boolean}} The runs, null where they
 *   have not changed; the selection; number of the selection that the server answered; versions of what it sent.
 */
export function parseRuns(value) {
  const { runs, selected, shown, revision, versions, is_forced: isForced } = readObject(value);
  return {
    runs: Array.isArray(runs)
      ? readArray(runs, MAX_RUNS)
          .map(parseRun)
          .filter(({ id }) => id)
      : null,
    selected: readArray(selected, MAX_SELECTED)
      .map((id) => readText(id, MAX_ID))
      .filter(Boolean),
    shown: readText(shown, MAX_ID),
    revision: readInteger(revision, 0, Number.MAX_SAFE_INTEGER),
    versions: readObject(versions),
    isForced: isForced === true,
  };
}

function parseRun(value) {
  const { id, state, task } = readObject(value);
  return { id: readText(id, MAX_ID), state: readText(state, 40), task: readText(task, 40) };
}

/**
 * List the runs whose name, task or state contains all words of a filter.
 *
 * @param {{id: string, state: string, task: string}[]} runs - The runs.
 * @param {string} filter - The words.
 * @returns {object[]} The runs.
 */
export function filterRuns(runs, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return runs.filter(({ id, state, task }) => {
    const text = `${id} ${state} ${task}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
