/** The input of a record as text for an address, and back as what the inputs of the Think tab receive. */

import { decodeBase64Url, decodeMaze, encodeMaze, MAX_INPUT_CHARS } from "../common/address.js";
import { decodePixels, encodePixels } from "../editors/maze-grid.js";

const PNG_PREFIX = "data:image/png;base64,";
const PNG_SIGNATURE = [137, 80, 78, 71];

/**
 * Expand the pixels of a parsed picture to those of a canvas.
 *
 * @param {{width: number, height: number, channels: number, pixels: ArrayLike<number>}} picture - The picture.
 * @returns {Uint8ClampedArray} Red, green, blue and opacity of each pixel.
 */
export function expandPixels({ width, height, channels, pixels }) {
  const expanded = new Uint8ClampedArray(4 * width * height);
  for (let at = 0; at < width * height; at++) {
    for (let channel = 0; channel < 3; channel++) {
      expanded[4 * at + channel] = pixels[channels === 3 ? 3 * at + channel : at];
    }
    expanded[4 * at + 3] = 255;
  }
  return expanded;
}

/**
 * Encode the input of a record.
 *
 * @param {"text" | "maze" | "picture"} kind - What the model reads.
 * @param {object | null} picture - The parsed picture of the record; null for a text.
 * @param {string} text - The text that was run.
 * @returns {{input: string, isLeftOut: boolean}} The text for the address, and whether the picture is too large for it.
 */
export function encodeInput(kind, picture, text) {
  if (kind === "text") return limitInput(text);
  if (picture?.kind !== "picture") return { input: "", isLeftOut: false };
  if (kind === "maze") {
    const maze = decodePixels(expandPixels(picture), picture.height, picture.width);
    return limitInput(maze ? encodeMaze(maze) : "");
  }
  if (picture.width * picture.height > 8 * MAX_INPUT_CHARS) return { input: "", isLeftOut: true }; // never as small
  return limitInput(toBase64Url(encodePng(expandPixels(picture), picture.width, picture.height)));
}

function limitInput(input) {
  const isLeftOut = input.length > MAX_INPUT_CHARS;
  return { input: isLeftOut ? "" : input, isLeftOut };
}

/**
 * Decode the picture of an address.
 *
 * @param {"maze" | "picture"} kind - What the model reads.
 * @param {string} input - Text of the address.
 * @returns {string | null} The picture as a PNG data address; null for an invalid text.
 */
export function decodePicture(kind, input) {
  if (kind === "maze") {
    const maze = decodeMaze(input);
    return maze && encodePng(encodePixels(maze), maze.columns, maze.rows);
  }
  const bytes = decodeBase64Url(input);
  if (!bytes || PNG_SIGNATURE.some((byte, at) => bytes[at] !== byte)) return null;
  const base64 = input.replaceAll("-", "+").replaceAll("_", "/");
  return `${PNG_PREFIX}${base64.padEnd(4 * Math.ceil(base64.length / 4), "=")}`;
}

function toBase64Url(url) {
  return url.slice(PNG_PREFIX.length).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function encodePng(pixels, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.toDataURL("image/png");
}
