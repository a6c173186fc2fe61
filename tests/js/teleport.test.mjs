import assert from "node:assert/strict";
import { test } from "node:test";
import { isStageAtEnd } from "../../ui/static/common/shown-unroll.js";
import { STEPS } from "../../ui/static/explanation/steps.js";
import { hasPixels, moveStart, parseMazeRecord } from "../../ui/static/teleport/maze-record.js";

// One row: start, path, path, goal, wall.
const PIXELS = [255, 0, 0, 255, 255, 255, 255, 255, 255, 0, 255, 0, 0, 0, 0];
const RECORD = {
  task: "mazes",
  ticks: 9,
  answer_tick: 8,
  input: { width: 5, height: 1, channels: 3, start: [0, 0], data: Buffer.from(PIXELS).toString("base64") },
  answer: {
    steps_left: 1,
    route: [
      [0, 0],
      [0, 1],
      [0, 2],
    ],
  },
};

test("the start moves to the end of the route, and everything else stays", () => {
  const maze = parseMazeRecord(RECORD);
  assert.deepEqual([maze.stepsLeft, maze.answerTick, maze.route.length], [1, 8, 3]);
  const moved = moveStart(maze);
  assert.deepEqual([...moved], [255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 0]);
  assert.ok(hasPixels(maze, Uint8Array.from(PIXELS)) && !hasPixels(maze, moved) && !hasPixels(maze, null));
  assert.ok(!hasPixels(null, moved));
});

test("what is no complete prediction of a maze has no start to move", () => {
  const invalid = [
    null,
    7,
    {},
    { ...RECORD, task: "digits" },
    { ...RECORD, answer: {} },
    { ...RECORD, answer: { ...RECORD.answer, route: [] } },
    { ...RECORD, input: { ...RECORD.input, data: "AA==" } },
    { ...RECORD, input: { ...RECORD.input, start: null } },
  ];
  for (const record of invalid) assert.equal(parseMazeRecord(record), null);
});

test("the stage is at its end at the last tick, and when it returns to the tick of the answer", () => {
  const unroll = { ticks: 9, answerTick: 5 };
  assert.equal(isStageAtEnd(5, 4, unroll), false, "playing passes the tick of the answer");
  assert.equal(isStageAtEnd(9, 8, unroll), true);
  assert.equal(isStageAtEnd(5, 9, unroll), true);
  assert.equal(isStageAtEnd(3, 9, unroll), false);
});

test("the steps of the explanation go through the unroll in order", () => {
  const positions = Object.values(STEPS).map(({ position }) => position);
  assert.deepEqual(
    positions,
    [...positions].sort((one, other) => one - other),
  );
  assert.deepEqual([positions[0], positions.at(-1)], [0, 1]);
  assert.ok(Object.values(STEPS).every(({ panels }) => panels.length > 0));
});
