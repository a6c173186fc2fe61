/** Panel: what is shown one thing after the other. */

import { Painter } from "../../common/canvas.js";
import { clamp, isNumber, readArray, readInteger, readObject, readText } from "../../common/validate.js";
import { drawPicture } from "../images.js";
import { layOutCells } from "../layout.js";
import { MAX_POSITIONS, MAX_TICKS } from "../limits.js";

const MIN_CELL_WIDTH = 56;
const MAX_CELL_WIDTH = 84;

/**
 * @typedef {object} Phase
 * @property {string} name - What is shown.
 * @property {number} from - Its first tick.
 * @property {number} until - Its last tick.
 * @property {number | null} picture - Number of its square in the strip of pictures; null if it has no picture.
 */

/**
 * Parse a schedule.
 *
 * @param {unknown} phases - The record's part on phases.
 * @param {object | null} input - The parsed input: a strip of square pictures.
 * @returns {Phase[] | null} The phases; null if there are none or if one has no valid ticks.
 */
export function parseSchedule(phases, input) {
  const pictures = input?.kind === "picture" ? Math.floor(input.width / input.height) : 0;
  const schedule = readArray(phases, MAX_POSITIONS)
    .map(readObject)
    .map(({ name, from, until, picture }) => ({
      name: readText(name, 24),
      from: readInteger(from, 0, MAX_TICKS),
      until: readInteger(until, 0, MAX_TICKS),
      picture: isNumber(picture) && picture >= 0 && picture < pictures ? Math.floor(picture) : null,
    }));
  const isValid = schedule.every(({ from, until }) => from >= 1 && from <= until);
  return pictures && schedule.length && isValid ? schedule : null;
}

/**
 * Find the phase of a tick.
 *
 * @param {Phase[] | null} schedule - The phases.
 * @param {number} tick - The tick, from 1.
 * @returns {Phase | null} The phase; null if nothing is shown.
 */
export function findPhase(schedule, tick) {
  return schedule?.find(({ from, until }) => from <= tick && tick <= until) ?? null;
}

/**
 * Draw what is shown in a phase: its picture, or its name where it has none.
 *
 * @param {Painter} painter - Draws.
 * @param {import("../panel.js").ThoughtView} view - What is shown.
 * @param {Phase} phase - The phase.
 * @param {number} left - Left edge.
 * @param {number} top - Upper edge.
 * @param {number} side - Width and height.
 */
export function drawPhase(painter, view, { name, picture }, left, top, side) {
  if (picture !== null) {
    drawPicture(painter, view, left, top, side, picture);
    return;
  }
  const size = Math.min(24, (side * 1.3) / name.length);
  const style = { align: "center", size, weight: 600, maxWidth: side - 4 };
  painter.drawText(name, left + side / 2, top + side / 2, style);
}

function prepare({ thought, parts }) {
  const { inputTicks } = thought;
  const answering = inputTicks ? ` The model answers after tick ${inputTicks}.` : "";
  parts["schedule-caption"].textContent =
    `The digits and the question are shown one at a time, for the ticks written below. The frame marks this tick.${answering}`;
}

function draw(view, schedule) {
  const { tick, isPlaying, theme, parts } = view;
  const width = parts.schedule.clientWidth;
  const cellWidth = clamp(Math.floor(width / schedule.length), MIN_CELL_WIDTH, MAX_CELL_WIDTH);
  const side = cellWidth - 8;
  const { places, rows } = layOutCells(schedule.length, 1, cellWidth, width);
  const painter = new Painter(parts.schedule, theme, rows * (side + 24) + 4);
  const current = findPhase(schedule, tick);
  for (const [index, { x, row }] of places.entries()) {
    const phase = schedule[index];
    const opacity = isPlaying && phase.from > tick ? 0.3 : 1; // while it plays, a phase that is still to come is pale
    painter.withAlpha(opacity, () => {
      drawCard(painter, view, phase, { left: x + 2, top: row * (side + 24) + 2, side, isCurrent: phase === current });
    });
  }
}

function drawCard(painter, view, phase, { left, top, side, isCurrent }) {
  const { theme } = view;
  drawPhase(painter, view, phase, left, top, side);
  painter.strokeRect(left, top, side, side, isCurrent ? theme.text : theme.line, isCurrent ? 3 : 1);
  const colour = isCurrent ? theme.text : theme.muted;
  const style = { align: "center", size: 11, colour, weight: isCurrent ? 700 : 400, maxWidth: side + 8 };
  painter.drawText(`${phase.from}\u2013${phase.until}`, left + side / 2, top + side + 11, style);
}

function describe({ thought, tick }, schedule) {
  const phase = findPhase(schedule, tick);
  const answering = tick > thought.inputTicks ? "the model may answer" : `it answers after tick ${thought.inputTicks}`;
  return `At tick ${tick} ${phase ? `the input is ${phase.name}` : "nothing is shown"}; ${answering}`;
}

/** @type {import("../panel.js").Panel} */
export const schedulePanel = { name: "schedule", select: (thought) => thought.schedule, prepare, draw, describe };
