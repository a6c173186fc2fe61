import assert from "node:assert/strict";
import { test } from "node:test";
import { invertBit, parseBits, setBit } from "../../ui/static/editors/bit-row.js";
import { getArrowDirection, getRelativePosition, pickRandom } from "../../ui/static/editors/editor.js";
import {
  buildRoom,
  countSteps,
  decodePixels,
  encodePixels,
  findNearestPath,
  getTile,
  isSupportedSize,
  listTilesBetween,
  placeTile,
  removeInnerWalls,
} from "../../ui/static/editors/maze-grid.js";
import {
  clampCell,
  describeMotion,
  fitMotion,
  formatTrajectory,
  listCells,
  listSpeeds,
  parseTrajectory,
  spreadFrames,
} from "../../ui/static/editors/motion.js";
import { describeQuestion, formatQuestion, isPlace, parseQuestion } from "../../ui/static/editors/question.js";
import { EchoFilter } from "../../ui/static/editors/sync.js";

test("arrow keys have directions, other keys have none", () => {
  assert.deepEqual(getArrowDirection({ key: "ArrowUp" }), [-1, 0]);
  assert.deepEqual(getArrowDirection({ key: "ArrowRight" }), [0, 1]);
  for (const key of ["a", "", "constructor", "__proto__"]) assert.equal(getArrowDirection({ key }), null);
});

test("pointers are relative to their element", () => {
  const element = { getBoundingClientRect: () => ({ left: 10, top: 20, width: 100, height: 50 }) };
  assert.deepEqual(getRelativePosition(element, { clientX: 60, clientY: 70 }), [1, 0.5]);
});

test("random numbers are within their count", () => {
  const seen = new Set(Array.from({ length: 500 }, () => pickRandom(3)));
  assert.deepEqual([...seen].sort(), [0, 1, 2]);
  assert.equal(pickRandom(1), 0);
});

test("bits are read up to the first other character", () => {
  assert.deepEqual(parseBits("0 1,1", 16), { bits: "011", stray: "", excess: 0 });
  assert.deepEqual(parseBits("01x1", 16), { bits: "01", stray: "x", excess: 0 });
  assert.deepEqual(parseBits("10101", 3), { bits: "101", stray: "", excess: 2 });
  assert.deepEqual(parseBits("", 3), { bits: "", stray: "", excess: 0 });
  assert.deepEqual(parseBits("x".repeat(5000), 3).bits, "");
});

test("a bit beyond the row fills it up", () => {
  assert.equal(setBit("", 3, "1"), "0001");
  assert.equal(setBit("111", 1, "0"), "101");
  assert.equal(invertBit("10", 0), "0");
  assert.equal(invertBit("10", 1), "1");
  assert.equal(invertBit("10", 9), "1", "a bit that is not there counts as 0");
});

test("a question is parsed, limited and written back", () => {
  const { digits, question } = parseQuestion("3 7 5 : 1 + 3 - 2", 4, 4);
  assert.deepEqual(
    [digits, question],
    [
      ["3", "7", "5"],
      ["1", "+", "3", "-", "2"],
    ],
  );
  assert.equal(formatQuestion(digits, question), "3 7 5 : 1 + 3 - 2");
  assert.equal(describeQuestion(digits, question), "This asks for 3 + 5 \u2212 7.");
  assert.deepEqual(parseQuestion("98765 : 1 + 2 + 3 + 4", 3, 1), {
    digits: ["9", "8", "7"],
    question: ["1", "+", "2"],
  });
  assert.deepEqual(parseQuestion("", 3, 1), { digits: [], question: [] });
  assert.deepEqual(parseQuestion("<i> : * x", 3, 1), { digits: [], question: [] });
  assert.equal(formatQuestion([], ["1"]), "");
  assert.equal(describeQuestion([], []), "Type the digits first.");
});

test("places begin at 1 and end with the digits", () => {
  const digits = ["4", "2"];
  assert.deepEqual(
    ["0", "1", "2", "3", "", "x", undefined].map((place) => isPlace(place, digits)),
    [false, true, true, false, false, false, false],
  );
});

const ROOM = buildRoom(5); // tiles 6 to 8, 11 to 13 and 16 to 18 are inside

test("a room has walls around and nothing inside", () => {
  assert.deepEqual([ROOM.start, ROOM.goal, ROOM.open.filter(Boolean).length], [6, 18, 9]);
  assert.deepEqual(
    [0, 6, 12, 18].map((tile) => getTile(ROOM, tile)),
    ["wall", "start", "path", "goal"],
  );
  assert.equal(countSteps(ROOM), 4);
});

test("placing something leaves the maze as it was", () => {
  const changed = placeTile(ROOM, "wall", 12);
  assert.equal(ROOM.open[12], 1);
  assert.equal(changed.open[12], 0);
  assert.equal(placeTile(changed, "wall", 12), changed, "nothing changes twice");
  assert.equal(placeTile(ROOM, "wall", ROOM.start), ROOM, "a wall does not replace the start");
  assert.equal(placeTile(ROOM, "path", ROOM.goal), ROOM);
});

test("start and goal go to the nearest path, never onto each other", () => {
  assert.equal(placeTile(ROOM, "goal", 4).goal, 8);
  assert.equal(placeTile(ROOM, "start", 18).start, 13, "the goal is taken");
  assert.equal(placeTile(ROOM, "goal", 18), ROOM);
  const closed = { ...ROOM, open: ROOM.open.map(() => 0) };
  assert.equal(findNearestPath(closed, 3, -1), null);
  assert.equal(placeTile(closed, "goal", 3), closed);
});

test("steps are counted around walls, and not around the edge of a row", () => {
  const wall = [11, 12].reduce((maze, tile) => placeTile(maze, "wall", tile), ROOM);
  assert.equal(countSteps(wall), 4);
  const closed = placeTile(wall, "wall", 13);
  assert.equal(countSteps(closed), null);
  const open = { rows: 5, columns: 5, open: new Array(25).fill(0), start: 4, goal: 5 };
  open.open[4] = open.open[5] = 1;
  assert.equal(countSteps(open), null, "the end of a row does not touch the next one");
  assert.equal(countSteps({ ...ROOM, goal: ROOM.start }), 0);
});

test("a large maze is counted", () => {
  assert.equal(countSteps(buildRoom(199)), 392);
});

test("inner walls are removed, outer ones stay", () => {
  const doors = { ...placeTile(ROOM, "wall", 12), open: placeTile(ROOM, "wall", 12).open.with(2, 1) };
  const cleared = removeInnerWalls(doors);
  assert.deepEqual([cleared.open[12], cleared.open[2], cleared.open[0]], [1, 1, 0]);
});

test("tiles between two tiles leave no gap", () => {
  assert.deepEqual(listTilesBetween(ROOM, 6, 18), [6, 12, 18]);
  assert.deepEqual(listTilesBetween(ROOM, 6, 8), [6, 7, 8]);
  assert.deepEqual(listTilesBetween(ROOM, 6, 6), [6]);
  assert.deepEqual(listTilesBetween(ROOM, 18, 6), [18, 12, 6]);
});

test("a maze survives its picture", () => {
  const maze = placeTile(ROOM, "wall", 12);
  const pixels = encodePixels(maze);
  assert.equal(pixels.length, 100);
  assert.deepEqual([...pixels.slice(4 * 6, 4 * 6 + 4)], [255, 0, 0, 255]);
  assert.deepEqual(decodePixels(pixels, 5, 5), maze);
  const noisy = pixels.map((value) => value * 0.8 + 20);
  assert.deepEqual(decodePixels(noisy, 5, 5), maze, "the nearest colour counts");
});

test("a missing start or goal of a picture stands on a path until it is placed", () => {
  const onlyStart = decodePixels(encodePixels({ ...ROOM, goal: -1 }), 5, 5);
  assert.deepEqual(onlyStart, { ...ROOM, missing: ["goal"] });
  const neither = decodePixels(encodePixels({ ...ROOM, start: -1, goal: -1 }), 5, 5);
  assert.deepEqual([neither.start, neither.goal, neither.missing], [6, 18, ["start", "goal"]]);
  const placed = placeTile(neither, "start", 7);
  assert.deepEqual([placed.start, placed.missing], [7, ["goal"]]);
  assert.deepEqual(placeTile(placed, "goal", 18), { ...ROOM, start: 7 }, "it may stay where it is");
});

test("a picture without paths, or of another size, is no maze", () => {
  assert.equal(decodePixels(new Uint8ClampedArray(100), 5, 5), null);
  for (const [rows, columns] of [
    [4, 5],
    [5, 4],
    [200, 5],
    [0, 0],
  ])
    assert.equal(isSupportedSize(rows, columns), false);
  assert.equal(decodePixels(encodePixels(ROOM), 200, 5), null);
});

const SPEC = { side: 16, frames: 6, maxSpeed: 2 };

test("a motion is fitted to cells, also where some are missing", () => {
  const motion = { start: [0, 14], speed: [1, 2] };
  const cells = listCells(SPEC, motion);
  assert.deepEqual(cells, [
    [0, 14],
    [1, 14],
    [2, 12],
    [3, 10],
    [4, 8],
    [5, 6],
  ]);
  const fit = fitMotion(SPEC, cells);
  assert.equal(fit.error, 0);
  assert.deepEqual(listCells(SPEC, fit), cells, "at a wall, two speeds are the same motion");
  const { error } = fitMotion(SPEC, [[0, 14], null, [2, 12], null, null, [5, 6]]);
  assert.equal(error, 0);
  assert.ok(fitMotion(SPEC, [[0, 0], [9, 9], null, null, null, null]).error > 0);
});

test("a dot that stands still is no motion", () => {
  const fit = fitMotion(SPEC, new Array(6).fill([3, 3]));
  assert.ok(fit.speed.some(Boolean) && fit.error > 0);
  assert.deepEqual(listSpeeds(SPEC), [-2, -1, 0, 1, 2]);
});

test("frames are spread evenly along a stroke", () => {
  const frames = spreadFrames(
    [
      [0, 0],
      [0, 4],
      [0, 10],
    ],
    6,
  );
  assert.deepEqual(
    frames.map(([, column]) => Math.round(column * 1e9) / 1e9),
    [0, 2, 4, 6, 8, 10],
  );
  assert.deepEqual(
    spreadFrames(
      [
        [1, 1],
        [1, 1],
      ],
      2,
    ),
    [
      [1, 1],
      [1, 1],
    ],
  );
  assert.deepEqual(spreadFrames([[1, 2]], 3), [
    [1, 2],
    [1, 2],
    [1, 2],
  ]);
});

test("a trajectory is parsed leniently and written back", () => {
  const text = "3,2 - 5,4 6,5 7,6 - +7";
  const { cells, ahead } = parseTrajectory(SPEC, text);
  assert.deepEqual(cells, [[3, 2], null, [5, 4], [6, 5], [7, 6], null]);
  assert.equal(ahead, 7);
  const known = cells.map((cell) => cell ?? [0, 0]);
  assert.equal(formatTrajectory(known, cells.map(Boolean), 7), text);
  const odd = parseTrajectory(SPEC, "0,0 9,9 <b> 99,1 16,0");
  assert.deepEqual([odd.cells, odd.ahead], [[[0, 0], [9, 9], null, null, null, null], null]);
  assert.deepEqual(parseTrajectory(SPEC, "").cells, new Array(6).fill(null));
  assert.equal(parseTrajectory(SPEC, "1,1 ".repeat(9000)).cells.length, 6);
});

test("a motion is described by the way it first takes", () => {
  const describe = (motion) => describeMotion(motion, listCells(SPEC, motion));
  assert.equal(
    describe({ start: [0, 14], speed: [1, 2] }),
    "Start (0, 14), moving 1 cell down and 2 cells right per frame.",
  );
  assert.equal(
    describe({ start: [0, 5], speed: [-1, 0] }),
    "Start (0, 5), moving 1 cell down per frame.",
    "it turns at once",
  );
  assert.equal(
    describe({ start: [8, 5], speed: [-2, -1] }),
    "Start (8, 5), moving 2 cells up and 1 cell left per frame.",
  );
  assert.deepEqual(clampCell(SPEC, [-3, 99]), [0, 15]);
});

test("an edit is not shown again when it comes back", () => {
  const echoes = new EchoFilter();
  assert.equal(echoes.send("a"), true);
  assert.equal(echoes.send("a"), false, "nothing new");
  assert.equal(echoes.send("ab"), true);
  assert.equal(echoes.receive("a"), false, "an echo that is late does not undo the newer text");
  assert.equal(echoes.receive("ab"), false);
  assert.equal(echoes.receive("ab"), false);
  assert.equal(echoes.receive("typed"), true);
  assert.equal(echoes.receive("a"), true, "an old text that is typed is shown");
});

test("an echo that got lost does not block what is typed later", () => {
  const echoes = new EchoFilter();
  for (const text of ["a", "b", "c"]) echoes.send(text);
  assert.equal(echoes.receive("c"), false);
  assert.equal(echoes.receive("b"), true);
  echoes.reset();
  assert.equal(echoes.receive("b"), true);
  assert.equal(echoes.receive(""), true);
});
