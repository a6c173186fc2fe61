/**
 * "Look inside": the neurons of a model, their pairs and what they contribute, for one unroll.
 *
 * The view gets its data from a source, see `sources.js`, and follows a tick that others set.
 */

import { createElement, setText } from "../common/dom.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { clamp, isNumber, readArray, readInteger, readText } from "../common/validate.js";
import { readNeuronModel } from "./arithmetic.js";
import { AttentionPanel } from "./attention.js";
import { buildRequest, ContributionCache } from "./contribution-cache.js";
import { ContributionsPanel } from "./contributions.js";
import { readOverview } from "./data.js";
import { createHelp } from "./help.js";
import { NeuronPanel } from "./neuron.js";
import { OverviewPanel } from "./overview.js";
import { PairPanel, readPair } from "./pair.js";
import { RasterPanel } from "./raster.js";
import { Tabs } from "./tabs.js";
import { readInsideTheme } from "./theme.js";

/**
 * @typedef {object} Query
 * @property {"answer" | "energy"} of - What is explained.
 * @property {number} position - Position of the answer, from 0.
 * @property {number | null} target - Class; null for the answer at the tick that is shown.
 * @property {number | "runner-up" | null} against - Class that is subtracted.
 *
 * @typedef {object} InsideState
 * @property {number} tick - The tick that is shown, from 1.
 * @property {number | null} neuron - The neuron that is selected.
 * @property {{kind: "out" | "action", index: number} | null} pair - The pair that is selected.
 * @property {"out" | "action" | "none"} lines - Pairs that the overview draws.
 * @property {"index" | "phase" | "correlation"} sort - Order of the raster.
 * @property {Query} query - What the contributions explain.
 *
 * @typedef {object} InsideActions
 * @property {(neuron: number | null, isOpened?: boolean, tick?: number) => void} selectNeuron - Selects a neuron, and perhaps a tick.
 * @property {(kind: "out" | "action", index: number, isOpened?: boolean) => void} selectPair - Selects a pair.
 * @property {(lines: string) => void} setLines - Chooses the pairs that the overview draws.
 * @property {(sort: string) => void} setSort - Chooses the order of the raster.
 * @property {(query: Partial<Query>) => void} setQuery - Chooses what the contributions explain.
 * @property {() => void} silence - Runs the model without the selected neuron.
 *
 * @typedef {object} SilencedUnroll
 * @property {boolean} isRunning - Whether the model still runs.
 * @property {string} problem - Why it could not run; empty if it could.
 * @property {number} ticks - Ticks that ran.
 * @property {number} answerTick - Tick whose answer counts.
 * @property {number[]} certainty - Certainty by tick.
 * @property {number[] | null} energy - Energy by tick.
 * @property {string[]} labelsByTick - Answer by tick.
 */

const EMPTY_TEXT = "Run the model first: then its neurons appear here.";
const SETTLE_MS = 90; // exact contributions are requested for a tick that is shown this long
const TABS = [
  ["contributions", "Contributions"],
  ["neuron", "Neuron"],
  ["pair", "Pair"],
  ["raster", "All neurons"],
  ["attention", "Attention"],
];
const START_QUERY = { of: "answer", position: 0, target: null, against: null };

/**
 * Mount the view.
 *
 * @param {HTMLElement} element - Element that it fills.
 * @param {import("./sources.js").InsideSource | null} source - Where the data comes from; null shows a hint.
 * @param {{onTick?: (tick: number) => void}} [options] - Called when the view itself selects a tick.
 * @returns {{setTick: (tick: number) => void, setSource: (source: import("./sources.js").InsideSource | null, tick?: number) =>
 *   Promise<void>, destroy: () => void}} The view.
 */
export function mountInside(element, source, options = {}) {
  const component = new InsideComponent(element, options);
  component.setSource(source);
  return {
    setTick: (tick) => component.setTick(tick),
    setSource: (next, tick) => component.setSource(next, tick),
    destroy: () => component.destroy(),
  };
}

/** One mounted view. */
export class InsideComponent {
  #root;
  #options;
  #status = createElement("p", { class: "inside-empty", role: "status" }, EMPTY_TEXT);
  #body = createElement("div", { class: "inside-body", hidden: "" });
  #tabs;
  #panels;
  #source = null;
  #overview = null;
  #theme = null;
  #wantedTick = null; // tick that was set before the overview arrived
  /** @type {InsideState} */
  #state = { tick: 1, neuron: null, pair: null, lines: "out", sort: "phase", query: START_QUERY };
  #neuronModel = null;
  #pair = null;
  #silenced = null;
  #contributions = new ContributionCache();
  #settling = 0;
  #frame = 0;

  /**
   * @param {HTMLElement} element - Element that the view fills.
   * @param {{onTick?: (tick: number) => void}} options - See `mountInside`.
   */
  constructor(element, options) {
    this.#options = options;
    this.#root = createElement("section", { class: "inside component", "aria-label": "Look inside the model" });
    const actions = this.#createActions();
    const overview = createPanel("overview", "Neurons and pairs");
    this.#tabs = new Tabs(TABS, () => this.#draw());
    this.#panels = { overview: new OverviewPanel(overview.body, actions) };
    const classes = {
      contributions: ContributionsPanel,
      neuron: NeuronPanel,
      pair: PairPanel,
      raster: RasterPanel,
      attention: AttentionPanel,
    };
    for (const [name, title] of TABS) {
      const panel = createPanel(name, title);
      this.#tabs.fill(name, panel.element);
      this.#panels[name] = new classes[name](panel.body, actions);
    }
    this.#body.append(overview.element, this.#tabs.element);
    this.#root.append(this.#status, this.#body);
    element.replaceChildren(this.#root);
    watchSize(
      this.#root,
      () => this.#root.clientWidth,
      () => this.#draw(),
    );
    watchTheme(this.#root, () => {
      this.#theme = null;
      this.#draw();
    });
  }

  #createActions() {
    return {
      selectNeuron: (neuron, isOpened = true, tick = this.#state.tick) => this.#selectNeuron(neuron, isOpened, tick),
      selectPair: (kind, index, isOpened = true) => this.#selectPair(kind, index, isOpened),
      setLines: (lines) => this.#change({ lines }),
      setSort: (sort) => this.#change({ sort }),
      setQuery: (query) => this.#change({ query: this.#completeQuery(query) }),
      silence: () => this.#silence(),
    };
  }

  /**
   * Show another unroll.
   *
   * @param {import("./sources.js").InsideSource | null} source - Where its data comes from; null shows a hint.
   * @param {number} [tick] - The tick to show; the one whose answer counts if it is missing.
   * @returns {Promise<void>} Resolves when it is shown.
   */
  async setSource(source, tick) {
    this.#source = source;
    this.#overview = null;
    this.#wantedTick = tick ?? null;
    this.#contributions.clear();
    this.#neuronModel = this.#pair = this.#silenced = null;
    this.#showStatus(source ? "Loading the neurons …" : EMPTY_TEXT);
    if (!source) return;
    try {
      const overview = readOverview(await source.getOverview());
      if (source !== this.#source) return;
      this.#start(overview);
    } catch (error) {
      if (source === this.#source) this.#showStatus(error.message);
    }
  }

  #showStatus(text) {
    setText(this.#status, text);
    this.#status.hidden = false;
    this.#body.hidden = true;
  }

  #start(overview) {
    this.#overview = overview;
    this.#status.hidden = true;
    this.#body.hidden = false;
    const { neuron, pair, lines } = this.#state;
    const keepsNeuron = neuron !== null && neuron < overview.neurons;
    const keepsPair = pair !== null && pair.index < (overview.pairs[pair.kind]?.count ?? 0);
    this.#state = {
      ...this.#state,
      tick: clamp(this.#wantedTick ?? overview.answerTick, 1, overview.ticks),
      neuron: keepsNeuron ? neuron : null,
      pair: keepsPair ? pair : null,
      lines: lines === "action" && !overview.pairs.action ? "out" : lines,
      query: { ...START_QUERY, position: overview.mainPosition },
    };
    this.#tabs.setAvailable("attention", overview.attention !== null);
    this.#panels.overview.setOverview(overview);
    if (keepsNeuron) this.#loadNeuron();
    if (keepsPair) this.#loadPair();
    this.#change({});
  }

  /**
   * Show a tick.
   *
   * @param {number} tick - The tick, from 1.
   */
  setTick(tick) {
    if (!this.#overview) this.#wantedTick = tick;
    else if (tick !== this.#state.tick) this.#change({ tick: clamp(Math.round(tick), 1, this.#overview.ticks) });
  }

  #change(changes) {
    this.#state = { ...this.#state, ...changes };
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#requestContributions(), SETTLE_MS);
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  // --- selection ---

  #selectNeuron(neuron, isOpened, tick) {
    if (tick !== this.#state.tick) this.#options.onTick?.(tick);
    const isOther = neuron !== this.#state.neuron;
    this.#change({ neuron, tick });
    if (neuron !== null && isOpened) this.#tabs.select("neuron");
    if (!isOther) return;
    this.#silenced = null;
    this.#loadNeuron();
  }

  #loadNeuron() {
    const { neuron } = this.#state;
    this.#neuronModel = null;
    if (neuron === null) return;
    this.#load(this.#source.getNeuron(neuron), (answer) => {
      if (neuron === this.#state.neuron) this.#neuronModel = readNeuronModel(answer);
    });
  }

  #selectPair(kind, index, isOpened) {
    this.#change({ pair: { kind, index } });
    if (isOpened) this.#tabs.select("pair");
    this.#loadPair();
  }

  #loadPair() {
    const { pair } = this.#state;
    this.#load(this.#source.getPair(pair.kind, pair.index), (answer) => {
      if (pair === this.#state.pair) this.#pair = readPair(answer);
    });
  }

  #silence() {
    const { neuron } = this.#state;
    if (neuron === null) return;
    this.#silenced = { isRunning: true, problem: "" };
    this.#draw();
    const keep = (silenced) => {
      if (neuron === this.#state.neuron) this.#silenced = silenced;
    };
    const fail = (error) => keep({ isRunning: false, problem: error.message });
    this.#load(this.#source.silence(neuron), (answer) => keep(readSilenced(answer)), fail);
  }

  /** Wait for an answer of the source, take it unless the source has changed, and draw. */
  async #load(promise, take, fail = () => {}) {
    const source = this.#source;
    try {
      const answer = await promise;
      if (source === this.#source) take(answer);
    } catch (error) {
      if (source === this.#source) fail(error);
    }
    if (source === this.#source) this.#draw();
  }

  // --- contributions ---

  #completeQuery(changes) {
    const query = { ...this.#state.query, ...changes };
    return "position" in changes
      ? { ...query, target: null, against: query.against === "runner-up" ? "runner-up" : null }
      : query;
  }

  #requestContributions() {
    if (!this.#overview) return;
    const request = buildRequest(this.#state, this.#overview);
    if (!this.#contributions.reserve(request)) return;
    this.#load(
      this.#source.getContributions(request),
      (answer) => this.#contributions.take(request, answer),
      () => this.#contributions.release(request),
    );
  }

  // --- drawing ---

  #draw() {
    const overview = this.#overview;
    if (!overview || !this.#root.clientWidth) return;
    this.#theme ??= readInsideTheme(this.#root, this.#root.querySelector(".inside-caption"));
    const [state, theme, panels] = [this.#state, this.#theme, this.#panels];
    const contributions = this.#contributions.get(buildRequest(state, overview), overview);
    panels.overview.draw(state, overview, theme, this.#getLineValues(contributions));
    const name = this.#tabs.selected;
    const values = contributions?.values ?? null;
    const isPairLoaded = this.#pair && this.#pair.kind === state.pair?.kind && this.#pair.pair === state.pair.index;
    const pair = isPairLoaded ? this.#pair : null;
    const contribution = pair?.kind === "out" && values && state.query.of === "answer" ? values[pair.pair] : null;
    if (name === "contributions") panels.contributions.draw(state, overview, theme, contributions);
    else if (name === "neuron") panels.neuron.draw(state, overview, theme, this.#neuronModel, values, this.#silenced);
    else if (name === "pair") panels.pair.draw(state, overview, theme, pair, contribution);
    else panels[name].draw(state, overview, theme);
  }

  /** Return the values that lines are drawn from: contributions, or the synchronisation of the looking pairs. */
  #getLineValues(contributions) {
    const { lines, tick } = this.#state;
    if (lines === "out") return contributions?.values ?? null;
    const pairs = this.#overview.pairs[lines];
    return pairs ? pairs.sync.subarray((tick - 1) * pairs.count, tick * pairs.count) : null;
  }

  /** Remove the view. */
  destroy() {
    clearTimeout(this.#settling);
    cancelAnimationFrame(this.#frame);
    this.#source = this.#overview = null;
    this.#panels.overview.destroy();
    this.#root.remove();
  }
}

/** Create a panel: title, help, and a body. */
function createPanel(name, title) {
  const help = createHelp(name, title);
  const head = createElement("div", { class: "inside-head" }, createElement("h3", {}, title), help.button);
  const body = createElement("div", { class: "inside-stack" });
  return {
    element: createElement("section", { class: `inside-panel inside-panel-${name}` }, head, help.text, body),
    body,
  };
}

/** Read the answer to the request "silence". */
function readSilenced(answer) {
  const ticks = readInteger(answer.ticks, 1, 100_000);
  const energy = readArray(answer.energy, ticks).filter(isNumber);
  return {
    isRunning: false,
    problem: "",
    ticks,
    answerTick: readInteger(answer.answer_tick, 1, ticks),
    certainty: readArray(answer.certainty, ticks).filter(isNumber),
    energy: energy.length === ticks ? energy : null,
    labelsByTick: readArray(answer.labels_by_tick, ticks).map((label) => readText(label)),
  };
}
