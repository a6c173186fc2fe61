/** The address follows the Think tab, and the Think tab follows the address. */

import { readAddress, writeAddress } from "../common/address.js";
import { followShownUnroll } from "../common/shown-unroll.js";
import { parseRecord } from "../thought/parse-record.js";
import { decodePicture, encodeInput } from "./input.js";

const WRITE_DELAY_MS = 300; // browsers limit how often a page may change its address
const HUB_ORIGIN = "https://huggingface.co";

/**
 * What is known of the selected checkpoint.
 *
 * @typedef {object} SelectedModel
 * @property {string} selected - Its name.
 * @property {string} first - Name of the checkpoint of the default page.
 * @property {"text" | "maze" | "picture"} kind - What it reads.
 * @property {string} defaultPolicy - Its default halting policy.
 */

/** Keeps the address and the tab in step. */
export class AddressSync {
  #model = null;
  #pending = null; // a state whose checkpoint is being selected
  #wantedTick = null; // the tick to show once the record is there
  #unroll = null;
  #text = ""; // what was run for the record that is shown
  #timer = 0;
  #observer = new MutationObserver(() => {
    this.#scheduleWrite();
    this.#showWantedTick();
  });
  #options;

  /**
   * @param {object} options - What it uses.
   * @param {Element} options.element - Root of the component; following ends when it leaves the page.
   * @param {(request: object, events: string[]) => void} options.send - Asks the page to change something, see `JS_FILL_INPUT`.
   * @param {(sentence: string) => void} options.report - Shows a sentence.
   */
  constructor(options) {
    this.#options = options;
    window.addEventListener("popstate", () => options.element.isConnected && this.#open(true));
  }

  /**
   * Receive what is selected.
   *
   * @param {SelectedModel} model - The selected checkpoint.
   */
  receive(model) {
    const former = this.#model;
    this.#model = model;
    if (!former) this.#start();
    else if (former.selected !== model.selected) this.#changeModel();
  }

  /** The page could not open what the address says: show the default page. */
  reject() {
    this.#pending = null;
    this.#wantedTick = null;
    history.replaceState(history.state, "", this.#toAddress({}));
  }

  /** @returns {object | null} The record that is shown; null for none. */
  get record() {
    return this.#unroll?.record ?? null;
  }

  /** @returns {number} The tick that is shown, from 1. */
  get tick() {
    return Number(findThought("slider")?.value ?? 1);
  }

  /**
   * Describe what the page shows.
   *
   * @returns {{state: import("../common/address.js").AddressState, isLeftOut: boolean}} The state, and whether the input is missing.
   */
  describe() {
    const { record } = this;
    const { selected, kind, defaultPolicy } = this.#model;
    const thought = record && record.checkpoint === selected ? parseRecord(record) : null;
    if (!thought) return { state: { model: selected, input: "", policy: "", tick: null }, isLeftOut: false };
    const { input, isLeftOut } = encodeInput(kind, thought.input, this.#text);
    const isMoving = Boolean(document.querySelector("#thought .thought-playing"));
    const tick = isMoving || thought.isGrowing || this.tick === thought.answerTick ? null : this.tick;
    const policy = record.policy === defaultPolicy || thought.iterations === 1 ? "" : record.policy;
    return { state: { model: selected, input, policy, tick }, isLeftOut };
  }

  #start() {
    const follow = (unroll) => {
      if (unroll !== this.#unroll) this.#receiveUnroll(unroll);
      this.#scheduleWrite();
    };
    followShownUnroll(follow);
    // After the components of the page have been set up: they receive what the address says.
    setTimeout(() => this.#open(false));
  }

  #receiveUnroll(unroll) {
    this.#unroll = unroll;
    const last = globalThis.ctm?.getLastInput?.();
    this.#text = last?.source.kind === "text" ? String(last.value ?? "") : "";
    const readout = findThought("readout");
    if (readout) this.#observer.observe(readout, { childList: true, characterData: true, subtree: true });
    if (unroll) setTimeout(() => this.#showWantedTick()); // once it is drawn
  }

  /** Show the tick of the address as a visitor does, by the slider. */
  #showWantedTick() {
    const slider = findThought("slider");
    const tick = this.#wantedTick;
    if (!slider || !tick) return;
    if (tick > Number(slider.max)) {
      if (parseRecord(this.record)?.isGrowing) return; // it may come
      this.#options.report(`The link names tick ${tick}, and there are ${slider.max}.`);
    } else {
      slider.value = String(tick);
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }
    this.#wantedTick = null;
  }

  // --- from the address to the tab ---

  /** Open what the address says; the default page may be left as it is. */
  #open(isReturn) {
    const { state, problem } = readAddress(location.search);
    if (problem) {
      this.#options.report(problem);
      this.reject();
      return;
    }
    this.#options.report("");
    if (!isReturn && !state.model && !state.input && !state.policy) return;
    const model = state.model || this.#model.first;
    this.#pending = { ...state, model };
    if (model === this.#model.selected) this.#fill();
    else this.#options.send({ model, has_input: Boolean(state.input) }, ["select"]);
  }

  /** Fill in input and policy, once the checkpoint is selected. */
  #fill() {
    const { input, policy, tick } = this.#pending;
    const { kind, defaultPolicy } = this.#model;
    this.#pending = null;
    this.#wantedTick = input ? tick : null;
    const request = { policy: policy || defaultPolicy };
    if (input && kind === "text") request.text = input;
    else if (input) {
      const picture = decodePicture(kind, input);
      if (!picture) {
        this.#options.report(`The link cannot be opened: its input is no ${kind}.`);
        this.reject();
        return;
      }
      request.picture = picture;
    }
    this.#options.send(request, request.picture ? ["submit", "upload"] : ["submit"]);
  }

  // --- from the tab to the address ---

  #changeModel() {
    if (this.#pending?.model === this.#model.selected) {
      setTimeout(() => this.#pending && this.#fill()); // once the other components have been updated
      return;
    }
    this.#pending = null;
    this.#wantedTick = null;
    this.#options.report("");
    history.pushState(null, "", this.#toAddress({ model: this.#model.selected }));
    this.#tellHub();
  }

  #scheduleWrite() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#write(), WRITE_DELAY_MS);
  }

  #write() {
    if (this.#pending || !this.#model || !this.#options.element.isConnected) return;
    if (document.querySelector("#thought .thought-playing")) return; // the end of playing is announced too
    const { state: known } = readAddress(location.search);
    if (!this.#unroll && known.model === this.#model.selected) return; // its answer follows: the input stays in the address
    const address = this.#toAddress(this.describe().state);
    const isDefault = !this.#unroll && this.#model.selected === this.#model.first;
    if (isDefault || address === this.#toAddress(known)) return;
    history.replaceState(history.state, "", address);
    this.#tellHub();
  }

  #toAddress(state) {
    return `${location.pathname}${writeAddress(location.search, state)}${location.hash}`;
  }

  /** A Space is shown in a frame of the Hub, which has an address of its own. */
  #tellHub() {
    if (location.ancestorOrigins?.[0] !== HUB_ORIGIN) return;
    const queryString = writeAddress("", readAddress(location.search).state).slice(1);
    window.parent.postMessage({ queryString }, HUB_ORIGIN);
  }
}

function findThought(part) {
  return document.querySelector(`#thought [data-thought=${part}]`);
}
