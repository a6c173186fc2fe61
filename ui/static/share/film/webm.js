/**
 * The duration of a WebM file.
 *
 * Browsers record WebM as a stream, without a duration: a player then shows no length and cannot seek. This module writes it into
 * the segment information, which is at the beginning of the file (https://www.matroska.org/technical/elements.html).
 */

const SEGMENT = 0x18538067;
const INFO = 0x1549a966;
const EBML_HEADER = 0x1a45dfa3;
const DURATION = 0x4489;
const TIMESTAMP_SCALE = 0x2ad7b1;
const DEFAULT_SCALE_NS = 1_000_000;
const MAX_SIZE_BYTES = 8;

/** Read an element: its id, where its content begins, and how long it is; null at the end of the bytes or for no element. */
function readElement(bytes, at) {
  const idLength = Math.clz32(bytes[at] ?? 0) - 23;
  const sizeAt = at + idLength;
  if (idLength > 4 || sizeAt >= bytes.length) return null;
  const sizeLength = Math.clz32(bytes[sizeAt]) - 23;
  const start = sizeAt + sizeLength;
  if (sizeLength > MAX_SIZE_BYTES || start > bytes.length) return null;
  const id = readNumber(bytes, at, idLength);
  const mask = 2 ** (8 - sizeLength) - 1;
  const rest = readNumber(bytes, sizeAt + 1, sizeLength - 1);
  const isUnknown = (bytes[sizeAt] & mask) === mask && rest === 256 ** (sizeLength - 1) - 1;
  const size = isUnknown ? Number.POSITIVE_INFINITY : (bytes[sizeAt] & mask) * 256 ** (sizeLength - 1) + rest;
  return { id, sizeAt, start, size };
}

function readNumber(bytes, at, length) {
  let value = 0;
  for (let index = 0; index < length; index++) value = value * 256 + bytes[at + index];
  return value;
}

function* listElements(bytes, start, end) {
  for (let at = start; at < end; ) {
    const element = readElement(bytes, at);
    if (!element) return;
    yield element;
    at = element.start + element.size;
  }
}

/** Encode the size of an element in eight bytes. */
function encodeSize(size) {
  const bytes = new Uint8Array(MAX_SIZE_BYTES);
  new DataView(bytes.buffer).setUint32(4, size);
  bytes[0] = 1;
  return bytes;
}

function encodeDuration(value) {
  const bytes = new Uint8Array(11);
  bytes.set([DURATION >> 8, DURATION & 255, 0x88]); // the size is eight bytes
  new DataView(bytes.buffer).setFloat64(3, value);
  return bytes;
}

/**
 * Write the duration into a recorded file.
 *
 * @param {Uint8Array} bytes - The file.
 * @param {number} durationMs - Its duration.
 * @returns {Uint8Array} The file with its duration; as it is if it is no WebM, has a duration, or a segment of fixed size.
 */
export function addDuration(bytes, durationMs) {
  const [header, segment] = listElements(bytes, 0, bytes.length);
  if (header?.id !== EBML_HEADER || segment?.id !== SEGMENT || segment.size !== Number.POSITIVE_INFINITY) return bytes;
  const info = [...listElements(bytes, segment.start, bytes.length)].find(({ id }) => id === INFO);
  if (!info || info.start + info.size > bytes.length) return bytes;
  const children = [...listElements(bytes, info.start, info.start + info.size)];
  if (children.some(({ id }) => id === DURATION)) return bytes;
  const scale = children.find(({ id }) => id === TIMESTAMP_SCALE);
  const scaleNs = scale ? readNumber(bytes, scale.start, scale.size) : DEFAULT_SCALE_NS;
  const duration = encodeDuration((durationMs * 1e6) / scaleNs);
  const parts = [
    bytes.subarray(0, info.sizeAt),
    encodeSize(info.size + duration.length),
    duration,
    bytes.subarray(info.start),
  ];
  return concatenate(parts);
}

function concatenate(parts) {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
