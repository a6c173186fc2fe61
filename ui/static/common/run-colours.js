/** Colours of runs: the same in the list of runs and in all charts. */

const PALETTES = {
  light: ["#0072B2", "#C44E00", "#007A59", "#B0508A", "#8A6500", "#2A86C0", "#7B4FB5", "#666666"],
  dark: ["#56B4E9", "#E69F00", "#2CC49A", "#E39CC5", "#F0E442", "#FF8A4C", "#B79AEA", "#BBBBBB"],
};
let hues = new Map();

/**
 * Assign numbers of colours to names. A name keeps its number while others come and go.
 *
 * @param {Map<string, number>} former - Numbers by name so far.
 * @param {string[]} names - Names that are there now.
 * @returns {Map<string, number>} Numbers by name; new names get the smallest free ones.
 */
export function assignHues(former, names) {
  const assigned = new Map([...former].filter(([name]) => names.includes(name)));
  for (const name of names) {
    if (assigned.has(name)) continue;
    const taken = new Set(assigned.values());
    let free = 0;
    while (taken.has(free)) free++;
    assigned.set(name, free);
  }
  return assigned;
}

/**
 * Let exactly these runs have colours.
 *
 * @param {string[]} names - Names of the selected runs.
 */
export function selectColours(names) {
  hues = assignHues(hues, names);
}

/**
 * Return the colour of a selected run.
 *
 * @param {string} name - Name of the run.
 * @param {boolean} isDark - Whether the page is dark.
 * @returns {string} The colour; that of the first run for another run.
 */
export function getRunColour(name, isDark) {
  return getPaletteColour(hues.get(name) ?? 0, isDark);
}

/**
 * Return a colour of the palette.
 *
 * @param {number} index - Its number; numbers beyond the palette begin again.
 * @param {boolean} isDark - Whether the page is dark.
 * @returns {string} The colour.
 */
export function getPaletteColour(index, isDark) {
  const palette = PALETTES[isDark ? "dark" : "light"];
  return palette[index % palette.length];
}
