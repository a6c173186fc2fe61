import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Painter, shortenText } from "../../ui/static/common/canvas.js";
import { watchSize, watchTheme } from "../../ui/static/common/observe.js";
import { computeDueTick, computeTickInterval, Playback } from "../../ui/static/common/playback.js";
import { createCanvas, FakeFrames, THEME } from "./browser-stubs.mjs";

beforeEach(() => {
  globalThis.window = { devicePixelRatio: 2 };
});

test("a painter sets the resolution by the device pixel ratio, and the height only if one is passed", () => {
  const canvas = createCanvas(300, 80);
  const painter = new Painter(canvas, THEME, 50);
  assert.deepEqual([canvas.width, canvas.height, canvas.style.height], [600, 100, "50px"]);
  assert.deepEqual([painter.width, painter.height], [300, 50]);
  const other = createCanvas(300, 80);
  new Painter(other, THEME);
  assert.deepEqual(
    [other.height, other.style.height],
    [160, undefined],
    "without a height argument the style is unchanged",
  );
});

test("opacities multiply and are restored", () => {
  const painter = new Painter(createCanvas(100), THEME);
  const seen = [];
  painter.withAlpha(0.5, () => {
    seen.push(painter.context.globalAlpha);
    painter.withAlpha(0.5, () => seen.push(painter.context.globalAlpha));
    seen.push(painter.context.globalAlpha);
  });
  assert.deepEqual([...seen, painter.context.globalAlpha], [0.5, 0.25, 0.5, 1]);
});

test("a line starts at its first point and resets the dash pattern", () => {
  const canvas = createCanvas(100);
  const painter = new Painter(canvas, THEME);
  canvas.context.calls.length = 0;
  painter.strokeLine(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    "red",
    2,
    [3],
  );
  const names = canvas.context.calls.map(([name]) => name);
  assert.deepEqual(names, ["setLineDash", "beginPath", "moveTo", "lineTo", "lineTo", "stroke", "setLineDash"]);
  assert.deepEqual(canvas.context.calls.at(-1)[1], []);
  painter.strokeLine([], "red");
});

test("a text is truncated to its maximum width", () => {
  const measure = (text) => text.length;
  assert.equal(shortenText("abcdef", Number.POSITIVE_INFINITY, measure), "abcdef");
  assert.equal(shortenText("abcdef", 6, measure), "abcdef");
  assert.equal(shortenText("abcdef", 4, measure), "abc\u2026");
  assert.equal(shortenText("abcdef", 0, measure), "\u2026");
  assert.equal(shortenText("", 0, measure), "");
  const canvas = createCanvas(100);
  new Painter(canvas, THEME).drawText("abcdefgh", 0, 0, { maxWidth: 24, halo: true });
  const texts = canvas.context.calls.filter(([name]) => name.endsWith("Text")).map(([name, text]) => [name, text]);
  assert.deepEqual(texts, [
    ["strokeText", "abc\u2026"],
    ["fillText", "abc\u2026"],
  ]);
});

test("the due tick is computed from the elapsed time", () => {
  assert.equal(computeDueTick(3, 0, 100), 3);
  assert.equal(computeDueTick(3, 99, 100), 3);
  assert.equal(computeDueTick(3, 250, 100), 5);
});

function play(frames, options = {}) {
  const log = [];
  let isAlive = true;
  const playback = new Playback(() => isAlive);
  const start = () =>
    playback.start({
      first: 1,
      last: 3,
      interval: 100,
      onTick: (tick) => log.push(tick),
      onEnd: () => log.push("end"),
      ...options,
    });
  start();
  return {
    frames,
    log,
    playback,
    start,
    remove: () => {
      isAlive = false;
    },
  };
}

test("playback shows every tick once for one interval, then ends", () => {
  const { frames, log, playback } = play(new FakeFrames());
  assert.deepEqual(log, [1], "the first tick is shown immediately");
  assert.equal(playback.isRunning, true);
  for (const now of [1000, 1050, 1100, 1150, 1200, 1299]) frames.run(now);
  assert.deepEqual(log, [1, 2, 3]);
  frames.run(1300);
  assert.deepEqual(log, [1, 2, 3, "end"]);
  assert.deepEqual([playback.isRunning, frames.pending], [false, 0]);
});

test("playback skips ticks between slow frames", () => {
  const { frames, log } = play(new FakeFrames());
  frames.run(0);
  frames.run(250);
  assert.deepEqual(log, [1, 3]);
});

test("a restart replaces the running playback, and stop ends it", () => {
  const { frames, log, playback, start } = play(new FakeFrames());
  start();
  assert.equal(frames.pending, 1);
  playback.stop();
  frames.run(5000);
  assert.deepEqual([log, playback.isRunning], [[1, 1], false]);
});

test("playback of a removed component stops without the end callback", () => {
  const { frames, log, playback, remove } = play(new FakeFrames());
  remove();
  frames.run(5000);
  assert.deepEqual([log, playback.isRunning, frames.pending], [[1], false, 0]);
});

class FakeObserver {
  static all = [];

  constructor(callback) {
    this.callback = callback;
    this.targets = [];
    FakeObserver.all.push(this);
  }

  observe(target) {
    this.targets.push(target);
  }

  disconnect() {
    this.targets = [];
  }
}

test("few ticks are played slowly, and no thought takes less than one and a half seconds", () => {
  const totals = Array.from({ length: 100 }, (_, index) => (index + 1) * computeTickInterval(index + 1));
  assert.ok(Math.min(...totals) >= 1499.9);
  for (let ticks = 1; ticks <= 8; ticks++) assert.ok(computeTickInterval(ticks) >= 350, String(ticks));
  for (let at = 1; at < totals.length; at++) assert.ok(totals[at] >= totals[at - 1] - 1e-9, String(at));
  assert.ok(Math.abs(totals[99] - 5000) < 1e-6);
});

test("a size watcher calls back only after a change, and not after the element is removed", () => {
  globalThis.ResizeObserver = FakeObserver;
  FakeObserver.all = [];
  const element = { isConnected: true };
  let width = 0;
  let numCalls = 0;
  watchSize(
    element,
    () => width,
    () => numCalls++,
  );
  const [observer] = FakeObserver.all;
  const notify = () => observer.callback([], observer);
  notify();
  notify();
  assert.equal(numCalls, 1);
  width = 5;
  notify();
  assert.equal(numCalls, 2);
  element.isConnected = false;
  width = 6;
  notify();
  assert.deepEqual([numCalls, observer.targets], [2, []]);
});

test("a theme watcher observes the html and the body element", () => {
  globalThis.MutationObserver = FakeObserver;
  globalThis.document = { documentElement: "html", body: "body" };
  FakeObserver.all = [];
  let numCalls = 0;
  watchTheme({ isConnected: true }, () => numCalls++);
  const [observer] = FakeObserver.all;
  observer.callback([], observer);
  assert.deepEqual([numCalls, observer.targets], [1, ["html", "body"]]);
});
