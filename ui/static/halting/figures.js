/** Figures of the halting view for plotly.js, as plain data; and its numbers as CSV. */

import { buildAxis, buildLayout } from "../common/plotly.js";
import { getAccuracyRange, isDashed } from "./chart.js";

const MARK_COLOUR = "#7b4fb5";
const LARGEST_MARKER = 22;

/**
 * Build the figure of what every threshold gives.
 *
 * @param {import("./parse.js").HaltingView} view - What is known.
 * @param {import("../common/theme.js").Theme} theme - Colours of the page.
 * @param {(name: string) => string} getColour - Returns the colour of a curve.
 * @param {number} budget - Mean ticks that are marked.
 * @returns {{data: object[], layout: object}} Traces and layout.
 */
export function buildCurvesFigure({ curves, policies, iterations }, theme, getColour, budget) {
  const data = [...curves].reverse().map(({ name, label, corners }) => {
    const [lastTicks, lastAccuracy] = corners.at(-1);
    const points = [...corners, [Math.max(iterations, lastTicks), lastAccuracy]];
    return {
      type: "scatter",
      mode: "lines",
      name: label,
      x: points.map(([ticks]) => ticks),
      y: points.map(([, accuracy]) => accuracy),
      line: { color: getColour(name), width: 2, dash: isDashed(name) ? "dash" : "solid" },
      hovertemplate: "%{y:,.1%} in %{x:.1f} ticks<extra>%{fullData.name}</extra>",
    };
  });
  const marks = {
    type: "scatter",
    mode: "markers+text",
    name: "rules",
    x: policies.map(({ ticks }) => ticks),
    y: policies.map(({ accuracy }) => accuracy),
    text: policies.map((_, index) => String(index + 1)),
    textfont: { color: "#ffffff", size: 11 },
    marker: { color: MARK_COLOUR, size: 16 },
    hovertemplate: "rule %{text}: %{y:,.1%} in %{x:.1f} ticks<extra></extra>",
  };
  const layout = buildLayout(theme, {
    uirevision: "curves",
    hovermode: "closest",
    margin: { l: 52, r: 14, t: 8, b: 44 },
    xaxis: buildAxis(theme, {
      title: { text: "average ticks" },
      range: [1, Math.max(2, iterations)],
      automargin: false,
    }),
    yaxis: buildAxis(theme, { tickformat: ",.0%", range: getAccuracyRange(curves), automargin: false }),
    shapes: [buildBudgetLine(theme, budget)],
  });
  return { data: [...data, marks], layout };
}

/**
 * Build the line at the budget.
 *
 * @param {import("../common/theme.js").Theme} theme - Colours of the page.
 * @param {number} ticks - Mean ticks.
 * @returns {object} A shape.
 */
export function buildBudgetLine(theme, ticks) {
  const line = { color: theme.text, width: 1.5 };
  return { type: "line", x0: ticks, x1: ticks, yref: "paper", y0: 0, y1: 1, line };
}

/**
 * Build the figure of accuracy by stated confidence.
 *
 * @param {number[][]} bins - [confidence, accuracy, count] each, at least one.
 * @param {import("../common/theme.js").Theme} theme - Colours of the page.
 * @param {string} colour - Colour of the dots.
 * @returns {{data: object[], layout: object}} Trace and layout.
 */
export function buildReliabilityFigure(bins, theme, colour) {
  const largest = Math.max(...bins.map(([, , count]) => count));
  const dots = {
    type: "scatter",
    mode: "markers",
    name: "answers",
    x: bins.map(([confidence]) => confidence),
    y: bins.map(([, accuracy]) => accuracy),
    customdata: bins.map(([, , count]) => count),
    marker: {
      color: colour,
      opacity: 0.7,
      size: bins.map(([, , count]) => 6 + (LARGEST_MARKER - 6) * Math.sqrt(count / largest)),
    },
    hovertemplate: "confidence %{x:,.1%}, %{y:,.1%} correct, %{customdata:,} answers<extra></extra>",
  };
  const axis = { tickformat: ",.0%", range: [-0.04, 1.04], nticks: 5 };
  const layout = buildLayout(theme, {
    uirevision: "reliability",
    hovermode: "closest",
    xaxis: buildAxis(theme, { ...axis, title: { text: "stated confidence" } }),
    yaxis: buildAxis(theme, axis),
    shapes: [{ type: "line", x0: 0, x1: 1, y0: 0, y1: 1, line: { color: theme.muted, width: 1, dash: "dash" } }],
  });
  return { data: [dots], layout };
}

/**
 * Write all curves as CSV.
 *
 * @param {import("./parse.js").HaltingView} view - What is known.
 * @returns {string} Signal, mean ticks, accuracy and threshold a line.
 */
export function formatCurvesCsv({ curves }) {
  const rows = curves.flatMap(({ name, corners }) =>
    corners.map(([ticks, accuracy, threshold]) => [name, ticks, accuracy, threshold ?? ""].join(",")),
  );
  return `${["signal,mean_ticks,accuracy,threshold", ...rows].join("\n")}\n`;
}

/**
 * Write the reliability as CSV.
 *
 * @param {import("./parse.js").HaltingView} view - What is known.
 * @returns {string} Confidence, accuracy and count a line.
 */
export function formatReliabilityCsv({ bins }) {
  return `${["confidence,accuracy,count", ...bins.map((bin) => bin.join(","))].join("\n")}\n`;
}
