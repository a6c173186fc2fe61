/** Pictures of a visitor, as the tasks read them: decoded by the browser, without a server. */

import { decodeImage } from "../ctm/images/decoding.js";
import { decodeBase64 } from "./page-data.js";

const MAX_PIXELS = 8_000_000; // larger photos are reduced; tasks read small images
const MAX_FILE_BYTES = 20_000_000;

/**
 * Decode an image file.
 *
 * @param {Blob} file - The file.
 * @returns {Promise<ImageData>} Its pixels.
 * @throws {Error} It is too large, or no image that the browser reads; one sentence.
 */
export async function decodePicture(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new Error(`The file has ${Math.round(file.size / 1e6)} MB; the limit is 20 MB. Choose a smaller picture.`);
  }
  try {
    return await decodeImage(file, MAX_PIXELS);
  } catch {
    throw new Error("This file is no picture that the browser can read. Choose a PNG or JPEG file.");
  }
}

/**
 * Decode an image in a data URL in base64.
 *
 * @param {unknown} url - The data URL.
 * @returns {Promise<ImageData | null>} Its pixels; null if it is no data URL of an image.
 */
export async function decodeDataUrl(url) {
  const [, type, content] = /^data:(image\/[a-z]+);base64,(.*)$/.exec(typeof url === "string" ? url : "") ?? [];
  return type ? decodePicture(new Blob([decodeBase64(content)], { type })) : null;
}

/**
 * Encode pixels as a PNG in a data URL.
 *
 * @param {{width: number, height: number, data: ArrayLike<number>}} pixels - RGBA bytes.
 * @returns {string} The data URL.
 */
export function encodeDataUrl({ width, height, data }) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(Uint8ClampedArray.from(data), width, height), 0, 0);
  return canvas.toDataURL("image/png");
}

/**
 * Return the pixels of a display as RGBA bytes.
 *
 * @param {import("../ctm/tasks/task.js").Pixels} pixels - Values in [0, 1].
 * @returns {{width: number, height: number, data: Uint8ClampedArray}} RGBA bytes.
 */
export function convertToBytes({ width, height, channels, data }) {
  const bytes = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let index = 0; index < width * height; index++) {
    for (let channel = 0; channel < 3; channel++) {
      bytes[4 * index + channel] = Math.round(255 * data[index * channels + (channels === 1 ? 0 : channel)]);
    }
  }
  return { width, height, data: bytes };
}
