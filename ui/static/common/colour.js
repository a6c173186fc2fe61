/**
 * Colours, as "#rrggbb" or as [red, green, blue] from 0 to 255.
 *
 * The hues are those of Okabe and Ito, which colour-blind people can distinguish.
 */

const CLASS_HUES = [
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#D55E00",
  "#F0E442",
  "#999999",
  "#7B4FB5",
  "#8C564B",
];

/** Colour of routes, whatever the theme. */
export const BLUE = CLASS_HUES[0];

/**
 * Parse a colour.
 *
 * @param {string} colour - "#rrggbb".
 * @returns {number[]} [red, green, blue], 0 to 255.
 */
export function parseColour(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

/**
 * Format a colour for CSS and canvas.
 *
 * @param {number[]} channels - [red, green, blue], 0 to 255.
 * @param {number} [alpha] - Opacity, 0 to 1.
 * @returns {string} A CSS colour.
 */
export function formatColour([red, green, blue], alpha = 1) {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}

/**
 * Build a ramp of 256 colours.
 *
 * @param {string[]} stops - At least two colours, evenly spaced over the ramp.
 * @returns {number[][]} [red, green, blue] by value, 0 to 255.
 */
export function buildRamp(stops) {
  const colours = stops.map(parseColour);
  return Array.from({ length: 256 }, (_, value) => {
    const at = (value / 255) * (colours.length - 1);
    const left = Math.min(Math.floor(at), colours.length - 2);
    return colours[left].map((channel, index) => {
      return Math.round(channel + (colours[left + 1][index] - channel) * (at - left));
    });
  });
}

/**
 * Format a ramp as the background of a legend.
 *
 * @param {number[][]} ramp - 256 colours.
 * @returns {string} A CSS gradient from left to right.
 */
export function formatGradient(ramp) {
  return `linear-gradient(to right, ${[0, 64, 128, 191, 255].map((at) => formatColour(ramp[at])).join(", ")})`;
}

/**
 * Return the colour of a class. Beyond the named hues, classes go round the colour wheel by the golden angle.
 *
 * @param {number} index - Number of the class, from 0.
 * @returns {number[]} [red, green, blue], 0 to 255.
 */
export function getClassColour(index) {
  if (CLASS_HUES[index]) return parseColour(CLASS_HUES[index]);
  const channel = (offset) => Math.round(140 + 90 * Math.cos(((index * 137.5 - offset) * Math.PI) / 180));
  return [channel(0), channel(120), channel(240)];
}
