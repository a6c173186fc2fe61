/** Button that lets a maze model go on: the start moves to the end of the predicted route, until the goal or no progress. */

import { findParts, setText } from "../common/dom.js";
import { formatCount } from "../common/format.js";
import { setEarlierRoute } from "../common/journey.js";
import { followShownUnroll, isStageAtEnd } from "../common/shown-unroll.js";
import { standAtStage } from "../common/stage-slots.js";
import { hasPixels, moveStart, parseMazeRecord } from "./maze-record.js";

const GO_TEXT = "Go on from the end of the path";
const STOP_TEXT = "Stop";

/** One mounted component. Its value `content` is the next maze as a `data:` URL. */
export class TeleportComponent {
  #props;
  #trigger;
  #parts;
  #record = null; // as it came
  #maze = null;
  #next = null; // pixels of the maze that was asked for
  #earlier = []; // parts of the route so far
  #lastStepsLeft = Number.POSITIVE_INFINITY;
  #isRunning = false;
  #tick = 1;

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "teleport");
    this.#parts.go.addEventListener("click", () => this.#toggle());
    standAtStage(this.#parts.root, element, "actions");
    followShownUnroll((unroll, tick) => {
      if (unroll?.record !== this.#record) this.#receive(unroll?.record ?? null);
      const previous = this.#tick;
      this.#tick = tick;
      if (this.#isRunning && this.#maze && isStageAtEnd(tick, previous, this.#maze)) this.#proceed();
    });
  }

  /** Take a record: the next part of the route, or something else. */
  #receive(record) {
    this.#record = record;
    if (record?.is_complete === false && !record.is_stopped) return; // it grows
    this.#maze = parseMazeRecord(record);
    if (!hasPixels(this.#maze, this.#next)) {
      this.#earlier = [];
      this.#lastStepsLeft = Number.POSITIVE_INFINITY;
      this.#isRunning = false;
      setText(this.#parts.status, "");
    }
    this.#next = null;
    setEarlierRoute(this.#earlier.flat());
    this.#show();
  }

  get #canGoOn() {
    return this.#maze !== null && this.#maze.stepsLeft > 0 && this.#maze.route.length > 1;
  }

  #show() {
    const { root, go, status } = this.#parts;
    go.hidden = !this.#canGoOn;
    go.textContent = this.#isRunning ? STOP_TEXT : GO_TEXT;
    root.hidden = go.hidden && !status.textContent;
  }

  #toggle() {
    this.#isRunning = !this.#isRunning;
    if (!this.#isRunning) setText(this.#parts.status, "");
    this.#lastStepsLeft = Number.POSITIVE_INFINITY;
    if (this.#isRunning) this.#proceed();
    this.#show();
  }

  /** Ask for the next part once the present one is shown to its end. */
  #proceed() {
    if (this.#next) return; // asked for already
    const { stepsLeft, route } = this.#maze;
    if (!this.#canGoOn || stepsLeft >= this.#lastStepsLeft) {
      this.#finish(stepsLeft);
      return;
    }
    this.#lastStepsLeft = stepsLeft;
    this.#earlier = [...this.#earlier, route];
    this.#next = moveStart(this.#maze);
    setText(this.#parts.status, `Part ${this.#earlier.length + 1}: the start is where the path ended.`);
    this.#props.value = { content: this.#encode(this.#next) };
    this.#trigger("input");
  }

  #finish(stepsLeft) {
    this.#isRunning = false;
    const parts = [...this.#earlier, this.#maze.route];
    const steps = parts.reduce((sum, part) => sum + part.length - 1, 0);
    const end = stepsLeft === 0 ? "Goal reached" : "It comes no nearer to the goal: it stops";
    setText(this.#parts.status, `${end} after ${formatCount(parts.length, "part")} and ${formatCount(steps, "step")}.`);
    this.#show();
  }

  #encode(pixels) {
    const { width, height } = this.#maze;
    const image = new ImageData(width, height);
    for (let place = 0; place < width * height; place++) {
      image.data.set([...pixels.subarray(3 * place, 3 * place + 3), 255], 4 * place);
    }
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  }
}
