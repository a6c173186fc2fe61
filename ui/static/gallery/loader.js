/** Loading thumbnails when their card comes near the viewport, and replaying them. */

import { watchTheme } from "../common/observe.js";
import { readTheme } from "../common/theme.js";
import { drawThumbnail, parseThumbnail } from "./thumbnail.js";

const MARGIN = "200px"; // how near a card is loaded
const REPLAY_MS = 2600;
const MIN_FRAME_MS = 60;

const thumbnails = new Map(); // address -> promise of the content

function fetchThumbnail(address) {
  if (!thumbnails.has(address)) thumbnails.set(address, requestThumbnail(address));
  return thumbnails.get(address);
}

async function requestThumbnail(address) {
  try {
    const response = await fetch(new URL(address, document.baseURI));
    return response.ok ? await response.json() : null;
  } catch {
    thumbnails.delete(address); // the network may come back
    return null;
  }
}

function wantsStillPictures() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Thumbnails of one gallery. */
export class ThumbnailLoader {
  #root;
  #observer;
  #cards = new Map(); // button -> {card, thumbnail, timer}

  /** @param {HTMLElement} root - Root of the component. */
  constructor(root) {
    this.#root = root;
    this.#observer = new IntersectionObserver((entries) => this.#loadVisible(entries), { rootMargin: MARGIN });
    watchTheme(root, () => this.redraw());
  }

  /**
   * Watch the button of a card.
   *
   * @param {HTMLElement} button - The button.
   * @param {import("./parse.js").Card} card - Its card.
   */
  add(button, card) {
    this.#cards.set(button, { address: card.thumbnail, thumbnail: null, timer: 0 });
    if (!card.thumbnail) return;
    this.#observer.observe(button);
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.#replay(button));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.#stop(button));
  }

  /** Forget the cards that have left the page. */
  prune() {
    for (const [button, state] of this.#cards) {
      if (button.isConnected) continue;
      clearInterval(state.timer);
      this.#observer.unobserve(button);
      this.#cards.delete(button);
    }
  }

  /** Draw all thumbnails again, in the colours of now. */
  redraw() {
    for (const button of this.#cards.keys()) this.#stop(button);
  }

  #loadVisible(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#observer.unobserve(target);
      this.#load(target);
    }
  }

  async #load(button) {
    const state = this.#cards.get(button);
    if (!state) return;
    state.thumbnail = parseThumbnail(await fetchThumbnail(state.address));
    this.#stop(button);
  }

  #draw(button, frame) {
    const { thumbnail } = this.#cards.get(button);
    const canvas = button.querySelector("canvas");
    if (thumbnail && canvas.clientWidth) drawThumbnail(canvas, thumbnail, frame, readTheme(this.#root, this.#root));
  }

  #replay(button) {
    const state = this.#cards.get(button);
    const frames = state?.thumbnail?.ticks.length ?? 0;
    if (frames < 2 || state.timer || wantsStillPictures()) return;
    let frame = 0;
    const step = () => {
      if (!button.isConnected || frame >= frames) this.#stop(button);
      else this.#draw(button, frame++);
    };
    state.timer = setInterval(step, Math.max(MIN_FRAME_MS, REPLAY_MS / frames));
    step();
  }

  /** End a replay and draw the last frame. */
  #stop(button) {
    const state = this.#cards.get(button);
    if (!state) return;
    clearInterval(state.timer);
    state.timer = 0;
    if (state.thumbnail) this.#draw(button, state.thumbnail.ticks.length - 1);
  }
}
