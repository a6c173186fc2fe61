/** The view of a thought: it draws one record at one tick, and plays it by drawing one tick after the other. */

import { findParts, setText } from "../common/dom.js";
import { saveFile } from "../common/download.js";
import { formatProbability } from "../common/format.js";
import { computeTickInterval, Playback, prefersReducedMotion } from "../common/playback.js";
import { CheckpointSelection } from "../common/selection.js";
import { acceptPositions, showTick, showUnroll } from "../common/shown-unroll.js";
import { clamp, isNumber, packObject, readPackedObject, readText } from "../common/validate.js";
import { Demo } from "./demo.js";
import {
  describeDuration,
  describeEstimate,
  describeInterimAnswer,
  describeQuantities,
  describeTick,
  describeVerdict,
  findLargest,
} from "./describe.js";
import { formatCsv } from "./export.js";
import { ImageCache } from "./images.js";
import { findKeyAction } from "./keyboard.js";
import { LiveRecord } from "./live-record.js";
import { findTickAt } from "./panels/chart.js";
import { parseRecord } from "./parse-record.js";
import { distributePanels, PANELS } from "./stage.js";
import { readThoughtTheme } from "./theme.js";
import { ThresholdDrag } from "./threshold-drag.js";

const EMPTY_TEXT = "Pick an example, or make your own input.";
const TIP_GAP = 14; // pixels between the pointer and the tip

/** A result that follows another one sooner than this is shown at its end: the visitor is changing the input or the policy. */
const MIN_REPLAY_GAP_MS = 700;

/** One mounted component. */
export class ThoughtComponent {
  #element;
  #props;
  #trigger;
  #parts;
  #playback;
  #thresholdDrag;
  #selection = new CheckpointSelection();
  #live = new LiveRecord();
  #demo = new Demo((record, title) => {
    this.#demoTitle = title;
    this.#showRecord(record);
  });
  #demoTitle = ""; // of the recorded unroll that is shown
  #record = {}; // what is shown, as it came
  #thought = null;
  #tick = 1;
  #hasEnded = false; // playing came to its end and nothing has moved since, so playing starts again from tick 1
  #tickBeforeHover = null;
  #theme = null;
  #images = new ImageCache();
  #receivedAt = Number.NEGATIVE_INFINITY;
  #requestedPolicy = null; // what this component wrote last into its value

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#element = element;
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "thought");
    this.#playback = new Playback(() => element.isConnected);
    this.#thresholdDrag = new ThresholdDrag(this.#parts.chart, {
      getThought: () => this.#thought,
      onMove: (index, level) => this.#moveThreshold(index, level),
      onPolicy: (policy) => this.#requestPolicy(policy),
    });
    this.#listen();
    acceptPositions((position) => this.#goTo(1 + position * ((this.#thought?.ticks ?? 1) - 1)));
  }

  /** Width that drawing depends on, in pixels. Heights follow from drawing, so they do not count. */
  get width() {
    return this.#parts.root.clientWidth;
  }

  #listen() {
    const { play, back, forward, slider, speed, chart, json, csv } = this.#parts;
    play.addEventListener("click", () => (this.#playback.isRunning ? this.#goTo(this.#tick) : this.#replay()));
    back.addEventListener("click", () => this.#goTo(this.#tick - 1));
    forward.addEventListener("click", () => this.#goTo(this.#tick + 1));
    slider.addEventListener("input", () => this.#goTo(Number(slider.value)));
    speed.addEventListener("change", () => this.#playback.isRunning && this.#play());
    for (const name of ["pointermove", "pointerdown", "pointerup", "pointercancel", "pointerleave"]) {
      chart.addEventListener(name, (event) => this.#handlePointer(event));
    }
    const onKey = (event) => {
      if (this.#element.isConnected) this.#handleKey(event);
      else document.removeEventListener("keydown", onKey);
    };
    document.addEventListener("keydown", onKey);
    json.addEventListener("click", () => {
      if (this.#thought) this.#download(JSON.stringify(this.#record, null, 1), "application/json", "json");
    });
    csv.addEventListener("click", () => {
      if (this.#thought) this.#download(formatCsv(this.#thought), "text/csv", "csv");
    });
  }

  /** Show the current value from its beginning, unless it is a late result of another checkpoint. */
  receive() {
    const value = readPackedObject(this.#props.value);
    this.#demo.stop();
    if (value.demo) this.#demo.start(value.demo);
    if (!this.#selection.accepts(value)) return;
    if (this.#requestedPolicy !== null && value.requested_policy === this.#requestedPolicy) return;
    if (value.problem) {
      if (this.#thought?.isGrowing) this.#endGrowth(); // what is shown stays; the page shows the problem
      return;
    }
    this.#demoTitle = "";
    const role = this.#live.receive(value);
    if (role === "outdated") return;
    if (role === "update" && this.#thought) {
      this.#update(value);
      return;
    }
    this.#showRecord(value);
  }

  /** Tell other components which unroll is shown; a recorded example is in no memory, so it does not count. */
  #announce() {
    const { id } = this.#record;
    const isInMemory = this.#thought && !this.#demoTitle;
    const { isFromBrowser } = this.#thought ?? {};
    showUnroll(isInMemory ? { id: readText(id, 40), isFromBrowser, record: this.#record } : null);
  }

  /** Show a record from its beginning. */
  #showRecord(record) {
    this.#record = record;
    this.#stop();
    this.#tickBeforeHover = null;
    this.#images = new ImageCache();
    this.#thought = parseRecord(this.#record);
    this.#announce();
    this.#showBody();
    if (!this.#thought) return;
    if (!this.#demoTitle) this.#scrollIntoView();
    this.#theme = this.#readTheme();
    this.#prepare();
    this.#tick = 1;
    const isQuickChange = !this.#demoTitle && performance.now() - this.#receivedAt < MIN_REPLAY_GAP_MS;
    this.#receivedAt = performance.now();
    const isStill = isQuickChange || this.#thresholdDrag.isActive || prefersReducedMotion();
    if (this.#thought.isPartial) this.#show(this.#thought.ticks);
    else if (this.#thought.ticks === 1 || isStill) this.#finish();
    else this.#play();
  }

  /** Show the ticks of a growing record as all there are: the unroll has failed, or another one was asked for. */
  #endGrowth() {
    this.#record = { ...this.#record, is_stopped: true, sentence: "" };
    this.#thought = parseRecord(this.#record);
    this.#prepare();
    this.#show(this.#tick);
  }

  /** Show more ticks of the record that is shown: the newest one, unless the visitor looks at another one. */
  #update(record) {
    const thought = parseRecord(record);
    if (!thought) return;
    [this.#record, this.#thought] = [record, thought];
    if (!thought.isPartial) this.#announce();
    this.#images = new ImageCache();
    this.#showBody();
    this.#prepare();
    const isFollowing = this.#live.isFollowing && this.#tickBeforeHover === null;
    if (this.#playback.isRunning) return;
    if (isFollowing && !thought.isPartial) this.#finish();
    else this.#show(isFollowing ? thought.ticks : this.#tick);
  }

  /** Scroll to the result: on a phone it may be below the input. */
  #scrollIntoView() {
    const isBelow = this.#element.getBoundingClientRect().top > window.innerHeight * 0.8;
    if (isBelow) this.#element.scrollIntoView();
  }

  /** Show the thought, or the invitation while there is none. */
  #showBody() {
    const { empty, body, tip } = this.#parts;
    if (this.#tickBeforeHover === null) tip.hidden = true;
    empty.textContent = this.#record.is_complete === false ? readText(this.#record.sentence) : EMPTY_TEXT;
    empty.hidden = this.#thought !== null;
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
    const { ticks, computedTicks, sentence, guarantee } = this.#thought;
    const { head, note, transport, keys, slider, estimate } = this.#parts;
    head.dataset.sentence = sentence;
    this.#parts.verdict.textContent = describeVerdict(this.#thought);
    this.#parts.verdict.dataset.verdict = this.#thought.verdict || "unfamiliar";
    this.#parts.verdict.hidden = !this.#parts.verdict.textContent;
    this.#parts.guarantee.textContent = guarantee;
    this.#parts.guarantee.hidden = !guarantee;
    note.textContent = this.#demoTitle ? "" : describeDuration(this.#thought);
    this.#parts.demo.textContent = this.#demoTitle ? `Recorded example: ${this.#demoTitle}` : "";
    this.#parts.sentence.setAttribute("aria-live", this.#demoTitle ? "off" : "polite");
    estimate.textContent = describeEstimate(this.#thought);
    transport.hidden = keys.hidden = computedTicks === 1;
    slider.max = String(computedTicks);
    slider.style.setProperty("--halt", `${computedTicks > 1 ? ((ticks - 1) / (computedTicks - 1)) * 100 : 100}%`);
    this.#arrange();
    const view = this.#buildView();
    for (const [panel, data] of this.#listShown()) panel.prepare?.(view, data);
  }

  /** Put the panels that have something to show on the stage and below it. */
  #arrange() {
    const { stage, below } = distributePanels(this.#thought);
    for (const { name, select } of PANELS) this.#parts[`${name}-panel`].hidden = !select(this.#thought);
    this.#place(this.#parts.stage, stage);
    this.#place(this.#parts.panels, below);
  }

  /** Put panels into a place in this order. Panels that are there already are not touched: moving one would lose its scroll position. */
  #place(place, names) {
    const panels = names.map((name) => this.#parts[`${name}-panel`]);
    const present = [...place.children].filter((child) => panels.includes(child));
    if (panels.some((panel, index) => panel !== present[index])) place.append(...panels);
    place.dataset.count = String(names.length);
    for (const panel of panels) panel.classList.toggle("thought-panel-last", panel === panels.at(-1));
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
    this.#tick = clamp(Math.round(tick), 1, this.#thought.computedTicks);
    showTick(this.#tick);
    const isPlaying = this.#playback.isRunning;
    const { sentence, ticks, iterations, answerTick, isGrowing } = this.#thought;
    this.#showTransport(isPlaying);
    const interim = describeInterimAnswer(this.#thought, this.#tick);
    const isFinal = !isGrowing && !isPlaying && (this.#tick === answerTick || !interim);
    const progress = isGrowing ? sentence : "";
    const thinking = [progress, interim].filter(Boolean).join(" ") || `Tick ${this.#tick} of up to ${iterations}`;
    this.#parts.root.classList.toggle("thought-after-halt", this.#tick > ticks);
    this.#parts.thinking.textContent = isFinal ? "" : thinking;
    setText(this.#parts.sentence, isFinal ? sentence : "");
    this.#parts.verdict.classList.toggle("thought-pending", !isFinal);
    this.#showConfidence();
    const quantities = [interim, ...describeQuantities(this.#thought, this.#tick)].filter(Boolean).join(", ");
    const position = this.#tick > ticks ? describeTick(this.#thought, this.#tick) : `tick ${this.#tick} of ${ticks}`;
    this.#showSlider(`${position}: ${quantities}`);
    this.#parts.readout.textContent = describeTick(this.#thought, this.#tick);
    this.#parts.values.textContent = `tick ${this.#tick}: ${describeQuantities(this.#thought, this.#tick).join(", ")}`;
    this.draw();
  }

  /** Show the confidence at this tick as a meter. */
  #showConfidence() {
    const { confidence, meter, chance } = this.#parts;
    const value = this.#thought.chance?.[this.#tick - 1];
    confidence.hidden = !isNumber(value);
    if (confidence.hidden) return;
    meter.style.width = `${clamp(value, 0, 1) * 100}%`;
    chance.textContent = formatProbability(value);
  }

  #showTransport(isPlaying) {
    const { root, play, back, forward } = this.#parts;
    root.classList.toggle("thought-playing", isPlaying);
    play.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    play.title = isPlaying ? "Pause" : "Play";
    // Not `disabled`, which would drop the keyboard's focus.
    back.setAttribute("aria-disabled", this.#tick === 1);
    forward.setAttribute("aria-disabled", this.#tick === this.#thought.computedTicks);
  }

  #showSlider(text) {
    const { slider } = this.#parts;
    const { computedTicks } = this.#thought;
    slider.value = String(this.#tick);
    const share = computedTicks > 1 ? (this.#tick - 1) / (computedTicks - 1) : 0;
    slider.style.setProperty("--filled", `${share * 100}%`);
    slider.setAttribute("aria-valuetext", text);
  }

  /** Play because the visitor asked for it. */
  #replay() {
    this.#live.isFollowing = false;
    this.#play();
  }

  #play() {
    if (!this.#thought) return;
    const { ticks } = this.#thought;
    const first = this.#hasEnded || this.#tick >= ticks ? 1 : this.#tick;
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
    if (!prefersReducedMotion()) this.#demo.proceed();
  }

  #goTo(tick) {
    this.#stop();
    this.#tickBeforeHover = null;
    if (!this.#thought) return;
    this.#live.isFollowing = tick >= this.#thought.ticks;
    this.#show(tick);
  }

  // --- keyboard ---

  #handleKey(event) {
    if (!this.#thought || this.#thought.computedTicks === 1 || !this.#element.offsetParent) return;
    const action = findKeyAction(event, this.#element);
    if (!action) return;
    event.preventDefault();
    const { ticks, computedTicks, certainty } = this.#thought;
    if (action === "play" && this.#playback.isRunning) this.#goTo(this.#tick);
    else if (action === "play") this.#replay();
    else if (action === "back") this.#goTo(this.#tick - 1);
    else if (action === "forward") this.#goTo(this.#tick + 1);
    else if (action === "first") this.#goTo(1);
    else if (action === "last") this.#goTo(computedTicks);
    else if (action === "halt") this.#goTo(ticks);
    else this.#goTo(1 + findLargest(certainty.slice(0, ticks)));
  }

  // --- pointer in the chart ---

  #handlePointer(event) {
    if (!this.#thought) return;
    if (this.#thresholdDrag.handle(event)) {
      this.#parts.tip.hidden = true;
      event.preventDefault();
    } else if (event.type === "pointermove" || event.type === "pointerdown") this.#scrub(event);
    else if (event.type !== "pointerup") this.#endScrub();
  }

  /** Show a threshold where it is dragged to. */
  #moveThreshold(index, level) {
    const thresholds = this.#thought.thresholds.map((line, at) => (at === index ? { ...line, level } : line));
    this.#thought = { ...this.#thought, thresholds };
    this.draw();
  }

  /** Ask the page for another halting policy: it runs the model again on the same input. */
  #requestPolicy(policy) {
    this.#requestedPolicy = policy;
    this.#props.value = packObject({ ...this.#record, requested_policy: policy });
    this.#trigger("input");
  }

  /** Show the tick under the pointer: while hovering until the pointer leaves, after a press or touch permanently. */
  #scrub(event) {
    const isHovering = event.type === "pointermove" && event.pointerType === "mouse";
    if (this.#playback.isRunning && isHovering) return;
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
    if (!this.#thought || this.#tickBeforeHover === null) return;
    const isFollowing = this.#live.isFollowing && this.#thought.isGrowing;
    this.#goTo(isFollowing ? this.#thought.ticks : this.#tickBeforeHover);
  }

  // --- downloads ---

  #download(content, type, extension) {
    const id = readText(this.#record.id, 40).replace(/\W/g, "") || "one";
    saveFile(new Blob([content], { type }), `thought-${id}.${extension}`);
  }
}
