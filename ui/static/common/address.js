/**
 * The state of the Think tab in the address of the page: `?model=&input=&policy=&tick=&view=`.
 *
 * Other parameters of the address, such as `tab` and `__theme`, are left as they are.
 */

import { isSupportedSize } from "../editors/maze-grid.js";

/** Longest input in an address, in characters: longer ones are left out of a link. */
export const MAX_INPUT_CHARS = 2048;
const MAX_MODEL_CHARS = 400;
const MAX_POLICY_CHARS = 500;
const MAX_TICK = 100_000;
const KEYS = ["model", "input", "policy", "tick"];
const BASE64_URL = /^[\w-]*$/;
const MAZE_HEADER_BYTES = 6; // rows, columns, start and goal
const WHOLE_NUMBER = /^[1-9]\d*$/;

/**
 * What an address says.
 *
 * @typedef {object} AddressState
 * @property {string} model - Name of a checkpoint; empty for the default.
 * @property {string} input - The input as text, see `encodeMaze` for mazes; empty for none.
 * @property {string} policy - Halting policy; empty for the default.
 * @property {number | null} tick - The tick to show, from 1; null plays the unroll.
 */

/**
 * Read the state of an address.
 *
 * @param {string} search - Query of the address, such as "?model=digits&tick=3".
 * @returns {{state: AddressState, problem: string}} The state, and one sentence about a parameter that is invalid; the state is
 *   then empty.
 */
export function readAddress(search) {
  const parameters = new URLSearchParams(search);
  const [model, input, policy, tick] = KEYS.map((key) => parameters.get(key) ?? "");
  const problem = findProblem({ model, input, policy, tick });
  if (problem) return { state: { model: "", input: "", policy: "", tick: null }, problem };
  return { state: { model, input, policy, tick: tick ? Number(tick) : null }, problem: "" };
}

function findProblem({ model, input, policy, tick }) {
  const limits = [
    ["model", model, MAX_MODEL_CHARS],
    ["input", input, MAX_INPUT_CHARS],
    ["policy", policy, MAX_POLICY_CHARS],
  ];
  for (const [name, text, limit] of limits) {
    if (text.length > limit) return `The link cannot be opened: its ${name} is longer than ${limit} characters.`;
  }
  if (tick && !(WHOLE_NUMBER.test(tick) && Number(tick) <= MAX_TICK)) {
    return `The link cannot be opened: its tick must be a whole number from 1, and it is "${tick.slice(0, 20)}".`;
  }
  return "";
}

/**
 * Write a state into an address.
 *
 * @param {string} search - Query of the address.
 * @param {Partial<AddressState>} state - The state; empty values are left out.
 * @param {string | null} [view] - "stage" for the stage alone; null for the whole page; without, it stays as it is.
 * @returns {string} The new query, with its question mark; empty if there is nothing in it.
 */
export function writeAddress(search, state, view) {
  const parameters = new URLSearchParams(search);
  for (const key of KEYS) {
    parameters.delete(key);
    if (state[key]) parameters.set(key, String(state[key]));
  }
  if (view !== undefined) parameters.delete("view");
  if (view) parameters.set("view", view);
  const text = parameters.toString();
  return text && `?${text}`;
}

/**
 * Encode bytes for an address.
 *
 * @param {ArrayLike<number>} bytes - The bytes.
 * @returns {string} They as base64 for addresses, without padding.
 */
export function encodeBase64Url(bytes) {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * Decode bytes of an address.
 *
 * @param {string} text - Base64 for addresses.
 * @returns {Uint8Array | null} The bytes; null for another text.
 */
export function decodeBase64Url(text) {
  if (!text || !BASE64_URL.test(text) || text.length % 4 === 1) return null;
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(bytes, (character) => character.charCodeAt(0));
}

/**
 * Encode a maze: height, width, start and goal, then one bit a tile, row by row.
 *
 * @param {import("../editors/maze-grid.js").Maze} maze - The maze.
 * @returns {string} Base64 for addresses.
 */
export function encodeMaze({ rows, columns, open, start, goal }) {
  const bytes = new Uint8Array(MAZE_HEADER_BYTES + Math.ceil(open.length / 8));
  bytes.set([rows, columns, start >> 8, start & 255, goal >> 8, goal & 255]);
  for (const [tile, isOpen] of open.entries()) {
    if (isOpen) bytes[MAZE_HEADER_BYTES + (tile >> 3)] |= 128 >> (tile & 7);
  }
  return encodeBase64Url(bytes);
}

/**
 * Decode a maze.
 *
 * @param {string} text - See `encodeMaze`.
 * @returns {import("../editors/maze-grid.js").Maze | null} The maze; null for another text.
 */
export function decodeMaze(text) {
  const bytes = decodeBase64Url(text);
  if (!bytes || bytes.length <= MAZE_HEADER_BYTES) return null;
  const [rows, columns] = bytes;
  const count = rows * columns;
  if (!isSupportedSize(rows, columns) || bytes.length !== MAZE_HEADER_BYTES + Math.ceil(count / 8)) return null;
  const [start, goal] = [2, 4].map((at) => bytes[at] * 256 + bytes[at + 1]);
  const open = Array.from({ length: count }, (_, tile) => {
    return (bytes[MAZE_HEADER_BYTES + (tile >> 3)] >> (7 - (tile & 7))) & 1;
  });
  const isValid = start !== goal && open[start] && open[goal];
  return isValid ? { rows, columns, open, start, goal } : null;
}
