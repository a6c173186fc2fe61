/** The prediction that is shown beside others on the same input: other stopping rules, or other models. */

import { createElement, findParts, setText } from "../common/dom.js";
import { computeTickInterval, Playback, prefersReducedMotion } from "../common/playback.js";
import { CheckpointSelection } from "../common/selection.js";
import { followShownUnroll, isStageAtEnd } from "../common/shown-unroll.js";
import { standAtStage } from "../common/stage-slots.js";
import { readObject, readText } from "../common/validate.js";
import { describeBaselines, MAX_CHOSEN, parseChoices, selectBaselines, selectRules } from "./choices.js";
import { describeResult } from "./describe.js";
import { Lane } from "./lanes.js";
import { parseEntry } from "./parse.js";
import { buildRow, ComparisonRunner } from "./runner.js";

const OWN_NAME = "Shown above";
const WAITING = { problem: "Computing …" };

/** One mounted component. */
export class CompareComponent {
  #props;
  #trigger;
  #parts;
  #playback;
  #runner;
  #selection = new CheckpointSelection();
  #checkpoint = "";
  #choices = [];
  #chosen = []; // choices that are compared
  #rows = new Map(); // by value of the choice
  #shown = null; // the unroll that the page shows
  #stageTick = 1;
  #previousTick = 1;
  #entries = [];
  #lanes = [];

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "compare");
    this.#playback = new Playback(() => element.isConnected);
    this.#runner = new ComparisonRunner({
      ask: (message) => this.#ask(message),
      onRow: (value, row) => this.#receiveRow(value, row),
    });
    const { models, rules, end } = this.#parts;
    models.addEventListener("click", () => this.#choose(selectBaselines(this.#choices)));
    rules.addEventListener("click", () => this.#choose(this.#listRules()));
    end.addEventListener("click", () => this.#choose([]));
    followShownUnroll((unroll, tick) => this.#follow(unroll, tick));
    standAtStage(this.#parts.root, element, "below");
  }

  /** Show the choices of another checkpoint, or take an answer of the server. */
  receive() {
    const value = readObject(this.#props.value);
    if ("serial" in value) this.#runner.receive(value);
    if (!this.#selection.accepts(value) || !("choices" in value)) return;
    this.#checkpoint = readText(value.selected, 400);
    this.#choices = parseChoices(value.choices);
    this.#runner.reset();
    this.#chosen = [];
    this.#rows.clear();
    this.#showChoices();
    this.#draw();
  }

  #ask(message) {
    this.#props.value = message;
    this.#trigger("input");
  }

  #listRules() {
    return selectRules(this.#choices, readText(this.#shown?.record?.policy, 500));
  }

  // --- choices ---

  #showChoices() {
    const { root, models, rules, choices } = this.#parts;
    const baselines = selectBaselines(this.#choices);
    root.hidden = !this.#choices.length || !this.#shown;
    models.hidden = !baselines.length;
    if (baselines.length) models.textContent = describeBaselines(baselines);
    rules.hidden = !this.#choices.some(({ policy }) => policy);
    choices.replaceChildren(...this.#choices.map((choice) => this.#createChoice(choice)));
    this.#markChoices();
  }

  #createChoice(choice) {
    const box = createElement("input", { type: "checkbox", value: choice.value });
    box.addEventListener("change", () => {
      const others = this.#chosen.filter(({ value }) => value !== choice.value);
      this.#choose(box.checked ? [...others, choice].slice(-MAX_CHOSEN) : others);
    });
    return createElement("label", {}, box, ` ${choice.name}`);
  }

  #markChoices() {
    const { models, rules, end, choices } = this.#parts;
    const values = this.#chosen.map(({ value }) => value);
    const isChosen = (list) => list.length > 0 && list.every(({ value }) => values.includes(value));
    models.setAttribute("aria-pressed", String(isChosen(selectBaselines(this.#choices))));
    rules.setAttribute("aria-pressed", String(isChosen(this.#listRules())));
    end.hidden = !values.length;
    for (const box of choices.querySelectorAll("input")) box.checked = values.includes(box.value);
  }

  #choose(choices) {
    this.#chosen = choices;
    this.#markChoices();
    this.#run();
  }

  // --- predictions ---

  /** Take the unroll and the tick that the page shows. */
  #follow(unroll, tick) {
    const isNew = unroll?.id !== this.#shown?.id;
    const isChanged = isNew || unroll?.record !== this.#shown?.record;
    const hasMoved = tick !== this.#stageTick;
    this.#shown = unroll;
    if (hasMoved) this.#previousTick = this.#stageTick;
    this.#stageTick = tick;
    this.#parts.root.hidden = !this.#choices.length || !unroll;
    if (isNew && this.#chosen.length) this.#run();
    else if (isChanged) this.#draw();
    else if (hasMoved) this.#move();
  }

  #run() {
    this.#rows.clear();
    this.#runner.stop();
    this.#draw();
    if (!this.#shown || !this.#chosen.length) return;
    if (readObject(this.#shown.record).checkpoint !== this.#checkpoint) return;
    this.#runner.run(this.#checkpoint, this.#chosen, this.#shown.isFromBrowser);
  }

  #receiveRow(value, row) {
    this.#rows.set(value, row);
    this.#draw();
  }

  // --- lanes ---

  #draw() {
    const { body, rows } = this.#parts;
    this.#playback.stop();
    body.hidden = !this.#chosen.length || !this.#shown;
    if (body.hidden) {
      this.#entries = [];
      this.#lanes = [];
      rows.replaceChildren();
      setText(this.#parts.status, "");
      return;
    }
    const own = parseEntry({ ...buildRow(readObject(this.#shown.record)), name: OWN_NAME });
    const others = this.#chosen.map((choice) =>
      parseEntry({ ...(this.#rows.get(choice.value) ?? WAITING), name: choice.name }),
    );
    this.#entries = [own, ...others];
    const longest = Math.max(...this.#entries.map(({ iterations }) => iterations), 1);
    this.#lanes = this.#entries.map((entry) => new Lane(entry, longest));
    rows.replaceChildren(...this.#lanes.map(({ root }) => root));
    this.#move();
  }

  /** Show the tick of the stage; lanes that need more ticks play on when the stage has ended. */
  #move() {
    this.#playback.stop();
    if (!this.#lanes.length) return;
    const last = Math.max(...this.#entries.map(({ ticks }) => ticks));
    const hasEnded = isStageAtEnd(this.#stageTick, this.#previousTick, this.#entries[0]);
    if (!hasEnded) this.#show(this.#stageTick);
    else if (last <= this.#stageTick || prefersReducedMotion()) this.#finish(last);
    else {
      this.#playback.start({
        first: this.#stageTick,
        last,
        interval: computeTickInterval(last),
        onTick: (tick) => this.#show(tick),
        onEnd: () => this.#finish(last),
      });
    }
  }

  #show(tick) {
    for (const lane of this.#lanes) lane.show(tick);
    setText(this.#parts.status, "");
  }

  #finish(last) {
    this.#show(last);
    const isWaiting = this.#chosen.some(({ value }) => !this.#rows.has(value));
    setText(this.#parts.status, isWaiting ? "" : describeResult(this.#entries));
  }
}
