/** Panel: activations of neurons by tick. */

import { Painter } from "../../common/canvas.js";
import { formatGradient } from "../../common/colour.js";
import { formatCount } from "../../common/format.js";
import { clamp, decodeBytes, readInteger } from "../../common/validate.js";
import { drawHeatMap } from "../images.js";
import { writeLegend } from "../panel.js";

const MAX_NEURONS = 100000;
const MIN_HEIGHT = 60;
const MAX_HEIGHT = 256;
const MAX_TICK_WIDTH = 80;

/**
 * Parse activations.
 *
 * @param {Record<string, unknown>} activity - The record's part on neurons.
 * @param {number} ticks - Ticks of the thought.
 * @returns {{neurons: number, total: number, values: Uint8Array} | null} Neurons shown and in total, and a byte for each tick and neuron.
 */
export function parseActivity(activity, ticks) {
  const neurons = readInteger(activity.neurons, 0, MAX_NEURONS);
  const values = neurons ? decodeBytes(activity.data, ticks * neurons) : null;
  return values && { neurons, total: readInteger(activity.of, neurons, 1e9), values };
}

function prepare(view, { neurons, total }) {
  const title = total > neurons ? `${neurons} of ${total} neurons shown` : formatCount(neurons, "neuron");
  view.parts["activity-title"].textContent = title;
  const gradient = formatGradient(view.theme.sign);
  writeLegend(view, "activity", [[gradient, "activity from \u22121 through 0 to +1", "band"]]);
}

function draw(view, { neurons, values }) {
  const { thought, tick, theme, parts, images } = view;
  const height = clamp(neurons * 2, MIN_HEIGHT, MAX_HEIGHT);
  const painter = new Painter(parts.activity, theme, height + 22);
  const width = Math.min(painter.width - 4, thought.computedTicks * MAX_TICK_WIDTH);
  const image = images.get("activity", thought.computedTicks, neurons, (column, row) => {
    return theme.sign[values[column * neurons + row]];
  });
  painter.context.imageSmoothingEnabled = neurons > height; // with more rows than pixels, blend them rather than drop some
  drawHeatMap(painter, view, image, { left: 2, top: 2, width, height });
  const step = width / thought.computedTicks;
  const middle = clamp(2 + step * (tick - 0.5), 22, Math.max(22, width - 20));
  painter.drawText(`tick ${tick}`, middle, height + 13, { align: "center", size: 11, colour: theme.muted });
}

function describe({ thought }, { neurons }) {
  return `Activity of ${formatCount(neurons, "neuron")} over ${formatCount(thought.ticks, "tick")}`;
}

/** @type {import("../panel.js").Panel} */
export const activityPanel = {
  name: "activity",
  select: ({ activity, iterations }) => (iterations > 1 ? activity : null),
  prepare,
  draw,
  describe,
};
