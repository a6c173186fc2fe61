/** Drawing of the model of a neuron: its history, hidden units with gates, and output. */

import { formatColour, parseColour } from "../common/colour.js";
import { formatFixed } from "../common/format.js";
import { getSignColour } from "./theme.js";

export const DIAGRAM_HEIGHT = 240;
const [TOP, BOTTOM] = [24, 12];
const MAX_EDGE_WIDTH = 3;
const MIN_EDGE_SHARE = 0.08;

/**
 * Draw the model.
 *
 * @param {import("../common/canvas.js").Painter} painter - Draws.
 * @param {import("./arithmetic.js").NeuronModel} model - The model.
 * @param {Float32Array} window - Its history.
 * @param {ReturnType<typeof import("./arithmetic.js").runNeuronModel>} outputs - Values and gates of its layers.
 */
export function drawNeuronModel(painter, model, window, outputs) {
  const { width, theme } = painter;
  const columns = [window, ...outputs.map((layer) => layer.outputs)];
  const xs = columns.map((_, index) => 34 + ((width - 120) * index) / (columns.length - 1));
  const ys = columns.map((values) => spreadRows(values.length));
  for (const [index, layer] of model.layers.entries()) {
    drawEdges(painter, layer, [xs[index], xs[index + 1]], [ys[index], ys[index + 1]]);
  }
  const names = [
    "history",
    ...outputs.map((_, index) => (index === outputs.length - 1 ? "activation" : "hidden units")),
  ];
  columns.forEach((values, column) => {
    const largest = Math.max(1e-6, ...Array.from(values, Math.abs));
    const size = Math.min(16, Math.max(4, (DIAGRAM_HEIGHT - TOP - BOTTOM) / values.length - 1));
    values.forEach((value, row) => {
      const [x, y] = [xs[column], ys[column][row]];
      const gate = column ? outputs[column - 1].gates[row] : 1;
      drawNode(painter, { x, y, size: column === columns.length - 1 ? 22 : size, gate }, value, largest);
    });
    const align = column === columns.length - 1 ? "right" : column ? "center" : "left";
    const x = align === "right" ? width - 6 : align === "left" ? 6 : xs[column];
    painter.drawText(names[column], x, 9, { align, size: 11, colour: theme.muted });
  });
  const last = columns.length - 1;
  painter.drawText(formatFixed(columns[last][0], 3), xs[last] + 18, ys[last][0], { size: 13, weight: 600 });
  const newest = ys[0].length - 1;
  painter.drawText("t", 8, ys[0][newest], { size: 11, colour: theme.muted });
  painter.drawText(`t−${newest}`, 2, ys[0][0], { size: 10, colour: theme.muted });
}

function spreadRows(count) {
  const height = DIAGRAM_HEIGHT - TOP - BOTTOM;
  return Array.from({ length: count }, (_, row) => TOP + (height * (row + 0.5)) / count);
}

/** Draw a unit: colour is its output, the filled height of its frame is its gate. */
function drawNode(painter, { x, y, size, gate }, value, largest) {
  const { theme } = painter;
  const half = size / 2;
  painter.fillRect(x - half, y - half, size, size, theme.background);
  const filled = size * gate;
  painter.fillRect(x - half, y + half - filled, size, filled, formatColour(getSignColour(theme, value, largest)));
  painter.strokeRect(x - half, y - half, size, size, theme.muted);
}

/** Draw the weights of the values of a layer; those of its gates are left out. */
function drawEdges(painter, { weight, inputs }, [fromX, toX], [fromYs, toYs]) {
  const { theme } = painter;
  const largest = weight
    .subarray(0, toYs.length * inputs)
    .reduce((best, value) => Math.max(best, Math.abs(value)), 1e-9);
  toYs.forEach((toY, row) => {
    fromYs.forEach((fromY, column) => {
      const share = weight[row * inputs + column] / largest;
      if (Math.abs(share) < MIN_EDGE_SHARE) return;
      const colour = formatColour(
        parseColour(share < 0 ? theme.negative : theme.positive),
        0.12 + 0.5 * Math.abs(share),
      );
      const ends = [
        [fromX, fromY],
        [toX, toY],
      ];
      painter.strokeLine(ends, colour, Math.max(0.5, MAX_EDGE_WIDTH * Math.abs(share)));
    });
  });
}
