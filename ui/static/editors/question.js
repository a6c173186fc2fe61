/** Digits, and a question over their places: "3 7 5 : 1 + 3" asks for the first digit plus the third one. */

/** Signs of a question, as they are written and as they are shown. */
export const SIGNS = { "+": "+", "-": "\u2212" };

/**
 * Parse digits and a question.
 *
 * @param {string} text - Digits, a colon, then places and signs in turn.
 * @param {number} maxDigits - Most digits.
 * @param {number} maxOperations - Most operations.
 * @returns {{digits: string[], question: string[]}} The digits; place, sign, place and so on.
 */
export function parseQuestion(text, maxDigits, maxOperations) {
  const [digits, ...rest] = text.split(":");
  return {
    digits: (digits.match(/\d/g) ?? []).slice(0, maxDigits),
    question: (rest.join(" ").match(/[+-]|\d+/g) ?? []).slice(0, 2 * maxOperations + 1),
  };
}

/**
 * Format digits and a question.
 *
 * @param {string[]} digits - The digits.
 * @param {string[]} question - Place, sign, place and so on.
 * @returns {string} Such as "3 7 5 : 1 + 3"; empty without a digit.
 */
export function formatQuestion(digits, question) {
  return digits.length ? [...digits, ":", ...question].join(" ") : "";
}

/**
 * Return whether a place has a digit.
 *
 * @param {string | undefined} place - The place, from 1.
 * @param {string[]} digits - The digits.
 * @returns {boolean} Whether it has one.
 */
export function isPlace(place, digits) {
  const number = Number(place);
  return number >= 1 && number <= digits.length;
}

/**
 * Describe a question.
 *
 * @param {string[]} digits - The digits.
 * @param {string[]} question - Place, sign, place and so on.
 * @returns {string} A sentence with the digits in place of their places.
 */
export function describeQuestion(digits, question) {
  if (!digits.length) return "Type the digits first.";
  const terms = question.map((part, index) => (index % 2 ? SIGNS[part] : digits[Number(part) - 1]));
  return `This asks for ${terms.join(" ")}.`;
}
