/** Colours of a thought: those of the page, and ramps that start at the page's own background. */

import { buildRamp } from "../common/colour.js";
import { readTheme } from "../common/theme.js";

const RAMPS = {
  light: {
    amount: ["#f4f6f8", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"],
    sign: ["#0072B2", "#f4f6f8", "#D55E00"],
  },
  dark: {
    amount: ["#20222f", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"],
    sign: ["#56B4E9", "#20222f", "#E69F00"],
  },
};
const WARM = ["#D55E00", "#E69F00", "#F0E442"];

/**
 * @typedef {import("../common/theme.js").Theme & {energy: string, certainty: string, right: string, amount: number[][], sign: number[][], warm: number[][]}} ThoughtTheme
 */

/**
 * Read the theme that applies to a thought.
 *
 * @param {Element} root - The component.
 * @param {Element} mutedElement - An element within whose text is muted.
 * @returns {ThoughtTheme} The theme, with the colours of quantities and with ramps of 256 colours.
 */
export function readThoughtTheme(root, mutedElement) {
  const theme = readTheme(root, mutedElement);
  const ramps = RAMPS[theme.isDark ? "dark" : "light"];
  return {
    ...theme,
    energy: theme.isDark ? "#E69F00" : "#D55E00",
    certainty: theme.isDark ? "#56B4E9" : "#0072B2",
    right: "#009E73",
    amount: buildRamp(ramps.amount),
    sign: buildRamp(ramps.sign),
    warm: buildRamp(WARM),
  };
}
