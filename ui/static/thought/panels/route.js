/** Panel: the route through the picture that the answer of a tick takes. */

import { Painter } from "../../common/canvas.js";
import { BLUE } from "../../common/colour.js";
import { formatCount } from "../../common/format.js";
import { getEarlierRoute } from "../../common/journey.js";
import { clamp, readArray, readInteger } from "../../common/validate.js";
import { drawPicture } from "../images.js";
import { MAX_POSITIONS } from "../limits.js";
import { drawAttentionOverlay, sumHeadWeights } from "./attention.js";

const [MIN_SIDE, MAX_SIDE] = [220, 480];
const EARLIER_COLOUR = "#E69F00"; // orange of Okabe and Ito
const SCREEN_SHARE = 0.44; // of the height of the screen, so that the controls below are seen

/**
 * Parse routes.
 *
 * @param {unknown} routes - By tick, rows and columns in turn.
 * @param {number} ticks - Ticks of the thought.
 * @param {object | null} input - The parsed input, a picture.
 * @returns {number[][][] | null} By tick, [row, column] of each place; null without a route for every tick.
 */
export function parseRoutes(routes, ticks, input) {
  if (input?.kind !== "picture" || readArray(routes).length < ticks) return null;
  return readArray(routes, ticks).map((numbers) => {
    const flat = readArray(numbers, 2 * MAX_POSITIONS);
    return Array.from({ length: Math.floor(flat.length / 2) }, (_, at) => [
      readInteger(flat[2 * at], 0, input.height - 1),
      readInteger(flat[2 * at + 1], 0, input.width - 1),
    ]);
  });
}

/**
 * Return whether a route ends at the goal.
 *
 * @param {number[][]} route - [row, column] of each place.
 * @param {number[] | null} goal - [row, column].
 * @returns {boolean} Whether it does.
 */
export function reachesGoal(route, goal) {
  const end = route.at(-1);
  return Boolean(end && goal && end[0] === goal[0] && end[1] === goal[1]);
}

function countSteps(route) {
  return formatCount(Math.max(0, route.length - 1), "step");
}

function prepare({ thought, parts }) {
  const attention = thought.attention ? " Glow: attention." : "";
  const earlier = getEarlierRoute().length ? " Orange: the parts before it." : "";
  const caption = `Blue: the path predicted at this tick.${earlier} Ring: start; star: goal.${attention}`;
  parts["route-caption"].textContent = caption;
}

function draw(view, routes) {
  const { thought, tick, theme, parts } = view;
  const { input } = thought;
  const ratio = input.height / input.width;
  const side = clamp(window.innerHeight * SCREEN_SHARE, MIN_SIDE, MAX_SIDE);
  const width = Math.min(parts.route.clientWidth, side, side / ratio);
  const height = width * ratio;
  const painter = new Painter(parts.route, theme, height + 26);
  const left = (painter.width - width) / 2;
  drawPicture(painter, view, left, 0, width);
  if (thought.attention) {
    drawAttentionOverlay(painter, view, sumHeadWeights(thought.attention, tick), { left, top: 0, width, height });
  }
  const route = routes[tick - 1];
  drawEarlierParts(painter, left, width / input.width);
  drawPath(painter, input, route, left, width / input.width);
  const text = `tick ${tick}: ${countSteps(route)}${reachesGoal(route, input.goal) ? ", goal reached" : ""}`;
  painter.drawText(text, painter.width / 2, height + 15, { align: "center", weight: 600 });
}

/** Draw the parts of the route before the start was moved. */
function drawEarlierParts(painter, left, cell) {
  const points = getEarlierRoute().map(([row, column]) => [left + (column + 0.5) * cell, (row + 0.5) * cell]);
  if (points.length) painter.strokeLine(points, EARLIER_COLOUR, clamp(cell * 0.34, 2, 7));
}

function drawPath(painter, { start, goal }, route, left, cell) {
  const toPoint = ([row, column]) => [left + (column + 0.5) * cell, (row + 0.5) * cell];
  const points = route.map(toPoint);
  const lineWidth = clamp(cell * 0.34, 2, 7);
  painter.context.lineJoin = painter.context.lineCap = "round";
  painter.strokeLine(points, "#ffffff", lineWidth + 3);
  painter.strokeLine(points, BLUE, lineWidth);
  if (points.length) painter.fillDisc(points.at(-1), clamp(cell * 0.36, 3, 8), BLUE, "#ffffff");
  if (start) drawRing(painter, toPoint(start), clamp(cell * 0.42, 4, 10));
  if (goal) drawStar(painter, toPoint(goal), clamp(cell * 0.62, 6, 14));
}

function drawRing(painter, centre, radius) {
  painter.strokeCircle(centre, radius, "#000000", 4);
  painter.strokeCircle(centre, radius, "#ffffff", 2);
}

function drawStar({ context }, [x, y], radius) {
  context.beginPath();
  for (let corner = 0; corner < 10; corner++) {
    const distance = corner % 2 ? radius * 0.45 : radius;
    const angle = (corner * Math.PI) / 5 - Math.PI / 2;
    context.lineTo(x + distance * Math.cos(angle), y + distance * Math.sin(angle));
  }
  context.closePath();
  context.lineJoin = "round";
  context.strokeStyle = "#000000";
  context.lineWidth = 3;
  context.stroke();
  context.fillStyle = "#F0E442";
  context.fill();
}

function describe({ thought, tick }, routes) {
  const route = routes[tick - 1];
  const end = reachesGoal(route, thought.input.goal) ? " and reaches the goal" : "";
  return `At tick ${tick} the path has ${countSteps(route)}${end}`;
}

/** @type {import("../panel.js").Panel} */
export const routePanel = { name: "route", select: (thought) => thought.routes, prepare, draw, describe };
