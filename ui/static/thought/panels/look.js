/** Panel: the input picture with the attention of all heads over it, for tasks whose answer is no picture. */

import { Painter } from "../../common/canvas.js";
import { clamp } from "../../common/validate.js";
import { drawPicture } from "../images.js";
import { drawAttentionOverlay, selectLook, sumHeadWeights } from "./attention.js";

const [MIN_SIDE, MAX_SIDE] = [160, 300];
const SCREEN_SHARE = 0.3; // of the height of the screen, so that the controls below are seen

function draw(view, { width: columns, height: rows }) {
  const { thought, tick, parts, theme } = view;
  const side = clamp(window.innerHeight * SCREEN_SHARE, MIN_SIDE, MAX_SIDE);
  const width = Math.min(parts.look.clientWidth, side, (side * columns) / rows);
  const height = (width * rows) / columns;
  const painter = new Painter(parts.look, theme, height);
  const left = (painter.width - width) / 2;
  drawPicture(painter, view, left, 0, width);
  drawAttentionOverlay(painter, view, sumHeadWeights(thought.attention, tick), { left, top: 0, width, height });
  painter.strokeRect(left + 0.5, 0.5, width - 1, height - 1, theme.line);
}

function describe({ tick }, { width, height }) {
  return `Attention of all heads at tick ${tick} over the input picture of ${width} by ${height} pixels`;
}

/** @type {import("../panel.js").Panel} */
export const lookPanel = { name: "look", select: selectLook, draw, describe };
