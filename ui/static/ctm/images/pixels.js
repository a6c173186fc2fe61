/**
 * Pixels as a canvas gives them, and which of them only the server reads exactly.
 *
 * The browser decodes files: `createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none",
 * premultiplyAlpha: "none" })`, drawn on a canvas of the same size, and `getImageData`. From equal pixels, these modules compute
 * the model input that `training/data` computes. Where a browser decodes a file otherwise than the server does,
 * `findServerReason` and `needsServer` say so.
 *
 * @typedef {object} RgbaImage
 * @property {number} width - Pixels per row.
 * @property {number} height - Rows.
 * @property {Uint8Array | Uint8ClampedArray} data - Red, green, blue and alpha of every pixel, rows first.
 */

import { InputError } from "../tasks/text.js";
import { removeTransparency } from "./transparency.js";

const BYTE_SCALE = Math.fround(1 / 255);
const MAX_PIXELS = 8_000_000; // the server decodes larger JPEG files at a smaller size
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const PNG_END = "IEND";
const PNG_TEXTS = ["tEXt", "zTXt", "iTXt"];
// Texts that may turn an image. The server reads them, browsers do not.
const EXIF_KEYWORD = "Raw profile type exif";
const XMP_KEYWORD = "XML:com.adobe.xmp";
const XMP_SIGNATURE = "http://ns.adobe.com/xap/1.0/";
const XMP_TURN_PATTERN = /tiff:Orientation(="|>)[2-8]/;
const TURNED_REASON = "The picture may be turned in a way that this browser does not read; the server reads it.";
const JPEG_START_OF_IMAGE = [0xff, 0xd8];
const JPEG_FRAMES = [0xc0, 0xc1, 0xc2]; // baseline, extended and progressive, with Huffman codes
const JPEG_OTHER_FRAMES = [0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf];
const JPEG_START_OF_SCAN = 0xda;
const JPEG_APP1 = 0xe1; // EXIF and XMP data

/**
 * Return the pixels of an image as opaque RGB bytes. Mirrors `DecodedImage.to_8_bit`.
 *
 * @param {unknown} raw - Pixels as `ImageData` holds them.
 * @returns {{data: Uint8Array, width: number, height: number}} RGB bytes.
 * @throws {InputError} There are no pixels.
 */
export function readRgb(raw) {
  const { data, width, height } = raw ?? {};
  if (!(data?.length > 0) || data.length !== 4 * width * height) {
    throw new InputError("There is no picture yet: draw one, upload one, or click an example.");
  }
  return { data: removeTransparency({ data, width, height }), width, height };
}

/**
 * Return the pixels of an image in [0, 1]. Mirrors `DecodedImage.to_array`.
 *
 * @param {unknown} raw - Pixels as `ImageData` holds them.
 * @returns {import("./plane.js").ColourImage} The pixels, float32.
 * @throws {InputError} There are no pixels.
 */
export function readColours(raw) {
  const { data, width, height } = readRgb(raw);
  const scaled = new Float32Array(data.length);
  for (let index = 0; index < data.length; index++) scaled[index] = Math.min(1, data[index] * BYTE_SCALE);
  return { data: scaled, width, height };
}

/**
 * Return whether only the server reads these pixels exactly.
 *
 * A canvas stores colours multiplied by alpha, so that those of transparent pixels are rounded or lost. A drawing or a photo has none.
 *
 * @param {RgbaImage} pixels - Pixels as a canvas gives them.
 * @returns {boolean} Whether the page sends the image to the server instead.
 */
export function needsServer({ data, width, height }) {
  if (width * height > MAX_PIXELS) return true;
  let [lowest, hasMixed] = [255, false];
  let highest = 0;
  for (let index = 3; index < data.length; index += 4) {
    lowest = Math.min(lowest, data[index]);
    highest = Math.max(highest, data[index]);
    hasMixed ||= data[index] > 0 && data[index] < 255;
  }
  return hasMixed || (lowest === highest && lowest < 255);
}

/**
 * Return why only the server reads a file exactly.
 *
 * @param {Uint8Array} content - Content of an image file.
 * @returns {string | null} A sentence, or null if the browser decodes the file as the server does.
 */
export function findServerReason(content) {
  if (PNG_SIGNATURE.every((byte, index) => content[index] === byte)) return checkPng(content);
  if (JPEG_START_OF_IMAGE.every((byte, index) => content[index] === byte)) return checkJpeg(content);
  return "Only PNG and JPEG files are read in the browser; the server reads this one.";
}

function checkPng(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let colourType = 0;
  let hasPixels = false;
  for (let offset = PNG_SIGNATURE.length; offset + 8 <= content.length; ) {
    const length = view.getUint32(offset);
    const name = readAscii(content, offset + 4, 4);
    if (name === "IHDR" && offset + 18 <= content.length) {
      colourType = content[offset + 17];
      if (content[offset + 16] > 8) return "The picture has more than 8 bits per colour; the server reads it.";
    }
    if (name === "acTL") return "The picture is animated; the server reads it.";
    if (name === "tRNS" && colourType !== 3) return "The picture declares one colour transparent; the server reads it.";
    hasPixels ||= name === "IDAT";
    if (name === "eXIf" && hasPixels) return TURNED_REASON;
    if (PNG_TEXTS.includes(name) && mayTurn(content.subarray(offset + 8, offset + 8 + length))) return TURNED_REASON;
    if (name === PNG_END) return null;
    offset += length + 12;
  }
  return "The picture is cut off; the server reads what is left of it.";
}

/** Return whether the text of a PNG turns the image, or may do so because it is compressed. */
function mayTurn(text) {
  const keyword = readAscii(text, 0, text.indexOf(0));
  if (keyword === EXIF_KEYWORD) return true;
  const isCompressed = text[keyword.length + 1] !== 0;
  return keyword === XMP_KEYWORD && (isCompressed || XMP_TURN_PATTERN.test(decodeLatin1(text)));
}

function decodeLatin1(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}

function readAscii(content, offset, length) {
  return String.fromCharCode(...content.subarray(offset, offset + length));
}

function checkJpeg(content) {
  let isKnown = false;
  for (let offset = 2; offset + 4 <= content.length; ) {
    if (content[offset] !== 0xff) break;
    const marker = content[offset + 1];
    if (marker === 0xff) {
      offset++; // padding
      continue;
    }
    if (JPEG_OTHER_FRAMES.includes(marker)) break;
    if (JPEG_FRAMES.includes(marker)) {
      const [bits, channels] = [content[offset + 4], content[offset + 9]];
      if (bits !== 8 || ![1, 3].includes(channels)) return "The picture has unusual colours; the server reads it.";
      isKnown = true;
    }
    const length = 256 * content[offset + 2] + content[offset + 3];
    if (marker === JPEG_APP1 && readAscii(content, offset + 4, XMP_SIGNATURE.length) === XMP_SIGNATURE) {
      if (XMP_TURN_PATTERN.test(decodeLatin1(content.subarray(offset, offset + 2 + length)))) return TURNED_REASON;
    }
    if (marker === JPEG_START_OF_SCAN) return checkJpegEnd(content, isKnown);
    offset += 2 + length;
  }
  return "The picture is stored in an unusual way; the server reads it.";
}

function checkJpegEnd(content, isKnown) {
  for (let index = content.length - 2; isKnown && index >= Math.max(0, content.length - 64); index--) {
    if (content[index] === 0xff && content[index + 1] === 0xd9) return null;
  }
  return "The picture is cut off; the server reads what is left of it.";
}
