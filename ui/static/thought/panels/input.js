/** Panel: the input picture of a model without ticks, which no other panel shows. */

import { Painter } from "../../common/canvas.js";
import { drawPicture } from "../images.js";

const MAX_SIDE = 280;

/**
 * Select the input picture, unless another panel draws it.
 *
 * @param {import("../parse-record.js").Thought} thought - The thought.
 * @returns {object | null} The picture.
 */
export function selectInputPicture({ input, routes, attention, schedule }) {
  return input?.kind === "picture" && !routes && !attention && !schedule ? input : null;
}

function draw(view, { width: columns, height: rows }) {
  const { parts, theme } = view;
  const width = Math.min(parts.input.clientWidth, MAX_SIDE, (MAX_SIDE * columns) / rows);
  const painter = new Painter(parts.input, theme, (width * rows) / columns);
  drawPicture(painter, view, 0, 0, width);
}

function describe(_, { width, height }) {
  return `Input picture of ${width} by ${height} pixels, as the model sees it`;
}

/** @type {import("../panel.js").Panel} */
export const inputPanel = { name: "input", select: selectInputPicture, draw, describe };
