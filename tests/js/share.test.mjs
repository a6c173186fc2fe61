import assert from "node:assert/strict";
import { test } from "node:test";
import {
  decodeBase64Url,
  decodeMaze,
  encodeBase64Url,
  encodeMaze,
  MAX_INPUT_CHARS,
  readAddress,
  writeAddress,
} from "../../ui/static/common/address.js";
import { buildFileName } from "../../ui/static/common/download.js";
import { buildRoom, placeTile } from "../../ui/static/editors/maze-grid.js";
import { buildEmbedCode, buildLink, describeReach } from "../../ui/static/share/embed.js";
import { breakLines, placePanels } from "../../ui/static/share/film/frame.js";
import { FRAME_RATE, planFrames } from "../../ui/static/share/film/plan.js";
import { addDuration } from "../../ui/static/share/film/webm.js";
import { decodePicture, encodeInput, expandPixels } from "../../ui/static/share/input.js";

const EMPTY = { model: "", input: "", policy: "", tick: null };

test("an address gives back the state that was written into it, and keeps other parameters", () => {
  const state = { model: "alice/my model", input: "1 + 2 & ä=?", policy: "energy<-3|ticks=5", tick: 12 };
  const search = writeAddress("?tab=train&model=old&view=stage", state);
  assert.deepEqual(readAddress(search), { state, problem: "" });
  const parameters = new URLSearchParams(search);
  assert.deepEqual([parameters.get("tab"), parameters.get("view")], ["train", "stage"]);
  assert.equal(writeAddress("?model=a&input=b&policy=c&tick=3", {}), "");
  assert.equal(writeAddress("?view=stage&x=1", { model: "a" }, null), "?x=1&model=a");
  assert.equal(writeAddress("", { model: "a" }, "stage"), "?model=a&view=stage");
  assert.deepEqual(readAddress(""), { state: EMPTY, problem: "" });
});

test("an invalid address has one sentence and no state", () => {
  for (const [search, word] of [
    ["?tick=0", "tick"],
    ["?tick=1.5", "tick"],
    ["?tick=-3", "tick"],
    ["?tick=99999999999", "tick"],
    [`?model=${"m".repeat(401)}`, "model"],
    [`?input=${"1".repeat(MAX_INPUT_CHARS + 1)}`, "input"],
    [`?policy=${"p".repeat(501)}&model=digits`, "policy"],
  ]) {
    const { state, problem } = readAddress(search);
    assert.deepEqual(state, EMPTY, search);
    assert.match(problem, new RegExp(`^The link cannot be opened: its ${word} .*\\.$`));
  }
});

test("bytes survive base64 for addresses", () => {
  for (const length of [1, 2, 3, 4, 255]) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 37 + 251) % 256);
    const text = encodeBase64Url(bytes);
    assert.match(text, /^[\w-]+$/);
    assert.equal(text, Buffer.from(bytes).toString("base64url"));
    assert.deepEqual(decodeBase64Url(text), bytes);
  }
  for (const invalid of ["", "a", "a+b/", "abcde", "äöü"]) assert.equal(decodeBase64Url(invalid), null, invalid);
});

test("a maze survives an address, and nothing else is taken for one", () => {
  let maze = buildRoom(15);
  for (const tile of [32, 33, 34, 50, 65]) maze = placeTile(maze, "wall", tile);
  const text = encodeMaze(maze);
  assert.ok(text.length < 60, text);
  assert.deepEqual(decodeMaze(text), maze);
  const large = buildRoom(101);
  assert.deepEqual(decodeMaze(encodeMaze(large)), large);
  const bytes = decodeBase64Url(text);
  const damaged = [
    bytes.slice(0, -1),
    bytes.with(0, 16),
    bytes.with(1, 3),
    bytes.with(3, 0), // a start in a wall
    bytes.with(2, 255),
    bytes.slice(0, 6),
  ];
  for (const [index, other] of damaged.entries()) assert.equal(decodeMaze(encodeBase64Url(other)), null, String(index));
});

test("the input of a record becomes text, or is left out where it is too large", () => {
  assert.deepEqual(encodeInput("text", null, "101"), { input: "101", isLeftOut: false });
  assert.deepEqual(encodeInput("text", null, "1".repeat(MAX_INPUT_CHARS + 1)), { input: "", isLeftOut: true });
  const maze = buildRoom(7);
  const colours = maze.open.flatMap((isOpen, tile) => {
    if (tile === maze.start) return [255, 0, 0];
    if (tile === maze.goal) return [0, 255, 0];
    return isOpen ? [255, 255, 255] : [0, 0, 0];
  });
  const picture = { kind: "picture", width: 7, height: 7, channels: 3, pixels: colours };
  assert.deepEqual(decodeMaze(encodeInput("maze", picture, "").input), maze);
  const photo = { kind: "picture", width: 224, height: 224, channels: 3, pixels: [] };
  assert.deepEqual(encodeInput("picture", photo, ""), { input: "", isLeftOut: true });
  assert.deepEqual(
    [...expandPixels({ width: 2, height: 1, channels: 1, pixels: [3, 9] })],
    [3, 3, 3, 255, 9, 9, 9, 255],
  );
});

test("only a PNG is taken for a picture of an address", () => {
  const png = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10, 1);
  const text = encodeBase64Url(png);
  assert.equal(decodePicture("picture", text), `data:image/png;base64,${Buffer.from(png).toString("base64")}`);
  for (const invalid of ["R0lGODlh", "<svg>", "", encodeBase64Url([137, 80])]) {
    assert.equal(decodePicture("picture", invalid), null, invalid);
  }
});

test("links leave out what belongs to the session, and code for other pages is escaped", () => {
  const location = { origin: "https://me-ctm.hf.space", pathname: "/", search: "?__sign=secret&__theme=dark" };
  const link = buildLink(location, { ...EMPTY, model: "digits", tick: 2 });
  assert.equal(link, "https://me-ctm.hf.space/?model=digits&tick=2");
  const code = buildEmbedCode(buildLink(location, { ...EMPTY, model: "a" }, "stage"), 'A "title" <b>');
  assert.match(code, /src="https:\/\/me-ctm\.hf\.space\/\?model=a&amp;view=stage"/);
  assert.match(code, /title="A &quot;title&quot; &lt;b&gt;"/);
  assert.equal(describeReach({ host: "me-ctm.hf.space" }), "");
  assert.match(describeReach({ host: "localhost:7860" }), /Only this computer/);
  assert.equal(buildFileName(["ctm", "run:a/b", "", "tick", 3], "png"), "ctm-run-a-b-tick-3.png");
});

test("a film shows every tick for the same time, and the answer at the end", () => {
  const frames = planFrames({ ticks: 5, answerTick: 4 });
  const counts = [1, 2, 3, 4, 5].map((tick) => frames.filter((frame) => frame.tick === tick && !frame.isFinal).length);
  assert.deepEqual(counts, Array(5).fill(counts[0]));
  assert.ok((5 * counts[0]) / FRAME_RATE >= 1.5);
  assert.deepEqual(frames.at(-1), { tick: 4, isFinal: true });
  assert.deepEqual(frames, planFrames({ ticks: 5, answerTick: 4 }), "frames are the same every time");
  assert.ok(planFrames({ ticks: 1, answerTick: 1 }).every(({ isFinal }) => isFinal));
});

test("panels stay within the stage, a picture beside its answer and others below each other", () => {
  const room = { left: 10, top: 20, width: 600, height: 500 };
  const isInside = ({ left, top, width, height }) =>
    left >= 9.99 && top >= 19.99 && left + width <= 610.01 && top + height <= 520.01;
  const stacked = placePanels(
    [
      { name: "stack", width: 600, height: 300 },
      { name: "attention", width: 600, height: 400 },
    ],
    room,
  );
  assert.ok(stacked.every(isInside) && stacked[1].top >= stacked[0].top + stacked[0].height);
  assert.ok(Math.abs(stacked[0].width / stacked[0].height - 2) < 1e-9, "the shape stays");
  const beside = placePanels(
    [
      { name: "look", width: 293, height: 293 },
      { name: "answer", width: 293, height: 900 },
    ],
    room,
  );
  assert.ok(beside.every(isInside) && beside[1].left >= beside[0].left + beside[0].width);
});

test("lines break between words, and the last one says that there is more", () => {
  const measure = (text) => text.length;
  assert.deepEqual(breakLines("one two three four", 9, measure, 4), ["one two", "three", "four"]);
  assert.deepEqual(breakLines("one two three four", 9, measure, 2), ["one two", "three\u2026"]);
  assert.deepEqual(breakLines("", 9, measure, 2), []);
});

// --- duration of a WebM file ---

const element = (id, content) => [...id, 0x80 | content.length, ...content];
const HEADER = element([0x1a, 0x45, 0xdf, 0xa3], [0x42, 0x86, 0x81, 1]);
const SCALE = element([0x2a, 0xd7, 0xb1], [0x0f, 0x42, 0x40]);
const TAIL = element([0x16, 0x54, 0xae, 0x6b], [1, 2, 3]);
const build = (info) => {
  const segment = [0x18, 0x53, 0x80, 0x67, 1, 255, 255, 255, 255, 255, 255, 255];
  return Uint8Array.from([...HEADER, ...segment, ...element([0x15, 0x49, 0xa9, 0x66], info), ...TAIL]);
};

test("a recorded film gets its duration, and everything else stays", () => {
  const before = build(SCALE);
  const after = addDuration(before, 6500);
  assert.equal(after.length, before.length + 11 + 7, "a duration, and a longer size");
  const at = after.findIndex((byte, index) => byte === 0x44 && after[index + 1] === 0x89 && after[index + 2] === 0x88);
  assert.equal(new DataView(after.buffer).getFloat64(at + 3), 6500);
  assert.deepEqual(after.slice(-TAIL.length), Uint8Array.from(TAIL));
  assert.deepEqual(addDuration(after, 100), after, "it has one already");
});

test("a file that is no recorded WebM stays as it is", () => {
  for (const bytes of [new Uint8Array(), Uint8Array.of(0, 0, 0, 24, 102, 116), Uint8Array.from(HEADER)]) {
    assert.deepEqual(addDuration(bytes, 100), bytes);
  }
});
