/** The few parts of a browser that modules under test touch. */

/** A canvas context that records its calls. A text is 6 pixels a character wide. */
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

/** A canvas of a size in CSS pixels. */
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

/** Frames that a test runs by hand. */
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
