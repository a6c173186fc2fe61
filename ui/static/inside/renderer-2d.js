/** Renderer of the overview on a 2-D canvas, for browsers without WebGL 2. Planes besides the one that is shown are circles. */

import { Painter } from "../common/canvas.js";
import { formatColour, parseColour } from "../common/colour.js";
import { getDotSize, projectPoint } from "./projection.js";
import { getSignColour } from "./theme.js";

const OUTLINE_POINTS = 40;
const LINE_WIDTH = 5;

/** Draws on a 2-D canvas. */
export class CanvasRenderer {
  #overview = null;
  #places = null;

  /** @param {HTMLCanvasElement} canvas - The canvas. */
  constructor(canvas) {
    this.canvas = canvas;
  }

  /**
   * Take the activations of an unroll.
   *
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {Float32Array} places - Places of the neurons, (D, 2).
   */
  setOverview(overview, places) {
    this.#overview = overview;
    this.#places = places;
  }

  /**
   * Draw; see `GlRenderer.draw`.
   *
   * @param {import("./projection.js").View} view - The view.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {{ends: Float32Array, shares: Float32Array}} lines - The lines.
   * @param {number[]} order - Planes from the farthest to the nearest.
   */
  draw(view, theme, lines, order) {
    const painter = new Painter(this.canvas, theme);
    for (const tick of order) this.#drawOutline(painter, view, theme, tick);
    for (const [index, share] of lines.shares.entries()) {
      const [ax, ay, bx, by] = lines.ends.subarray(4 * index, 4 * index + 4);
      const [a, b] = [projectPoint(view, ax, ay, view.tick), projectPoint(view, bx, by, view.tick)];
      const colour = parseColour(share < 0 ? theme.negative : theme.positive);
      const points = [
        [a.x, a.y],
        [b.x, b.y],
      ];
      painter.strokeLine(
        points,
        formatColour(colour, 0.3 + 0.6 * Math.abs(share)),
        Math.max(1, LINE_WIDTH * Math.abs(share)),
      );
    }
    this.#drawNeurons(painter, view, theme);
  }

  #drawOutline(painter, view, theme, tick) {
    const points = Array.from({ length: OUTLINE_POINTS + 1 }, (_, index) => {
      const angle = (2 * Math.PI * index) / OUTLINE_POINTS;
      const { x, y } = projectPoint(view, Math.cos(angle), Math.sin(angle), tick);
      return [x, y];
    });
    painter.withAlpha(0.5, () => painter.strokeLine(points, theme.line));
  }

  #drawNeurons(painter, view, theme) {
    const { neurons, activations, largest } = this.#overview;
    const dot = getDotSize(neurons, view.radius);
    for (let neuron = 0; neuron < neurons; neuron++) {
      const { x, y, scale } = projectPoint(view, this.#places[2 * neuron], this.#places[2 * neuron + 1], view.tick);
      const value = activations[view.tick * neurons + neuron];
      const diameter = Math.max(2, dot * scale * Math.sqrt(0.12 + (0.88 * Math.abs(value)) / largest));
      painter.fillDisc([x, y], diameter / 2, formatColour(getSignColour(theme, value, largest)), theme.line);
    }
  }

  /** Nothing to free. */
  destroy() {}
}
