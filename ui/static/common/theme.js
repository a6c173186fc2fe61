/** Colours and font of the page as it is now, for canvases. */

/**
 * @typedef {object} Theme
 * @property {boolean} isDark - Whether the page is dark.
 * @property {string} text - Colour of text.
 * @property {string} muted - Colour of text that matters less.
 * @property {string} line - Colour of borders and grids.
 * @property {string} background - Colour behind everything.
 * @property {string} accent - Colour of what is selected.
 * @property {string} font - Font family.
 */

const LIGHT = { text: "#1f2937", line: "#e5e7eb", background: "#ffffff" };
const DARK = { text: "#f3f4f6", line: "#374151", background: "#111827" };

/**
 * Read the theme that applies to a component.
 *
 * @param {Element} root - The component.
 * @param {Element} mutedElement - An element within whose text is muted.
 * @returns {Theme} The theme.
 */
export function readTheme(root, mutedElement) {
  const style = getComputedStyle(root);
  const isDark = root.closest(".dark") !== null;
  const defaults = isDark ? DARK : LIGHT;
  const readVariable = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    isDark,
    text: readVariable("--body-text-color", defaults.text),
    muted: getComputedStyle(mutedElement).color,
    line: readVariable("--border-color-primary", defaults.line),
    background: readVariable("--background-fill-primary", defaults.background),
    accent: readVariable("--color-accent", "#0072b2"),
    font: style.fontFamily,
  };
}
