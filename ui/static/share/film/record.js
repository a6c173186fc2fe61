/** Recording a film with the recorder of the browser. */

import { FRAME_RATE, planFrames } from "./plan.js";
import { addDuration } from "./webm.js";

const FORMATS = [
  ["video/webm;codecs=vp9", "webm"],
  ["video/webm;codecs=vp8", "webm"],
  ["video/webm", "webm"],
  ["video/mp4", "mp4"], // Safari before 18.4
];
const BITS_PER_SECOND = 4_000_000;

/**
 * Return the format that this browser records.
 *
 * @returns {{type: string, extension: string} | null} The format; null if it records no canvas.
 */
export function findFilmFormat() {
  const canRecord = typeof MediaRecorder === "function" && "captureStream" in HTMLCanvasElement.prototype;
  const format = canRecord && FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type));
  return format ? { type: format[0], extension: format[1] } : null;
}

/**
 * Record a film in real time.
 *
 * @param {import("./frame.js").FrameComposer} composer - Draws the frames.
 * @param {{ticks: number, answerTick: number}} thought - What is shown.
 * @param {object} options - How.
 * @param {{type: string}} options.format - See `findFilmFormat`.
 * @param {(share: number) => void} options.onProgress - Receives the share that is done, 0 to 1.
 * @param {AbortSignal} options.signal - Cancels.
 * @returns {Promise<Blob | null>} The film; null if it was cancelled.
 * @throws {Error} The recorder failed.
 */
export async function recordFilm(composer, thought, { format, onProgress, signal }) {
  const frames = planFrames(thought);
  composer.draw(frames[0].tick, frames[0].isFinal);
  const stream = composer.canvas.captureStream(0); // a frame when it is asked for
  const [track] = stream.getVideoTracks();
  const options = { mimeType: format.type, videoBitsPerSecond: BITS_PER_SECOND };
  const recorder = new MediaRecorder(stream, options);
  const chunks = [];
  const ended = new Promise((resolve, reject) => {
    recorder.ondataavailable = ({ data }) => chunks.push(data);
    recorder.onstop = resolve;
    recorder.onerror = () => reject(new Error("This browser could not record the film."));
  });
  recorder.start();
  const startTime = performance.now();
  await Promise.race([drawFrames(composer, frames, track, { onProgress, signal }), ended]);
  const durationMs = performance.now() - startTime;
  if (recorder.state !== "inactive") recorder.stop();
  await ended;
  track.stop();
  if (signal.aborted) return null;
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  return new Blob([addDuration(bytes, durationMs)], { type: format.type.split(";")[0] });
}

/** Draw one frame after the other, each for its time. */
async function drawFrames(composer, frames, track, { onProgress, signal }) {
  let due = performance.now();
  for (const [index, { tick, isFinal }] of frames.entries()) {
    if (signal.aborted) return;
    composer.draw(tick, isFinal);
    track.requestFrame();
    onProgress((index + 1) / frames.length);
    due += 1000 / FRAME_RATE;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  }
}
