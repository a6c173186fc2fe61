/** The unroll that the page shows, and its tick: components that show more of it follow this module. */

/**
 * @typedef {object} ShownUnroll
 * @property {string} id - Id of its record.
 * @property {boolean} isFromBrowser - Whether this browser computed it.
 * @property {Record<string, unknown>} record - Its record; a long unroll of the server is shown while it grows.
 */

let unroll = null;
let tick = 1;
const listeners = new Set();
let moveStage = null;

function notify() {
  for (const listener of listeners) listener(unroll, tick);
}

/**
 * Say which unroll is shown.
 *
 * @param {ShownUnroll | null} shown - The unroll; null for none.
 */
export function showUnroll(shown) {
  unroll = shown;
  notify();
}

/**
 * Say which tick is shown.
 *
 * @param {number} shown - The tick, from 1.
 */
export function showTick(shown) {
  if (shown === tick) return;
  tick = shown;
  notify();
}

/**
 * Follow what is shown; the listener is called at once with the present state.
 *
 * @param {(unroll: ShownUnroll | null, tick: number) => void} listener - Called after every change.
 * @returns {() => void} Ends following.
 */
export function followShownUnroll(listener) {
  listeners.add(listener);
  listener(unroll, tick);
  return () => listeners.delete(listener);
}

/**
 * Ask the stage to show a place of its unroll, as its transport does.
 *
 * @param {number} position - Share of the unroll: 0 for the first tick, 1 for the tick at which the model stopped.
 */
export function requestPosition(position) {
  moveStage?.(position);
}

/**
 * Show the places that other components ask for; the stage calls it.
 *
 * @param {(position: number) => void} move - Shows a place.
 */
export function acceptPositions(move) {
  moveStage = move;
}

/**
 * Return whether the stage has come to its end: at the last tick, or back at the tick whose answer counts.
 *
 * @param {number} tick - The tick that is shown.
 * @param {number} previous - The tick before it.
 * @param {{ticks: number, answerTick: number}} unroll - Ticks of the unroll, and the one whose answer counts.
 * @returns {boolean} Whether it has.
 */
export function isStageAtEnd(tick, previous, { ticks, answerTick }) {
  return tick >= ticks || (tick === answerTick && previous !== tick - 1);
}
