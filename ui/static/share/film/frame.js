/** One frame of a film: what the stage shows at one tick, on one canvas of a fixed size. */

import { Painter } from "../../common/canvas.js";
import { describeInterimAnswer, describeVerdict } from "../../thought/describe.js";
import { ImageCache } from "../../thought/images.js";
import { chartPanel } from "../../thought/panels/chart.js";
import { distributePanels, PANELS } from "../../thought/stage.js";

/** Size of a frame in pixels. */
export const FRAME = { width: 1080, height: 608 };
const STAGE = { left: 24, top: 60, width: 600, height: 504 };
const SIDE = { left: 652, top: 60, width: 404, height: 504 };
const PANEL_GAP = 14;
const CHART_ROOM = 274; // height of the chart with its row of phases, and a gap
const LINE_HEIGHT = 22;
const MAX_LINES = 6;
const SIDE_BY_SIDE = ["look", "input"]; // a picture that leaves room for its answer beside it
const FOOTER = "Continuous Thought Machine";

/**
 * Break a text into lines.
 *
 * @param {string} text - The text.
 * @param {number} maxWidth - Width of a line in pixels.
 * @param {(text: string) => number} measure - Measures a text in pixels.
 * @param {number} maxLines - Lines at most; the last one then ends with an ellipsis.
 * @returns {string[]} The lines.
 */
export function breakLines(text, maxWidth, measure, maxLines) {
  const lines = [];
  let line = "";
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const longer = line ? `${line} ${word}` : word;
    if (line && measure(longer) > maxWidth) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  if (line) lines.push(line);
  if (lines.length <= maxLines) return lines;
  return [...lines.slice(0, maxLines - 1), `${lines[maxLines - 1]}\u2026`];
}

/**
 * Place panels on the stage: a picture beside its answer, everything else one below the other, scaled down where there is no room.
 *
 * @param {{name: string, width: number, height: number}[]} panels - Names and sizes as drawn.
 * @param {{left: number, top: number, width: number, height: number}} room - The room for all of them.
 * @returns {{name: string, left: number, top: number, width: number, height: number}[]} Where each one goes.
 */
export function placePanels(panels, room) {
  if (isSideBySide(panels.map(({ name }) => name))) {
    const [first, ...others] = panels;
    const half = (room.width - PANEL_GAP) / 2;
    const right = { ...room, left: room.left + half + PANEL_GAP, width: half };
    return [...stack([first], { ...room, width: half }), ...stack(others, right)];
  }
  return stack(panels, room);
}

function stack(panels, room) {
  const gaps = PANEL_GAP * (panels.length - 1);
  const total = panels.reduce((sum, { height }) => sum + height, 0);
  const scale = Math.min(1, (room.height - gaps) / total, ...panels.map(({ width }) => room.width / width));
  let top = room.top + Math.max(0, (room.height - gaps - total * scale) / 2);
  return panels.map(({ name, width, height }) => {
    const place = {
      name,
      left: room.left + (room.width - width * scale) / 2,
      top,
      width: width * scale,
      height: height * scale,
    };
    top += place.height + PANEL_GAP;
    return place;
  });
}

function isSideBySide(names) {
  return names.length > 1 && SIDE_BY_SIDE.includes(names[0]);
}

/** Draws frames of one thought. Frames depend on the tick alone. */
export class FrameComposer {
  #thought;
  #title;
  #theme;
  #canvas;
  #images = new ImageCache();
  #parts = {};

  /**
   * @param {import("../../thought/parse-record.js").Thought} thought - What is shown.
   * @param {object} options - How it looks.
   * @param {string} options.title - Title above the stage.
   * @param {import("../../thought/theme.js").ThoughtTheme} options.theme - Colours and font.
   */
  constructor(thought, { title, theme }) {
    this.#thought = thought;
    this.#title = title;
    this.#theme = theme;
    this.#canvas = createSizedCanvas(FRAME.width);
  }

  /** The canvas of the frames. */
  get canvas() {
    return this.#canvas;
  }

  /**
   * Draw a frame.
   *
   * @param {number} tick - The tick, from 1.
   * @param {boolean} isFinal - Whether the answer counts: the verdict and the sentence are shown.
   */
  draw(tick, isFinal) {
    const painter = new Painter(this.#canvas, this.#theme, FRAME.height);
    painter.fillRect(0, 0, FRAME.width, FRAME.height, this.#theme.background);
    painter.drawText(this.#title, STAGE.left, 32, { size: 20, weight: 700, maxWidth: 800 });
    const style = { align: "right", colour: this.#theme.muted, size: 13 };
    painter.drawText(FOOTER, FRAME.width - 24, 32, style);
    painter.context.imageSmoothingEnabled = true;
    this.#drawStage(painter, tick, isFinal);
    this.#drawSide(painter, tick, isFinal);
    this.#drawProgress(painter, tick);
  }

  #buildView(tick, isFinal) {
    const [thought, theme, parts, images] = [this.#thought, this.#theme, this.#parts, this.#images];
    return { thought, tick, isPlaying: !isFinal && tick <= thought.ticks, theme, parts, images };
  }

  #drawPanel(panel, tick, isFinal, width) {
    this.#parts[panel.name] ??= createSizedCanvas(width);
    const view = this.#buildView(tick, isFinal);
    panel.draw(view, panel.select(this.#thought));
    const canvas = this.#parts[panel.name];
    return { name: panel.name, width, height: canvas.clientHeight, canvas };
  }

  #drawStage(painter, tick, isFinal) {
    const names = distributePanels(this.#thought).stage;
    const width = isSideBySide(names) ? (STAGE.width - PANEL_GAP) / 2 : STAGE.width;
    const panels = names.map((name) => PANELS.find((panel) => panel.name === name));
    const drawn = panels.map((panel) => this.#drawPanel(panel, tick, isFinal, width));
    for (const place of placePanels(drawn, STAGE)) {
      const { canvas } = drawn.find(({ name }) => name === place.name);
      painter.context.drawImage(canvas, place.left, place.top, place.width, place.height);
    }
  }

  #drawSide(painter, tick, isFinal) {
    const { iterations, sentence } = this.#thought;
    const { left, top, width, height } = SIDE;
    if (iterations > 1) {
      painter.drawText(`Tick ${tick}`, left, top + 18, { size: 34, weight: 700 });
      const style = { align: "right", colour: this.#theme.muted, size: 15 };
      painter.drawText(`of at most ${iterations}`, left + width, top + 22, style);
    }
    const verdict = isFinal ? describeVerdict(this.#thought) : "";
    const colour = verdict.startsWith("Correct") ? this.#theme.right : this.#theme.energy;
    if (verdict) painter.drawText(verdict, left, top + 58, { size: 17, weight: 700, colour });
    const text = isFinal ? sentence : describeInterimAnswer(this.#thought, tick);
    const lines = breakLines(text, width, (part) => painter.measureText(part, 16), MAX_LINES);
    for (const [index, line] of lines.entries()) {
      painter.drawText(line, left, top + (verdict ? 88 : 62) + LINE_HEIGHT * index, { size: 16, maxWidth: width });
    }
    if (!chartPanel.select(this.#thought)) return;
    const chart = this.#drawPanel(chartPanel, tick, isFinal, width);
    painter.context.drawImage(chart.canvas, left, top + height - CHART_ROOM, chart.width, chart.height);
  }

  #drawProgress(painter, tick) {
    const { ticks } = this.#thought;
    const width = FRAME.width - 48;
    painter.fillRect(24, FRAME.height - 18, width, 4, this.#theme.line);
    painter.fillRect(24, FRAME.height - 18, (width * Math.min(tick, ticks)) / ticks, 4, this.#theme.accent);
  }
}

/** Create a canvas outside of the page that has a size for those who draw on it. */
function createSizedCanvas(width) {
  const canvas = document.createElement("canvas");
  Object.defineProperty(canvas, "clientWidth", { value: width });
  Object.defineProperty(canvas, "clientHeight", { get: () => Number.parseFloat(canvas.style.height) || 0 });
  return canvas;
}
