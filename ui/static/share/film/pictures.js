/** Pictures of one panel and of the stage. */

import { Painter } from "../../common/canvas.js";

const PADDING = 16;
const TITLE_HEIGHT = 30;
const LEGEND_HEIGHT = 24;
const [SWATCH_WIDTH, SWATCH_GAP, KEY_GAP] = [14, 6, 16];

/**
 * Encode a canvas as PNG.
 *
 * @param {HTMLCanvasElement} canvas - The canvas.
 * @returns {Promise<Blob>} The file.
 */
export function encodeCanvas(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * Draw a panel as the page shows it: title, legend and drawing.
 *
 * @param {Element} panel - The panel.
 * @param {import("../../thought/theme.js").ThoughtTheme} theme - Colours and font.
 * @returns {HTMLCanvasElement} The picture.
 */
export function drawPanelPicture(panel, theme) {
  const source = panel.querySelector("canvas");
  const keys = [...panel.querySelectorAll(".thought-key")];
  const top = PADDING + TITLE_HEIGHT + (keys.length ? LEGEND_HEIGHT : 0);
  const canvas = document.createElement("canvas");
  Object.defineProperty(canvas, "clientWidth", { value: source.clientWidth + 2 * PADDING });
  const painter = new Painter(canvas, theme, top + source.clientHeight + PADDING);
  painter.fillRect(0, 0, painter.width, painter.height, theme.background);
  const title = panel.querySelector("h3").textContent;
  painter.drawText(title, PADDING, PADDING + 8, { size: 16, weight: 600 });
  drawLegend(painter, keys, PADDING + TITLE_HEIGHT);
  painter.context.drawImage(source, PADDING, top, source.clientWidth, source.clientHeight);
  return canvas;
}

function drawLegend(painter, keys, top) {
  let left = PADDING;
  for (const key of keys) {
    const swatch = key.querySelector("span");
    const text = key.textContent;
    const width = SWATCH_WIDTH + SWATCH_GAP + painter.measureText(text) + KEY_GAP;
    if (left + width > painter.width) return; // the legend of the page has several lines
    const style = getComputedStyle(swatch);
    const height = Math.min(swatch.clientHeight || 3, 10);
    painter.fillRect(left, top + 8 - height / 2, SWATCH_WIDTH, height, style.backgroundColor);
    painter.drawText(text, left + SWATCH_WIDTH + SWATCH_GAP, top + 8);
    left += width;
  }
}
