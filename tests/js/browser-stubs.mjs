/** Stubs of the browser interfaces that the modules under test use. */

/** Return a canvas context that records its calls. Text is 6 pixels wide per character. */
export function createContext() {
  const calls = [];
  const state = { globalAlpha: 1 };
  const context = new Proxy(state, {
    get(target, name) {
      if (name === "calls") return calls;
      if (name in target) return target[name];
      if (name === "measureText") return (text) => ({ width: 6 * text.length });
      return (...values) => calls.push([name, ...values, { ...state }]);
    },
  });
  return context;
}

/** Return a canvas with a size in CSS pixels. */
export function createCanvas(clientWidth, clientHeight = 100) {
  const context = createContext();
  return { clientWidth, clientHeight, width: 0, height: 0, style: {}, context, getContext: () => context };
}

export const THEME = {
  text: "text",
  muted: "muted",
  line: "line",
  background: "background",
  accent: "accent",
  font: "font",
};

/** Animation frames that run only when a test calls `run`. */
export class FakeFrames {
  #callbacks = new Map();
  #next = 1;

  constructor() {
    globalThis.requestAnimationFrame = (callback) => {
      this.#callbacks.set(this.#next, callback);
      return this.#next++;
    };
    globalThis.cancelAnimationFrame = (id) => this.#callbacks.delete(id);
  }

  get pending() {
    return this.#callbacks.size;
  }

  run(now) {
    const due = [...this.#callbacks.values()];
    this.#callbacks.clear();
    for (const callback of due) callback(now);
  }
}
