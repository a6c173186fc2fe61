/** Which frames a film has. */

import { computeTickInterval } from "../../common/playback.js";

/** Frames a second. */
export const FRAME_RATE = 25;
const END_MS = 2500; // how long the answer stays

/**
 * Plan the frames of a film: every tick for the time that the page shows it, then the answer.
 *
 * @param {{ticks: number, answerTick: number}} thought - The thought.
 * @returns {{tick: number, isFinal: boolean}[]} One entry a frame, at `FRAME_RATE` frames a second.
 */
export function planFrames({ ticks, answerTick }) {
  const perTick = Math.max(1, Math.round((computeTickInterval(ticks) * FRAME_RATE) / 1000));
  const frames = [];
  if (ticks > 1) {
    for (let tick = 1; tick <= ticks; tick++) {
      for (let count = 0; count < perTick; count++) frames.push({ tick, isFinal: false });
    }
  }
  const last = { tick: answerTick, isFinal: true };
  return [...frames, ...Array.from({ length: Math.round((END_MS * FRAME_RATE) / 1000) }, () => last)];
}
