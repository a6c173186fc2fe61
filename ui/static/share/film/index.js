/** Films and pictures of what the page shows; loaded when a visitor asks for one. */

import { readThoughtTheme } from "../../thought/theme.js";
import { FrameComposer } from "./frame.js";
import { drawPanelPicture, encodeCanvas } from "./pictures.js";
import { findFilmFormat, recordFilm } from "./record.js";

/** Said where the browser records nothing. */
export const NO_RECORDER =
  "This browser cannot record films. Save a picture, or use another browser such as Chrome, Edge or Firefox.";

function readTheme(root) {
  return readThoughtTheme(root.querySelector(".thought"), root.querySelector("[data-thought=note]"));
}

/**
 * Save a film of a thought.
 *
 * @param {Element} root - The component of the thought.
 * @param {import("../../thought/parse-record.js").Thought} thought - The thought.
 * @param {object} options - How.
 * @param {string} options.title - Title above the stage.
 * @param {(share: number) => void} options.onProgress - Receives the share that is done.
 * @param {AbortSignal} options.signal - Cancels.
 * @returns {Promise<{film: Blob, extension: string} | null>} The film; null if it was cancelled.
 * @throws {Error} The browser cannot record; one sentence.
 */
export async function createFilm(root, thought, { title, onProgress, signal }) {
  const format = findFilmFormat();
  if (!format) throw new Error(NO_RECORDER);
  const composer = new FrameComposer(thought, { title, theme: readTheme(root) });
  const film = await recordFilm(composer, thought, { format, onProgress, signal });
  return film && { film, extension: format.extension };
}

/**
 * Create a picture of the stage.
 *
 * @param {Element} root - The component of the thought.
 * @param {import("../../thought/parse-record.js").Thought} thought - The thought.
 * @param {{title: string, tick: number}} options - Title, and the tick that is shown.
 * @returns {Promise<Blob>} The picture as PNG.
 */
export function createStagePicture(root, thought, { title, tick }) {
  const composer = new FrameComposer(thought, { title, theme: readTheme(root) });
  composer.draw(tick, tick === thought.answerTick);
  return encodeCanvas(composer.canvas);
}

/**
 * Create a picture of a panel.
 *
 * @param {Element} root - The component of the thought.
 * @param {Element} panel - The panel.
 * @returns {Promise<Blob>} The picture as PNG.
 */
export function createPanelPicture(root, panel) {
  return encodeCanvas(drawPanelPicture(panel, readTheme(root)));
}
