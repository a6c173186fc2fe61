/** Text as Python reads and prints it: whitespace, code points and `repr`, so that error sentences are the same. */

// `str.isspace` in Python; `\s` in JavaScript has other characters.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "u");
const SEPARATORS = new RegExp(`[${SPACE},;]+`, "u");
const OUTER_SPACES = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");
const NOT_PRINTABLE = /[\p{C}\p{Z}]/u;
const ESCAPES = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** An input that a task cannot read; the message is one sentence. Mirrors the `ValueError` of `Task.parse_input`. */
export class InputError extends Error {
  name = "InputError";
}

/**
 * An input of which a part is missing that a visitor can add by hand. Mirrors `IncompleteInputError`.
 */
export class IncompleteInputError extends InputError {
  name = "IncompleteInputError";

  /**
   * @param {string} message - The sentence.
   * @param {Record<string, unknown>} display - What the page shows of the rest, see `TaskInput`.
   */
  constructor(message, display) {
    super(message);
    this.display = display;
  }
}

/**
 * Read the raw input of a text task. Mirrors `str(raw_input or "")`.
 *
 * @param {unknown} raw - The raw input.
 * @returns {string} The text; empty if there is none.
 */
export function readRawText(raw) {
  return typeof raw === "string" ? raw : "";
}

/**
 * Split a text at whitespace. Mirrors `str.split` without arguments.
 *
 * @param {string} text - The text.
 * @returns {string[]} The words.
 */
export function splitWords(text) {
  return text.split(SPACES).filter(Boolean);
}

/**
 * Split a text at whitespace, commas and semicolons.
 *
 * @param {string} text - The text.
 * @returns {string[]} The words.
 */
export function splitItems(text) {
  return text.split(SEPARATORS).filter(Boolean);
}

/**
 * Remove whitespace at both ends. Mirrors `str.strip`.
 *
 * @param {string} text - The text.
 * @returns {string} The text without it.
 */
export function strip(text) {
  return text.replace(OUTER_SPACES, "");
}

/**
 * Return the first characters of a text, counted in code points as Python does.
 *
 * @param {string} text - The text.
 * @param {number} count - How many.
 * @returns {string} The first characters.
 */
export function takeCharacters(text, count) {
  return Array.from(text).slice(0, count).join("");
}

/**
 * Format a text as a literal. Mirrors `repr` of a `str`.
 *
 * @param {string} text - The text.
 * @returns {string} The text in quotes, with escapes for quotes and for what is not printable.
 */
export function formatRepr(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = Array.from(text, (character) => {
    if (character === quote) return `\\${quote}`;
    if (Object.hasOwn(ESCAPES, character)) return ESCAPES[character];
    return character !== " " && NOT_PRINTABLE.test(character) ? escapeCharacter(character) : character;
  });
  return quote + body.join("") + quote;
}

function escapeCharacter(character) {
  const code = character.codePointAt(0);
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}

/**
 * Check that a text has only characters of an alphabet. Mirrors `training.tasks.base.check_alphabet`.
 *
 * @param {string} text - Text to check.
 * @param {string} alphabet - Accepted characters.
 * @param {string} message - Sentence start that names the accepted characters.
 * @param {string} inputHint - Description of a valid input.
 * @throws {InputError} The text has another character.
 */
export function checkAlphabet(text, alphabet, message, inputHint) {
  const invalid = Array.from(text).find((character) => !alphabet.includes(character));
  if (invalid !== undefined) throw new InputError(`${message}, got ${formatRepr(invalid)}. Type ${inputHint}.`);
}
