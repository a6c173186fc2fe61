/** Rows of bits as text. */

/**
 * Parse a row of bits that was typed.
 *
 * @param {string} text - Bits, perhaps with spaces and commas.
 * @param {number} maxLength - Most bits.
 * @returns {{bits: string, stray: string, excess: number}} The bits up to the first other character, that character, and how many characters are too many.
 */
export function parseBits(text, maxLength) {
  const row = text.replace(/[\s,]/g, "");
  return {
    bits: row.replace(/[^01].*/, "").slice(0, maxLength),
    stray: row.match(/[^01]/)?.[0] ?? "",
    excess: Math.max(0, row.length - maxLength),
  };
}

/**
 * Set a bit. A row that does not reach that far is filled with 0.
 *
 * @param {string} bits - The row.
 * @param {number} index - Which bit.
 * @param {string} bit - "0" or "1".
 * @returns {string} The new row.
 */
export function setBit(bits, index, bit) {
  const row = [...bits.padEnd(index, "0")];
  row[index] = bit;
  return row.join("");
}

/**
 * Return the opposite of a bit. A bit that is not there counts as 0.
 *
 * @param {string} bits - The row.
 * @param {number} index - Which bit.
 * @returns {string} "0" or "1".
 */
export function invertBit(bits, index) {
  return bits[index] === "1" ? "0" : "1";
}
