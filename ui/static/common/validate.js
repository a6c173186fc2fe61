/**
 * Defensive readers of component values.
 *
 * A value may come from a file or from an API call. Every reader maps a missing or malformed value to a harmless default, so that
 * a component never throws while it parses.
 */

/**
 * Return whether a value is a finite number.
 *
 * @param {unknown} value - Anything.
 * @returns {value is number} Whether it is a number other than NaN and infinity.
 */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * Limit a number to a range.
 *
 * @param {number} value - The number.
 * @param {number} min - Lower limit.
 * @param {number} max - Upper limit; it wins where the limits cross.
 * @returns {number} The nearest number within the range.
 */
export function clamp(value, min, max) {
  return Math.min(max, Math.max(min, value));
}

/**
 * Read an array.
 *
 * @param {unknown} value - Anything.
 * @param {number} [maxLength] - How many items to keep.
 * @returns {unknown[]} A copy of its first items; empty if it is no array.
 */
export function readArray(value, maxLength = Number.POSITIVE_INFINITY) {
  return Array.isArray(value) ? value.slice(0, maxLength) : [];
}

/**
 * Read a plain object.
 *
 * @param {unknown} value - Anything.
 * @returns {Record<string, unknown>} The object itself; an empty one if it is none.
 */
export function readObject(value) {
  return value && typeof value === "object" && !Array.isArray(value) ? value : {};
}

/**
 * Pack an object as the value of a component. Gradio wraps every array of a plain object and copies them, which takes longer than a
 * small model; a text stays as it is.
 *
 * @param {object} value - The object, of JSON data.
 * @returns {string} The value.
 */
export function packObject(value) {
  return JSON.stringify(value);
}

/**
 * Read an object that may be packed.
 *
 * @param {unknown} value - An object, or a result of `packObject`.
 * @returns {Record<string, unknown>} The object; empty for anything else.
 */
export function readPackedObject(value) {
  if (typeof value !== "string") return readObject(value);
  try {
    return readObject(JSON.parse(value));
  } catch {
    return {};
  }
}

/**
 * Read a text. Numbers count as text.
 *
 * @param {unknown} value - Anything.
 * @param {number} [maxLength] - How many characters to keep.
 * @returns {string} The text; empty if it is none.
 */
export function readText(value, maxLength = 600) {
  return typeof value === "string" || isNumber(value) ? String(value).slice(0, maxLength) : "";
}

/**
 * Read an integer within a range.
 *
 * @param {unknown} value - Anything.
 * @param {number} min - Lower limit, and the default.
 * @param {number} max - Upper limit.
 * @returns {number} The rounded, limited number; `min` if it is no number.
 */
export function readInteger(value, min, max) {
  return isNumber(value) ? clamp(Math.round(value), min, max) : min;
}

/**
 * Read a share of one, such as a probability.
 *
 * @param {unknown} value - Anything.
 * @returns {number} A number from 0 to 1; 0 if it is no number.
 */
export function readShare(value) {
  return isNumber(value) ? clamp(value, 0, 1) : 0;
}

/**
 * Read a series of numbers.
 *
 * @param {unknown} value - Anything.
 * @param {number} length - How many numbers to read.
 * @returns {number[] | null} The numbers, NaN for items that are none; null if there are fewer items.
 */
export function readSeries(value, length) {
  const items = readArray(value, length);
  return items.length >= length ? items.map((item) => (isNumber(item) ? item : Number.NaN)) : null;
}

/**
 * Read a table of numbers. The first row defines the width.
 *
 * @param {unknown} value - Anything.
 * @param {number} length - How many rows to read.
 * @param {number} maxWidth - How many columns to keep.
 * @returns {number[][] | null} The rows, 0 for cells that are no number; null if a row is missing or too short.
 */
export function readTable(value, length, maxWidth) {
  const rows = readArray(value, length);
  const width = Math.min(maxWidth, readArray(rows[0]).length);
  if (!width || rows.length < length || rows.some((row) => readArray(row).length < width)) return null;
  return rows.map((row) => row.slice(0, width).map((cell) => (isNumber(cell) ? cell : 0)));
}

/**
 * Decode base64.
 *
 * @param {unknown} value - Anything.
 * @param {number} size - How many bytes to read.
 * @returns {Uint8Array | null} The bytes; null if it is no base64 or has fewer bytes.
 */
export function decodeBytes(value, size) {
  let raw;
  try {
    raw = atob(typeof value === "string" ? value : "");
  } catch {
    return null;
  }
  return raw.length >= size ? Uint8Array.from({ length: size }, (_, index) => raw.charCodeAt(index)) : null;
}
