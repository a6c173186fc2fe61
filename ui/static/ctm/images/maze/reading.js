/** What is recognised of a maze in an image, and the maze that it becomes. Mirrors `training.data.maze_reader.reading`. */

import { GOAL, Maze, PATH, START, WALL } from "../../tasks/maze.js";
import { InputError } from "../../tasks/text.js";
import { mapPlane } from "../plane.js";

/**
 * What is recognised in an image. Mirrors `MazeReading`.
 *
 * @typedef {object} MazeReading
 * @property {import("../plane.js").Plane} grid - WALL, PATH, START or GOAL at each position, `Uint8Array`.
 * @property {number[] | null} start - Position of the start, [row, column], or null.
 * @property {number[] | null} goal - Position of the goal, or null.
 * @property {number} confidence - 0 to 1: the share of positions that are as they must be in a maze.
 * @property {string[]} notes - What is doubtful, as sentences.
 * @property {string[]} problems - Why start or goal are missing, as parts of a sentence.
 */

/** A maze without a start or a goal. Mirrors `IncompleteMazeError`. */
export class IncompleteMazeError extends InputError {}

/**
 * Return the maze of a reading, with start and goal set by hand where they are given. Mirrors `complete_maze`.
 *
 * @param {MazeReading} reading - The reading.
 * @param {number[] | null} [givenStart] - Position of a start that is set by hand.
 * @param {number[] | null} [givenGoal] - Position of a goal that is set by hand.
 * @returns {Maze} The maze.
 * @throws {IncompleteMazeError} The start or the goal is missing.
 * @throws {InputError} A position is no path, or no way leads from the start to the goal.
 */
export function completeMaze(reading, givenStart = null, givenGoal = null) {
  const [start, goal] = [givenStart ?? reading.start, givenGoal ?? reading.goal];
  if (!start || !goal) throw new IncompleteMazeError(describeMissing(reading, start, goal));
  const grid = mapPlane(reading.grid, (kind) => (kind === WALL ? WALL : PATH), Uint8Array);
  const { width, height, data } = grid;
  for (const [name, [row, column]] of [
    ["start", start],
    ["goal", goal],
  ]) {
    const isInside = row >= 0 && row < height && column >= 0 && column < width;
    if (!isInside || data[row * width + column] === WALL) {
      throw new InputError(
        `The ${name} must be a path of the maze of ${width} x ${height} positions, got ${row}, ${column}.`,
      );
    }
  }
  if (start[0] === goal[0] && start[1] === goal[1]) {
    throw new InputError("The start and the goal must be two positions of the maze.");
  }
  data[start[0] * width + start[1]] = START;
  data[goal[0] * width + goal[1]] = GOAL;
  const maze = new Maze(grid);
  if (maze.countSteps(maze.start) < 0) {
    throw new InputError(
      `The goal cannot be reached from the start of this maze of ${width} x ${height} positions. ` +
        "Remove a wall between them.",
    );
  }
  return maze;
}

/** Return a sentence that says what is recognised and what is missing. */
function describeMissing({ grid, problems }, start, goal) {
  const missing = [...(start ? [] : ["red start"]), ...(goal ? [] : ["green goal"])];
  const problem = problems.join(" and ") || `has no ${missing.join(" and no ")}`;
  return `The maze of ${grid.width} x ${grid.height} positions ${problem}. Mark them, or place them in the editor.`;
}
