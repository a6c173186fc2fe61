/** Mazes: from an image, predict the route from the red start to the green goal. Mirrors `training.tasks.mazes`. */

import { readMaze } from "../images/maze/reader.js";
import { completeMaze, IncompleteMazeError } from "../images/maze/reading.js";
import { readColours } from "../images/pixels.js";
import { COLOURS, carveGrid, computeCanonicalBytes, GOAL, Maze, START, WAIT } from "./maze.js";
import { assignSplit, RandomSource, sampleUntil, TEST } from "./splits.js";
import { buildInput, Task } from "./task.js";
import { IncompleteInputError, InputError } from "./text.js";

const MOVE_NAMES = ["up", "down", "left", "right", "wait"];
const MAX_DRAWN = 3000; // generated mazes until one has a route of the wanted length
const MAX_CANDIDATES = 20; // generated mazes until one has a route of medium length
const DISPLAY_SIZE_PX = 400; // approximate side of a generated image
const MAX_ENDPOINT_ATTEMPTS = 32; // pairs of start and goal per layout

/** Routes through mazes. Mirrors `Mazes`. */
export class Mazes extends Task {
  name = "mazes";
  title = "Mazes";
  inputType = "image";
  supportsGeneration = true;
  difficultyName = "steps to the goal";
  statesResult = true;

  get inputHint() {
    const { side } = this.settings;
    return (
      "a picture of a maze with a red start and a green goal; walls and paths have any two colours; " +
      `any size works, the model was trained on ${side} x ${side}`
    );
  }

  get inputEditor() {
    return { kind: "maze", side: this.settings.side };
  }

  get spec() {
    const { route } = this.settings;
    const classes = MOVE_NAMES.length;
    return { backbone: "resnet18-1", classes, positions: route, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return [...MOVE_NAMES];
  }

  /**
   * Parse the maze in an image. Mirrors `Mazes.parse_input`.
   *
   * @param {unknown} raw - Pixels as `ImageData` holds them.
   * @param {number[] | null} [start] - Position of a start that is placed by hand, [row, column].
   * @param {number[] | null} [goal] - Position of a goal that is placed by hand.
   * @returns {import("./task.js").TaskInput} The parsed input.
   * @throws {IncompleteInputError} The start or the goal is not recognised; the error holds the display of the rest.
   */
  parseInput(raw, start = null, goal = null) {
    const reading = readMaze(readColours(raw));
    let maze;
    try {
      maze = completeMaze(reading, start, goal);
    } catch (error) {
      if (!(error instanceof IncompleteMazeError)) throw error;
      throw new IncompleteInputError(error.message, buildDisplay(reading.grid, reading.notes));
    }
    const { route } = this.settings;
    const moves = maze.findShortestMoves();
    const display = { ...buildDisplay(maze.grid, reading.notes), start: maze.start, goal: maze.goal };
    return buildInput(this.#encode(maze.grid), display, route, {
      context: maze,
      trueChoices: [...moves, ...Array(route).fill(WAIT)].slice(0, route),
      shift: this.#findShift(maze, moves.length),
    });
  }

  /** Return the image of a maze as a model input, channels first. */
  #encode({ data: kinds, width, height }) {
    const data = new Float32Array(3 * kinds.length);
    for (let index = 0; index < data.length; index++) {
      const value = COLOURS[kinds[index % kinds.length]][Math.floor(index / kinds.length)];
      data[index] = this.settings.expand_range ? 2 * value - 1 : value;
    }
    return { type: "float32", data, shape: [1, 3, height, width] };
  }

  /** Steps of the longest route of a training maze. */
  get #maxRoute() {
    return this.settings.longest_route ?? this.settings.route;
  }

  #findShift(maze, steps) {
    const { side } = this.settings;
    const { width, height } = maze.grid;
    if (width !== side || height !== side) {
      const sentence = `The maze has ${width} x ${height} places; the model was trained on ${side} x ${side}.`;
      return { sentence, split: null };
    }
    if (steps <= this.#maxRoute) return null;
    const sentence = `The shortest path has ${steps} steps; the model was trained on paths of at most ${this.#maxRoute}.`;
    return { sentence, split: null };
  }

  /**
   * Return whether the predicted route reaches the goal; it need not be the shortest one.
   *
   * If the goal is further away than an answer has moves, all moves must be on a shortest route.
   *
   * @param {import("./task.js").TaskInput} input - The parsed input.
   * @param {number[]} choices - Indices of moves.
   * @returns {boolean} Whether it does.
   */
  isCorrect(input, choices) {
    const maze = input.context;
    const { route } = maze.walk(choices);
    const stepsLeft = maze.countSteps(route.at(-1));
    return stepsLeft === 0 || isOnShortestRoute(maze, route.length - 1, stepsLeft, choices.length);
  }

  formatAnswer(input, choices) {
    const maze = input.context;
    const { route, isStoppedByWall } = maze.walk(choices);
    const steps = route.length - 1;
    const stepsLeft = maze.countSteps(route.at(-1));
    const { label, sentence } = describeRoute(maze, steps, stepsLeft, isStoppedByWall, choices.length);
    const value = { reaches_goal: stepsLeft === 0, steps, steps_left: stepsLeft, route };
    return { value, label, sentence, route };
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    const { side } = this.settings;
    const isWanted = ({ steps }) => (difficulty === null ? steps >= side && steps <= 2 * side : steps === difficulty);
    let maze;
    for (let candidate = 0; candidate < (difficulty === null ? MAX_CANDIDATES : MAX_DRAWN); candidate++) {
      maze = this.#sampleMaze(random);
      if (isWanted({ steps: maze.countSteps(maze.start) })) break;
      if (candidate === MAX_DRAWN - 1) {
        throw new InputError(`There is no new input with ${difficulty} steps to the goal: choose another number.`);
      }
    }
    return enlarge(maze.grid, Math.max(1, Math.floor(DISPLAY_SIZE_PX / side)));
  }

  /** Sample a maze of the test split by rejection, with start and goal uniform over the cells. */
  #sampleMaze(random) {
    const cells = (this.settings.side - 1) / 2;
    let [layout, attempts] = [null, 0];
    const draw = () => {
      if (attempts++ % MAX_ENDPOINT_ATTEMPTS === 0) layout = carveGrid(cells, random);
      const grid = { ...layout, data: layout.data.slice() };
      for (const kind of [START, GOAL]) {
        const [row, column] = [random.drawInteger(0, cells - 1), random.drawInteger(0, cells - 1)];
        grid.data[(2 * row + 1) * grid.width + 2 * column + 1] = kind;
      }
      return grid;
    };
    const isUsable = (grid) => {
      if (!grid.data.includes(START)) return false;
      const maze = new Maze(grid);
      return maze.countSteps(maze.start) <= this.#maxRoute && assignSplit(computeCanonicalBytes(grid)) === TEST;
    };
    return new Maze(sampleUntil(draw, isUsable));
  }
}

function buildDisplay({ data: kinds, width, height }, notes) {
  const data = new Float32Array(3 * kinds.length);
  for (const [index, kind] of kinds.entries()) data.set(COLOURS[kind], 3 * index);
  return { kind: "picture", pixels: { data, width, height, channels: 3 }, notes };
}

/** Return the image of a grid with several pixels per position, as `ImageData` holds it. */
function enlarge({ data: kinds, width: side }, scale) {
  const width = side * scale;
  const data = new Uint8ClampedArray(4 * width * width);
  for (let index = 0; index < width * width; index++) {
    const [row, column] = [Math.floor(index / width), index % width].map((place) => Math.floor(place / scale));
    const colour = COLOURS[kinds[row * side + column]];
    data.set([255 * colour[0], 255 * colour[1], 255 * colour[2], 255], 4 * index);
  }
  return { data, width, height: width };
}

/** Return a label and a sentence for a route. Mirrors `describe_route`. */
function describeRoute(maze, steps, stepsLeft, isStoppedByWall, maxSteps) {
  const shortest = maze.countSteps(maze.start);
  if (stepsLeft === 0) {
    const detour = steps > shortest ? ` (the shortest path has ${shortest})` : "";
    return { label: "reaches the goal", sentence: `Solved: it reaches the goal in ${formatSteps(steps)}${detour}` };
  }
  const place = `${formatSteps(stepsLeft)} short of the goal`;
  if (isStoppedByWall) {
    return { label: "hits a wall", sentence: `Not solved: after ${formatSteps(steps)} the path hits a wall, ${place}` };
  }
  if (isOnShortestRoute(maze, steps, stepsLeft, maxSteps)) {
    const limit = `All ${formatSteps(steps)} of the answer are correct`;
    return { label: "on the way", sentence: `${limit}; the goal is ${formatSteps(stepsLeft)} further` };
  }
  return { label: "stops early", sentence: `Not solved: the path stops after ${formatSteps(steps)}, ${place}` };
}

/** Return whether a route has all steps of an answer and is the first part of a shortest one. */
function isOnShortestRoute(maze, steps, stepsLeft, maxSteps) {
  return steps === maxSteps && steps + stepsLeft === maze.countSteps(maze.start);
}

function formatSteps(steps) {
  return `${steps} step${steps === 1 ? "" : "s"}`;
}
