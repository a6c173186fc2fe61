/** Colours of the inside view: those of the page, and a ramp for signs. */

import { buildRamp, parseColour } from "../common/colour.js";
import { readTheme } from "../common/theme.js";

const SIGN_STOPS = {
  light: ["#0072B2", "#f4f6f8", "#D55E00"],
  dark: ["#56B4E9", "#20222f", "#E69F00"],
};
const RAMP_MIDDLE = 127.5;

/**
 * @typedef {import("../common/theme.js").Theme & {sign: number[][], negative: string, positive: string, zero: string}} InsideTheme
 */

/**
 * Read the theme that applies to the view.
 *
 * @param {Element} root - The view.
 * @param {Element} mutedElement - An element within whose text is muted.
 * @returns {InsideTheme} The theme, with the ramp from negative to positive and its ends.
 */
export function readInsideTheme(root, mutedElement) {
  const theme = readTheme(root, mutedElement);
  const [negative, zero, positive] = SIGN_STOPS[theme.isDark ? "dark" : "light"];
  return { ...theme, sign: buildRamp([negative, zero, positive]), negative, zero, positive };
}

/**
 * Return the colour of a value.
 *
 * @param {InsideTheme} theme - The theme.
 * @param {number} value - The value.
 * @param {number} largest - The absolute value with the strongest colour.
 * @returns {number[]} [red, green, blue], 0 to 255.
 */
export function getSignColour({ sign }, value, largest) {
  const share = Math.max(-1, Math.min(1, value / largest));
  return sign[Math.round(RAMP_MIDDLE + RAMP_MIDDLE * share)];
}

/**
 * Return a colour as numbers for WebGL.
 *
 * @param {string} colour - "#rrggbb".
 * @returns {number[]} [red, green, blue], 0 to 1.
 */
export function toUnitColour(colour) {
  return parseColour(colour).map((channel) => channel / 255);
}
