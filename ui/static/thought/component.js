/** The view of a thought: it draws one record at one tick, and plays it by drawing one tick after the other. */

import { createElement, findParts, setText } from "../common/dom.js";
import { computeTickInterval, Playback, prefersReducedMotion } from "../common/playback.js";
import { CheckpointSelection } from "../common/selection.js";
import { clamp, readObject, readText } from "../common/validate.js";
import { describeDuration, describeInterimAnswer, describeQuantities, describeVerdict } from "./describe.js";
import { formatCsv } from "./export.js";
import { ImageCache } from "./images.js";
import { activityPanel } from "./panels/activity.js";
import { answerPanel } from "./panels/answer.js";
import { attentionPanel } from "./panels/attention.js";
import { chartPanel, findTickAt } from "./panels/chart.js";
import { ctcPanel } from "./panels/ctc.js";
import { inputPanel } from "./panels/input.js";
import { routePanel } from "./panels/route.js";
import { schedulePanel } from "./panels/schedule.js";
import { stackPanel } from "./panels/stack.js";
import { trackingPanel } from "./panels/tracking.js";
import { parseRecord } from "./parse-record.js";
import { readThoughtTheme } from "./theme.js";

const EMPTY_TEXT = "Pick an example, or make your own input.";
const TIP_GAP = 14; // pixels between the pointer and the tip
const URL_LIFETIME_MS = 1000; // browsers begin a download within it

/** Panels in the order in which they are distributed over the columns. @type {import("./panel.js").Panel[]} */
const PANELS = [
  chartPanel,
  routePanel,
  trackingPanel,
  stackPanel,
  ctcPanel,
  schedulePanel,
  inputPanel,
  answerPanel,
  attentionPanel,
  activityPanel,
];

/** One mounted component. */
export class ThoughtComponent {
  #element;
  #props;
  #parts;
  #playback;
  #selection = new CheckpointSelection();
  #record = {}; // what is shown, as it came
  #thought = null;
  #tick = 1;
  #hasEnded = false; // playing came to its end and nothing has moved since, so playing starts again from tick 1
  #tickBeforeHover = null;
  #theme = null;
  #images = new ImageCache();

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props }) {
    this.#element = element;
    this.#props = props;
    this.#parts = findParts(element, "thought");
    this.#playback = new Playback(() => element.isConnected);
    this.#listen();
  }

  /** Width that drawing depends on, in pixels. Heights follow from drawing, so they do not count. */
  get width() {
    return this.#parts.root.clientWidth;
  }

  #listen() {
    const { play, back, forward, slider, speed, chart, json, csv } = this.#parts;
    play.addEventListener("click", () => (this.#playback.isRunning ? this.#goTo(this.#tick) : this.#play()));
    back.addEventListener("click", () => this.#goTo(this.#tick - 1));
    forward.addEventListener("click", () => this.#goTo(this.#tick + 1));
    slider.addEventListener("input", () => this.#goTo(Number(slider.value)));
    speed.addEventListener("change", () => this.#playback.isRunning && this.#play());
    for (const name of ["pointermove", "pointerdown"]) chart.addEventListener(name, (event) => this.#scrub(event));
    for (const name of ["pointerleave", "pointercancel"]) chart.addEventListener(name, () => this.#endScrub());
    json.addEventListener("click", () => {
      if (this.#thought) this.#download(JSON.stringify(this.#record, null, 1), "application/json", "json");
    });
    csv.addEventListener("click", () => {
      if (this.#thought) this.#download(formatCsv(this.#thought), "text/csv", "csv");
    });
  }

  /** Show the current value from its beginning, unless it is a late result of another checkpoint. */
  receive() {
    if (!this.#selection.accepts(this.#props.value)) return;
    const problem = readText(readObject(this.#props.value).problem);
    if (problem && this.#thought) {
      this.#showEmptyText(problem); // what is shown stays
      this.#scrollIntoView();
      return;
    }
    this.#record = readObject(this.#props.value);
    this.#stop();
    this.#tickBeforeHover = null;
    this.#images = new ImageCache();
    this.#thought = parseRecord(this.#record);
    this.#showEmptyText(problem);
    if (this.#thought || problem) this.#scrollIntoView();
    if (!this.#thought) return;
    this.#theme = this.#readTheme();
    this.#prepare();
    this.#tick = 1;
    if (this.#thought.ticks === 1 || prefersReducedMotion()) this.#finish();
    else this.#play();
  }

  /** Scroll to the result, or to the error: on a phone it is below the input. */
  #scrollIntoView() {
    const isBelow = this.#element.getBoundingClientRect().top > window.innerHeight * 0.8;
    if (isBelow) this.#element.scrollIntoView();
  }

  #showEmptyText(problem) {
    const { empty, body, tip } = this.#parts;
    tip.hidden = true;
    empty.textContent = problem || EMPTY_TEXT;
    empty.classList.toggle("thought-problem", problem !== "");
    empty.hidden = this.#thought !== null && problem === "";
    body.hidden = this.#thought === null;
  }

  /** Draw anew after the theme of the page has changed. */
  refreshTheme() {
    if (!this.#thought) return;
    this.#images = new ImageCache();
    this.#theme = this.#readTheme();
    this.#prepare();
    this.draw();
  }

  #readTheme() {
    return readThoughtTheme(this.#parts.root, this.#parts.note);
  }

  /** @returns {import("./panel.js").ThoughtView} What panels receive. */
  #buildView() {
    return {
      thought: this.#thought,
      tick: this.#tick,
      isPlaying: this.#playback.isRunning,
      theme: this.#theme,
      parts: this.#parts,
      images: this.#images,
    };
  }

  // --- panels ---

  /** Write what does not change with the tick: titles, legends, captions, and which panels there are. */
  #prepare() {
    const { ticks, milliseconds, isFromBrowser, sentence, guarantee } = this.#thought;
    const { head, note, transport, slider } = this.#parts;
    head.dataset.sentence = sentence;
    this.#parts.verdict.textContent = describeVerdict(this.#thought);
    this.#parts.verdict.dataset.verdict = this.#thought.verdict || "unfamiliar";
    this.#parts.verdict.hidden = !this.#parts.verdict.textContent;
    this.#parts.guarantee.textContent = guarantee;
    this.#parts.guarantee.hidden = !guarantee;
    note.textContent = describeDuration(milliseconds, ticks, isFromBrowser);
    transport.hidden = ticks === 1;
    slider.max = String(ticks);
    this.#arrange();
    const view = this.#buildView();
    for (const [panel, data] of this.#listShown()) panel.prepare?.(view, data);
  }

  /** Distribute the panels that have something to show over both columns in turn; a narrow page shows them in one. */
  #arrange() {
    let shown = 0;
    for (const { name, select } of PANELS) {
      const panel = this.#parts[`${name}-panel`];
      const column = this.#parts[shown % 2 ? "right" : "left"];
      panel.hidden = !select(this.#thought);
      if (panel.hidden) continue;
      if (panel.parentNode !== column) column.append(panel);
      shown++;
    }
    this.#parts.right.hidden = shown < 2;
  }

  /** List the panels that have something to show, each with what it shows. */
  #listShown() {
    return PANELS.map((panel) => [panel, panel.select(this.#thought)]).filter(([, data]) => data);
  }

  /** Draw all panels. In a hidden tab nothing has a size yet: the size observer draws later. */
  draw() {
    if (!this.#thought || !this.#element.isConnected || !this.width) return;
    const view = this.#buildView();
    for (const [panel, data] of this.#listShown()) {
      panel.draw(view, data);
      this.#parts[panel.name].setAttribute("aria-label", panel.describe(view, data));
    }
    for (const frame of this.#element.querySelectorAll(".thought-scroll")) {
      frame.tabIndex = frame.scrollHeight > frame.clientHeight ? 0 : -1; // keyboards scroll what they can focus
    }
  }

  // --- ticks ---

  /**
   * Show a tick. The sentence is withheld while it plays, so that screen readers read it once, at the end; at another tick than
   * the one whose answer counts, the answer of that tick is in its place.
   */
  #show(tick) {
    this.#tick = clamp(Math.round(tick), 1, this.#thought.ticks);
    const isPlaying = this.#playback.isRunning;
    const { sentence, ticks, iterations, answerTick } = this.#thought;
    this.#showTransport(isPlaying);
    const interim = describeInterimAnswer(this.#thought, this.#tick);
    const isFinal = !isPlaying && (this.#tick === answerTick || !interim);
    this.#parts.thinking.textContent = isFinal ? "" : interim || `Tick ${this.#tick} of up to ${iterations}`;
    setText(this.#parts.sentence, isFinal ? sentence : "");
    this.#parts.verdict.classList.toggle("thought-pending", !isFinal);
    const quantities = [interim, ...describeQuantities(this.#thought, this.#tick)].filter(Boolean).join(", ");
    this.#showSlider(`tick ${this.#tick} of ${ticks}: ${quantities}`);
    this.#parts.readout.textContent = `Tick ${this.#tick} of ${ticks} (limit ${iterations})`;
    this.#parts.values.textContent = `tick ${this.#tick}: ${describeQuantities(this.#thought, this.#tick).join(", ")}`;
    this.draw();
  }

  #showTransport(isPlaying) {
    const { root, play, back, forward } = this.#parts;
    root.classList.toggle("thought-playing", isPlaying);
    play.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    play.title = isPlaying ? "Pause" : "Play";
    // Not `disabled`, which would drop the keyboard's focus.
    back.setAttribute("aria-disabled", this.#tick === 1);
    forward.setAttribute("aria-disabled", this.#tick === this.#thought.ticks);
  }

  #showSlider(text) {
    const { slider } = this.#parts;
    const { ticks } = this.#thought;
    slider.value = String(this.#tick);
    slider.style.setProperty("--filled", `${ticks > 1 ? ((this.#tick - 1) / (ticks - 1)) * 100 : 0}%`);
    slider.setAttribute("aria-valuetext", text);
  }

  #play() {
    if (!this.#thought) return;
    const { ticks } = this.#thought;
    const first = this.#hasEnded || this.#tick === ticks ? 1 : this.#tick;
    this.#stop();
    this.#playback.start({
      first,
      last: ticks,
      interval: computeTickInterval(ticks) * Number(this.#parts.speed.value),
      onTick: (tick) => this.#show(tick),
      onEnd: () => this.#finish(),
    });
  }

  #stop() {
    this.#playback.stop();
    this.#hasEnded = false;
  }

  /** End at the tick that the sentence speaks of, mostly the last one. */
  #finish() {
    this.#stop();
    this.#hasEnded = true;
    this.#show(this.#thought.answerTick);
  }

  #goTo(tick) {
    this.#stop();
    this.#tickBeforeHover = null;
    if (this.#thought) this.#show(tick);
  }

  // --- pointer in the chart ---

  /** Show the tick under the pointer: while hovering until the pointer leaves, after a press or touch permanently. */
  #scrub(event) {
    const isHovering = event.type === "pointermove" && event.pointerType === "mouse";
    if (!this.#thought || (this.#playback.isRunning && isHovering)) return;
    const { left, width } = this.#parts.chart.getBoundingClientRect();
    const x = event.clientX - left;
    const tick = findTickAt(this.#thought, x, width);
    if (isHovering) {
      this.#tickBeforeHover ??= this.#tick;
      this.#show(tick);
    } else this.#goTo(tick);
    this.#showTip(x);
  }

  #showTip(x) {
    const { tip, chart } = this.#parts;
    tip.textContent = [`tick ${this.#tick}`, ...describeQuantities(this.#thought, this.#tick)].join("\n");
    tip.hidden = false;
    const room = chart.clientWidth - tip.offsetWidth;
    const offset = x > room - TIP_GAP ? -TIP_GAP - tip.offsetWidth : TIP_GAP;
    tip.style.left = `${clamp(x + offset, 0, Math.max(0, room))}px`;
  }

  #endScrub() {
    this.#parts.tip.hidden = true;
    if (this.#thought && this.#tickBeforeHover !== null) this.#goTo(this.#tickBeforeHover);
  }

  // --- downloads ---

  #download(content, type, extension) {
    const id = readText(this.#record.id, 40).replace(/\W/g, "") || "one";
    const url = URL.createObjectURL(new Blob([content], { type }));
    createElement("a", { href: url, download: `thought-${id}.${extension}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), URL_LIFETIME_MS);
  }
}
