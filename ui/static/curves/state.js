/**
 * What charts show now, and what the visitor did: zoom, crosshair, hidden runs and series.
 *
 * A new value replaces charts and runs; what the visitor did stays.
 */

import { clamp } from "../common/validate.js";
import { assignHues, findNearest, getExtent, listPositions } from "./lines.js";

const MIN_ZOOM_STEPS = 4;
const DASHES = [[], [6, 4], [1.5, 3.5], [9, 3, 2, 3]];

/** State of one mounted component. */
export class CurvesState {
  /** @type {import("./parse.js").Chart[]} */
  charts = [];
  /** @type {import("./parse.js").Run[]} */
  runs = [];
  /** The steps that are zoomed to, [first, last]; null shows all. @type {number[] | null} */
  zoom = null;
  /** Where the crosshair is, by axis. @type {{step: number | null, tick: number | null}} */
  crosshair = { step: null, tick: null };
  /** Colours of lines. @type {string[]} */
  palette = ["#000000"];
  hiddenRuns = new Set();
  hiddenSeries = new Set();
  #hues = new Map();

  /**
   * Replace charts and runs. A zoom in which nothing of them is in sight ends.
   *
   * @param {{charts: import("./parse.js").Chart[], runs: import("./parse.js").Run[]}} curves - Parsed curves.
   */
  replace({ charts, runs }) {
    this.charts = charts;
    this.runs = runs;
    this.#hues = assignHues(
      this.#hues,
      runs.map((run) => run.name),
    );
    const domain = this.getDomain("step");
    if (this.zoom && domain && (this.zoom[0] >= domain[1] || this.zoom[1] <= domain[0])) this.zoom = null;
  }

  /** Whether there are several runs: then colours distinguish runs, and dashes distinguish series. */
  get isComparing() {
    return this.runs.length > 1;
  }

  /**
   * Return the colour of a run.
   *
   * @param {import("./parse.js").Run} run - The run.
   * @returns {string} The colour.
   */
  getRunColour(run) {
    return this.palette[this.#hues.get(run.name) % this.palette.length];
  }

  /**
   * Return the dashes of a series.
   *
   * @param {number} index - Its place in its chart.
   * @returns {number[]} Lengths of dashes and gaps; none for a single run.
   */
  getDash(index) {
    return this.isComparing ? DASHES[index % DASHES.length] : [];
  }

  /**
   * Return the name that a hidden series is remembered by.
   *
   * @param {import("./parse.js").Chart} chart - Its chart.
   * @param {{key: string}} series - The series.
   * @returns {string} The name.
   */
  static getSeriesName(chart, series) {
    return `${chart.id}/${series.key}`;
  }

  /**
   * Build all lines of a chart that have points, hidden or not.
   *
   * @param {import("./parse.js").Chart} chart - The chart.
   * @returns {import("./lines.js").Line[]} The lines, series by series.
   */
  buildLines(chart) {
    return chart.series.flatMap((series, index) => {
      const runs = this.runs.filter((run) => run.points.has(series.key));
      return runs.map((run) => ({
        chart,
        run,
        series,
        ...run.points.get(series.key),
        colour: this.isComparing ? this.getRunColour(run) : this.palette[index % this.palette.length],
        dash: this.getDash(index),
        isShown: !this.#isHidden(chart, series, run),
      }));
    });
  }

  #isHidden(chart, series, run) {
    if (this.isComparing && this.hiddenRuns.has(run.name)) return true;
    return chart.series.length > 1 && this.hiddenSeries.has(CurvesState.getSeriesName(chart, series));
  }

  /**
   * Return the first and last position on an axis of the lines that are shown.
   *
   * @param {"step" | "tick"} axis - The axis.
   * @returns {number[] | null} First and last position; null if nothing is shown.
   */
  getDomain(axis) {
    let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { at } of this.#listShownPoints(axis)) {
      [first, last] = [Math.min(first, at[0]), Math.max(last, at.at(-1))];
    }
    return first <= last ? [first, last] : null;
  }

  *#listShownPoints(axis) {
    for (const chart of this.charts.filter((one) => one.axis === axis)) {
      for (const series of chart.series) {
        for (const run of this.runs) {
          const points = run.points.get(series.key);
          if (points && !this.#isHidden(chart, series, run)) yield points;
        }
      }
    }
  }

  /**
   * Return what of an axis is in sight.
   *
   * @param {"step" | "tick"} axis - The axis.
   * @returns {number[]} First and last position, which differ.
   */
  getRange(axis) {
    const [first, last] = (axis === "step" && this.zoom) || this.getDomain(axis) || [0, 1];
    return first < last ? [first, last] : [first - 0.5, last + 0.5];
  }

  /**
   * Find the point of a line that is nearest to a position.
   *
   * @param {import("./lines.js").Line} line - The line.
   * @param {number} position - A step or tick.
   * @returns {number} Index of the point; -1 where the line does not reach.
   */
  findNearest(line, position) {
    return findNearest(line, position, this.getRange(line.chart.axis));
  }

  /**
   * Return the value of a line at the crosshair, or its last one.
   *
   * @param {import("./lines.js").Line} line - The line.
   * @returns {number | undefined} The value; undefined where the line does not reach.
   */
  getValue(line) {
    const position = this.crosshair[line.chart.axis];
    return position === null ? line.value.at(-1) : line.value[this.findNearest(line, position)];
  }

  /**
   * Return the least and the largest value in sight of some lines of a chart.
   *
   * @param {import("./parse.js").Chart} chart - The chart.
   * @param {import("./lines.js").Line[]} lines - Its lines.
   * @returns {number[] | null} Least and largest value; null if there is none.
   */
  getExtent(chart, lines) {
    return getExtent(lines, this.getRange(chart.axis));
  }

  // --- zoom ---

  /**
   * Zoom to some steps, at least a few; all steps end the zoom.
   *
   * @param {number} from - First step.
   * @param {number} to - Last step.
   */
  zoomTo(from, to) {
    const domain = this.getDomain("step");
    if (!domain) return;
    const middle = (from + to) / 2;
    const half = Math.max((to - from) / 2, MIN_ZOOM_STEPS / 2);
    const [first, last] = [Math.max(domain[0], middle - half), Math.min(domain[1], middle + half)];
    this.zoom = first < last && (first > domain[0] || last < domain[1]) ? [first, last] : null;
  }

  /**
   * Zoom in or out around a step, which stays where it is.
   *
   * @param {number} factor - Factor of the steps in sight: below 1 zooms in.
   * @param {number} [step] - The step; by default the crosshair's, or the middle.
   */
  zoomBy(factor, step) {
    const [first, last] = this.getRange("step");
    const { step: aimed } = this.crosshair;
    const fixed = step ?? (aimed === null ? (first + last) / 2 : clamp(aimed, first, last));
    this.zoomTo(fixed - (fixed - first) * factor, fixed + (last - fixed) * factor);
  }

  // --- crosshair ---

  /**
   * Move the crosshair to one axis.
   *
   * @param {"step" | "tick"} axis - The axis.
   * @param {number | null} position - Where; null removes it.
   */
  aim(axis, position) {
    this.crosshair = { step: null, tick: null, [axis]: position };
  }

  /**
   * Move the crosshair to the point in sight of a chart that is nearest to a position.
   *
   * @param {import("./parse.js").Chart} chart - The chart.
   * @param {number} position - A step or tick.
   * @returns {boolean} Whether there is a point.
   */
  aimNear(chart, position) {
    const [first, last] = this.getRange(chart.axis);
    const positions = listPositions(this.buildLines(chart)).filter((at) => at >= first && at <= last);
    if (!positions.length) return false;
    const distanceTo = (at) => Math.abs(at - position);
    this.aim(
      chart.axis,
      positions.reduce((best, at) => (distanceTo(at) < distanceTo(best) ? at : best)),
    );
    return true;
  }

  /**
   * Move the crosshair by some points of a chart; a zoom follows it.
   *
   * @param {import("./parse.js").Chart} chart - The chart.
   * @param {number} points - How many points, to the right where positive; may be infinite.
   * @returns {boolean} Whether there is a point.
   */
  moveCrosshair(chart, points) {
    const positions = listPositions(this.buildLines(chart));
    if (!positions.length) return false;
    const start = this.#findCrosshair(positions, this.crosshair[chart.axis], points);
    const position = positions[clamp(start + points, 0, positions.length - 1)];
    if (this.zoom && chart.axis === "step") this.#follow(position);
    this.aim(chart.axis, position);
    return true;
  }

  /** Return the index to move from; without a crosshair, moving left begins before the end and moving right at the end. */
  #findCrosshair(positions, position, points) {
    if (position === null) return positions.length - (points < 0 ? 0 : 1);
    const index = positions.findIndex((at) => at >= position);
    return index < 0 ? positions.length : index;
  }

  #follow(step) {
    const [first, last] = this.zoom;
    const shift = step < first ? step - first : step > last ? step - last : 0;
    if (shift === 0) return;
    this.zoom = [first + shift, last + shift];
  }
}
