/** Formatting of numbers and texts as Python does it, so that messages and policies read the same in both languages. */

const MAX_EXACT_DIGITS = 60; // decimal digits that show whether a double is exactly halfway between two shorter numbers
const MAX_NAME_LENGTH = 60;
const UNPRINTABLE = /[\p{C}\p{Z}]/u; // except the space

/**
 * Format a number with a number of significant digits. Mirrors the format `g` of Python.
 *
 * @param {number} value - A finite number.
 * @param {number} [digits] - Significant digits.
 * @returns {string} The text, such as "0.5", "1e-05" or "1.5e+20".
 */
export function formatGeneral(value, digits = 6) {
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, exponentText] = roundHalfEven(value, digits).split("e");
  const exponent = Number(exponentText);
  const trimmed = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return exponent < -4 || exponent >= digits ? joinExponent(trimmed, exponent) : expand(trimmed, exponent);
}

/**
 * Format a number with as few digits as read back as the same number. Mirrors `repr` of a Python float.
 *
 * @param {number} value - A finite number.
 * @returns {string} The text, such as "0.1", "3.0" or "1e-05".
 */
export function formatRepr(value) {
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa, exponentText] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) return joinExponent(mantissa, exponent);
  const text = expand(mantissa, exponent);
  return text.includes(".") ? text : `${text}.0`;
}

/** Return a number in exponential notation, rounded half to even on its exact decimal value, unlike `toExponential`. */
function roundHalfEven(value, digits) {
  const rounded = value.toExponential(digits - 1);
  const exact = value.toExponential(MAX_EXACT_DIGITS);
  const [mantissa] = exact.split("e");
  const [kept, dropped] = [
    mantissa.slice(0, mantissa.indexOf(".") + digits),
    mantissa.slice(mantissa.indexOf(".") + digits),
  ];
  if (!/^50*$/.test(dropped)) return rounded;
  const isEven = Number(kept.replace(".", "").at(-1)) % 2 === 0;
  return isEven ? `${kept.replace(/\.$/, "")}e${exact.split("e")[1]}` : rounded;
}

/** Join a mantissa and an exponent of at least two digits. */
function joinExponent(mantissa, exponent) {
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** Write a number without exponent, without trailing zeros after the point. */
function expand(mantissa, exponent) {
  const sign = mantissa.startsWith("-") ? "-" : "";
  const digits = mantissa.replace(/[-.]/g, "");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  const rest = digits.slice(exponent + 1);
  return rest ? `${sign}${whole}.${rest}` : sign + whole;
}

/**
 * Format a whole number with commas between thousands.
 *
 * @param {number} value - A whole number.
 * @returns {string} The text, such as "1,000".
 */
export function formatThousands(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * Quote a text. Mirrors `repr` of a Python str.
 *
 * @param {string} text - Any text.
 * @returns {string} The text in quotes, with escapes for what cannot be printed.
 */
export function quote(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escapes = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", [mark]: `\\${mark}` };
  const parts = Array.from(text, (character) => {
    if (Object.hasOwn(escapes, character)) return escapes[character];
    if (character === " " || !UNPRINTABLE.test(character)) return character;
    const code = character.codePointAt(0);
    const [letter, length] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(length, "0")}`;
  });
  return mark + parts.join("") + mark;
}

/**
 * Quote a text for a message, cut after a number of characters. Mirrors `ctm.messages.truncate_repr`.
 *
 * @param {string} text - Any text.
 * @param {number} [limit] - Maximum number of characters.
 * @returns {string} The quoted text.
 */
export function truncateRepr(text, limit = MAX_NAME_LENGTH) {
  const characters = Array.from(quote(text));
  return characters.length <= limit ? characters.join("") : `${characters.slice(0, limit).join("")}...`;
}

/**
 * Return a name unchanged if it is short and printable, else quoted and cut. Mirrors `ctm.messages.format_name`.
 *
 * @param {unknown} name - Any value.
 * @returns {string} The name.
 */
export function formatName(name) {
  const text = String(name);
  const isPrintable = !UNPRINTABLE.test(text.replaceAll(" ", ""));
  return isPrintable && text && Array.from(text).length <= MAX_NAME_LENGTH ? text : truncateRepr(text);
}
