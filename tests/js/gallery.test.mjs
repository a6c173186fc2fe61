import assert from "node:assert/strict";
import { test } from "node:test";
import { describeCard, describeFigures } from "../../ui/static/gallery/card.js";
import { describeLines, getAxisStart, listPositions } from "../../ui/static/gallery/figure.js";
import { filterCards, listStripCards, parseFigure, parseGallery } from "../../ui/static/gallery/parse.js";
import { findWrapTarget } from "../../ui/static/gallery/sheet.js";
import { findNextIndex } from "../../ui/static/gallery/strip.js";
import {
  drawThumbnail,
  expandPixels,
  fitBox,
  orderNumbers,
  parseThumbnail,
} from "../../ui/static/gallery/thumbnail.js";
import { createCanvas, THEME } from "./browser-stubs.mjs";

globalThis.window = { devicePixelRatio: 1 };

const ADDRESS = `thumbnails/${"0123456789abcdef"}.json`;
const MAZES = {
  name: "mazes-15",
  title: "Mazes",
  group: "think",
  action: "Draw a maze.",
  accuracy: 0.771,
  ticks: 25.68,
  iterations: 40,
  tags: ["picture"],
  thumbnail: ADDRESS,
};
const DIGITS_FF = {
  name: "digits-ff",
  title: "Digits",
  group: "compare",
  accuracy: 0.989,
  ticks: 1,
  iterations: 1,
  tags: ["picture", "baseline"],
};
const REMOTE = { name: "alice/far", group: "hub", tags: ["hub"], status: "Not downloaded", is_remote: true };
const VALUE = {
  mode: "pick",
  groups: [{ name: "think", title: "Solve by thinking" }],
  cards: [MAZES, DIGITS_FF, REMOTE],
  studies: [{ group: "compare", title: "T", text: "t", checkpoints: ["digits-ff", "gone"], figure: {} }],
  selected: "mazes-15",
};

test("parsing keeps the valid parts of a gallery", () => {
  const view = parseGallery(VALUE);
  assert.deepEqual([view.mode, view.selected, view.groups[0].title], ["pick", "mazes-15", "Solve by thinking"]);
  assert.deepEqual(
    view.cards.map(({ name, title, isRemote, thumbnail }) => [name, title, isRemote, thumbnail]),
    [
      ["mazes-15", "Mazes", false, ADDRESS],
      ["digits-ff", "Digits", false, ""],
      ["alice/far", "alice/far", true, ""],
    ],
  );
  assert.deepEqual(
    view.studies[0].cards.map(({ name }) => name),
    ["digits-ff"],
  );
  assert.equal(view.studies[0].figure, null);
});

test("malformed values give an empty gallery, and a thumbnail comes from this server only", () => {
  for (const invalid of [
    null,
    7,
    "x",
    [],
    { cards: "x", groups: 3, studies: {} },
    { cards: [null, {}, { name: {} }] },
  ]) {
    assert.deepEqual(parseGallery(invalid).cards, []);
  }
  for (const address of ["https://other.example/a.json", "//x/thumbnails/0123456789abcdef.json", "../a", 7, null]) {
    assert.equal(parseGallery({ cards: [{ name: "a", thumbnail: address }] }).cards[0].thumbnail, "");
  }
  const [card] = parseGallery({ cards: [{ name: "a", accuracy: "1", ticks: -1, iterations: null }] }).cards;
  assert.deepEqual([card.accuracy, card.ticks, card.iterations], [null, null, 0]);
});

test("a card says its title, figures and status", () => {
  const [mazes, digits, remote] = parseGallery(VALUE).cards;
  assert.equal(describeCard(mazes), "Mazes, 77.1% correct, 25.7 of 40 ticks, Draw a maze.");
  assert.equal(describeCard(digits), "Digits, 98.9% correct, one pass, no ticks");
  assert.equal(describeCard(remote), "alice/far, Not downloaded");
  assert.equal(describeFigures({ accuracy: null, ticks: null, iterations: 50 }).ticks, "up to 50 ticks");
});

test("words and filters have to fit together", () => {
  const { cards } = parseGallery(VALUE);
  const find = (text, ...tags) => filterCards(cards, text, new Set(tags)).map(({ name }) => name);
  assert.deepEqual(find("", "picture"), ["mazes-15", "digits-ff"]);
  assert.deepEqual(find("", "picture", "baseline"), ["digits-ff"]);
  assert.deepEqual(find("MAZE draw"), ["mazes-15"]);
  assert.deepEqual(find("nothing"), []);
});

test("the strip has the cards that can be picked at once, and always the selected one", () => {
  const { cards } = parseGallery(VALUE);
  const list = (selected) => listStripCards(cards, selected).map(({ name }) => name);
  assert.deepEqual(list("mazes-15"), ["mazes-15"]);
  assert.deepEqual(list("digits-ff"), ["digits-ff", "mazes-15"]);
  assert.deepEqual(list("run:x@10"), ["run:x@10", "mazes-15"]);
});

test("arrow keys stay within the strip", () => {
  assert.deepEqual(
    ["ArrowRight", "ArrowLeft", "Home", "End", "Tab"].map((key) => findNextIndex(key, 0, 3)),
    [1, 0, 0, 2, -1],
  );
  assert.equal(findNextIndex("ArrowRight", 2, 3), 2);
});

test("Tab wraps at both ends of the side sheet", () => {
  assert.equal(findWrapTarget(["a", "b", "c"], "c", false), "a");
  assert.equal(findWrapTarget(["a", "b", "c"], "a", true), "c");
  assert.equal(findWrapTarget(["a", "b", "c"], "b", false), null);
  assert.equal(findWrapTarget([], "b", false), null);
});

test("figures are parsed, and the axis of high values does not begin at 0", () => {
  const rows = [
    { label: "a", value: 0.91, low: 0.9, high: 0.92 },
    { label: "b", value: "x" },
  ];
  assert.equal(parseFigure({ kind: "dots", rows }).rows.length, 1);
  assert.equal(parseFigure({ kind: "lines", series: [{ points: [[1, 2]] }] }), null);
  assert.ok(Math.abs(getAxisStart([{ low: 0.9049 }]) - 0.9) < 1e-9);
  assert.equal(getAxisStart([{ low: 0.9 }, { low: 0.2 }]), 0);
});

test("curves are described by their first, best and last point", () => {
  const figure = parseFigure({
    kind: "lines",
    axis: "bits",
    series: [
      {
        label: "CTM",
        points: [
          [8, 0.5, 0.4, 0.6],
          [16, 1, 0.9, 1],
          [64, 0, 0, 0.1],
        ],
      },
    ],
  });
  assert.equal(
    describeLines(figure),
    "Correct answers by bits. CTM: 50.0% at bits 8, at most 100.0% at bits 16, 0.0% at bits 64.",
  );
  assert.deepEqual(listPositions(8, 64), [10, 20, 30, 40, 50, 60]);
});

const PICTURE = {
  kind: "picture",
  width: 2,
  height: 1,
  channels: 1,
  data: btoa("\x00\xff"),
  start: [0, 0],
  goal: [0, 1],
};

test("thumbnails are parsed frame by frame", () => {
  const thumbnail = parseThumbnail({
    ticks: [1, 3],
    iterations: 2,
    labels: ["a"],
    routes: [[0, 0, 0, 1], "x"],
    input: PICTURE,
  });
  assert.deepEqual([thumbnail.ticks, thumbnail.iterations, thumbnail.labels], [[1, 3], 3, ["a", ""]]);
  assert.deepEqual(thumbnail.routes, [[0, 0, 0, 1], []]);
  assert.deepEqual([...expandPixels(thumbnail.input)], [0, 0, 0, 255, 255, 255, 255, 255]);
  for (const invalid of [
    null,
    {},
    { ticks: [1] },
    { ticks: [1], input: { kind: "picture", data: "!" } },
    { ticks: ["x"], input: PICTURE },
  ]) {
    assert.equal(parseThumbnail(invalid), null);
  }
});

test("sorted numbers come first, the others keep their order", () => {
  assert.deepEqual(orderNumbers(4, [2, 0]), [2, 0, 1, 3]);
  assert.deepEqual(orderNumbers(3, [9, -1, 1.5, 1, 1]), [1, 0, 2]);
});

test("a box keeps the proportions of a picture", () => {
  const place = fitBox({ left: 0, top: 0, width: 100, height: 50 }, 1, 1);
  assert.deepEqual([place.left, place.width, place.height], [25, 50, 50]);
});

test("every kind of input is drawn, with a bar as long as the share of ticks", () => {
  const inputs = {
    symbols: { kind: "sequence", items: ["1", "0"] },
    numbers: { kind: "sequence", items: ["2", "1"], numbers: [2, 1] },
    field: { kind: "sequence", items: ["a"], path: { side: 4, frames: [[0, 0], null], asked: "position" } },
    quarter: { kind: "sequence", items: ["a"], path: { side: 4, frames: [[0, 0]], asked: "quadrant" } },
  };
  for (const [name, input] of Object.entries(inputs)) {
    const thumbnail = parseThumbnail({
      ticks: [1, 2],
      iterations: 4,
      labels: ["x", "y"],
      answers: [[1], [1, 0]],
      input,
    });
    const canvas = createCanvas(100, 80);
    drawThumbnail(canvas, thumbnail, 1, THEME);
    const bars = canvas.context.calls.filter(([call]) => call === "fillRect").slice(-2);
    assert.equal(bars[1][3] / bars[0][3], 0.5, name);
    assert.ok(canvas.context.calls.length > 4, name);
  }
});
