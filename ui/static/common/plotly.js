/** plotly.js: loaded when the first chart is drawn, and the look that all charts share. */

import { createElement } from "./dom.js";

const LOAD_FAILED = "The charts could not be loaded. Reload the page.";
let loading = null;

/**
 * Load plotly.js once.
 *
 * @returns {Promise<object>} The library; rejected with a sentence if it cannot be loaded.
 */
export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const address = document.querySelector('meta[name="plotly"]')?.content ?? "";
    const onError = () => {
      loading = null; // the next chart tries again
      reject(new Error(LOAD_FAILED));
    };
    const onLoad = () => resolve(window.Plotly);
    const src = new URL(address, document.baseURI).href;
    document.head.append(createElement("script", { src, load: onLoad, error: onError }));
  });
  return loading;
}

/** Options of every chart: no bar of buttons, because buttons below the charts do the same for keyboards. */
export const PLOT_CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false };

/**
 * Build an axis in the colours of the page.
 *
 * @param {import("./theme.js").Theme} theme - The colours.
 * @param {object} [more] - More properties.
 * @returns {object} The axis.
 */
export function buildAxis(theme, more = {}) {
  return { gridcolor: theme.line, linecolor: theme.line, zeroline: false, automargin: true, ...more };
}

/**
 * Build a layout in the colours of the page.
 *
 * @param {import("./theme.js").Theme} theme - The colours.
 * @param {object} more - More properties, such as axes made by `buildAxis`.
 * @returns {object} The layout.
 */
export function buildLayout(theme, more) {
  return {
    autosize: true,
    showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: theme.text, family: theme.font, size: 12 },
    hoverlabel: { bgcolor: theme.background, bordercolor: theme.line, font: { color: theme.text } },
    margin: { l: 48, r: 12, t: 8, b: 40 },
    ...more,
  };
}

/**
 * Draw a chart as a picture of its own, with a title and a background.
 *
 * @param {object} plotly - The library.
 * @param {HTMLElement} plot - The chart.
 * @param {import("./theme.js").Theme} theme - The colours.
 * @param {string} title - Title of the picture.
 * @returns {Promise<Blob>} The picture as PNG.
 */
export async function drawPicture(plotly, plot, theme, title) {
  const layout = {
    ...plot.layout,
    title: { text: title },
    showlegend: plot.data.length > 1,
    paper_bgcolor: theme.background,
    margin: { ...plot.layout.margin, t: 48 },
  };
  const size = { width: Math.max(640, plot.clientWidth), height: Math.max(400, plot.clientHeight) };
  const address = await plotly.toImage({ data: plot.data, layout }, { format: "png", scale: 2, ...size });
  return (await fetch(address)).blob();
}
