/** Maze grid and maze generator. Mirrors `training.data.maze`. A position is [row, column]. */

const MOVES = [
  [-1, 0],
  [1, 0],
  [0, -1],
  [0, 1],
  [0, 0],
]; // in the published order: up, down, left, right, wait

/** Index of the move that waits. */
export const WAIT = 4;
/** Kind of a position that is a wall. */
export const WALL = 0;
/** Kind of a position that is a path. */
export const PATH = 1;
/** Kind of the start. */
export const START = 2;
/** Kind of the goal. */
export const GOAL = 3;
/** Kind of a position of a route that is drawn in. */
export const SOLUTION = 4;
/** Red, green and blue of every kind, 0 or 1. Mirrors `COLOURS`. */
export const COLOURS = [
  [0, 0, 0],
  [1, 1, 1],
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];
/** Fewest positions per side. */
export const MIN_SIDE = 5;
/** Most positions per side. */
export const MAX_SIDE = 199;

/** A maze with one start and one goal. Mirrors `Maze`. */
export class Maze {
  #stepsToGoal = null;

  /** @param {import("../images/plane.js").Plane} grid - WALL, PATH, START or GOAL at each position, `Uint8Array`. */
  constructor(grid) {
    this.grid = grid;
    this.start = this.#findPosition(START);
    this.goal = this.#findPosition(GOAL);
  }

  #findPosition(kind) {
    const index = this.grid.data.indexOf(kind);
    return [Math.floor(index / this.grid.width), index % this.grid.width];
  }

  /**
   * Return the number of steps from a position to the goal.
   *
   * @param {number[]} position - Position inside the maze.
   * @returns {number} The steps; -1 if no way leads to the goal.
   */
  countSteps([row, column]) {
    this.#stepsToGoal ??= this.#computeSteps();
    return this.#stepsToGoal[row * this.grid.width + column];
  }

  #computeSteps() {
    const { width, height } = this.grid;
    const steps = new Int32Array(width * height).fill(-1);
    steps[this.goal[0] * width + this.goal[1]] = 0;
    const queue = [this.goal];
    for (const position of queue) {
      for (const move of MOVES.slice(0, WAIT)) {
        const neighbour = applyMove(position, move);
        const index = neighbour[0] * width + neighbour[1];
        if (!this.isOpen(neighbour) || steps[index] >= 0) continue;
        steps[index] = steps[position[0] * width + position[1]] + 1;
        queue.push(neighbour);
      }
    }
    return steps;
  }

  /**
   * Return whether a position lies inside the maze and is no wall.
   *
   * @param {number[]} position - The position.
   * @returns {boolean} Whether it is open.
   */
  isOpen([row, column]) {
    const { width, height, data } = this.grid;
    return row >= 0 && row < height && column >= 0 && column < width && data[row * width + column] !== WALL;
  }

  /**
   * Follow moves from the start until the goal, a wall or the last move. Mirrors `Maze.walk`.
   *
   * @param {number[]} choices - Indices of moves: up, down, left, right, wait.
   * @returns {{route: number[][], isStoppedByWall: boolean}} Positions on the route, and whether a wall stopped it.
   */
  walk(choices) {
    const route = [this.start];
    for (const choice of choices) {
      if (this.countSteps(route.at(-1)) === 0) break;
      const position = applyMove(route.at(-1), MOVES[choice]);
      if (!this.isOpen(position)) return { route, isStoppedByWall: true };
      if (choice !== WAIT) route.push(position);
    }
    return { route, isStoppedByWall: false };
  }

  /**
   * Return the moves of a shortest route to the goal. Mirrors `Maze.find_shortest_moves`.
   *
   * @returns {number[]} Indices of moves.
   */
  findShortestMoves() {
    const choices = [];
    let position = this.start;
    while (this.countSteps(position) > 0) {
      const steps = this.countSteps(position);
      const choice = MOVES.findIndex((move) => {
        const neighbour = applyMove(position, move);
        return this.isOpen(neighbour) && this.countSteps(neighbour) === steps - 1;
      });
      choices.push(choice);
      position = applyMove(position, MOVES[choice]);
    }
    return choices;
  }
}

function applyMove([row, column], [down, right]) {
  return [row + down, column + right];
}

/**
 * Generate a maze with the recursive backtracker. Mirrors `carve_maze` and `build_grid`.
 *
 * @param {number} cells - Cells per side.
 * @param {import("./splits.js").RandomSource} random - Source of random numbers.
 * @returns {import("../images/plane.js").Plane} Grid of WALL and PATH with 2 `cells` + 1 positions per side.
 */
export function carveGrid(cells, random) {
  const side = 2 * cells + 1;
  const data = new Uint8Array(side * side);
  const at = (row, column) => (2 * row + 1) * side + 2 * column + 1;
  const stack = [[random.drawInteger(0, cells - 1), random.drawInteger(0, cells - 1)]];
  data[at(...stack[0])] = PATH;
  while (stack.length) {
    const cell = stack.at(-1);
    const free = MOVES.slice(0, WAIT)
      .map((move) => applyMove(cell, move))
      .filter(
        ([row, column]) => row >= 0 && row < cells && column >= 0 && column < cells && data[at(row, column)] === WALL,
      );
    if (!free.length) {
      stack.pop();
      continue;
    }
    const next = free[random.drawInteger(0, free.length - 1)];
    data[at(...next)] = PATH;
    data[(cell[0] + next[0] + 1) * side + cell[1] + next[1] + 1] = PATH; // the opening between the two cells
    stack.push(next);
  }
  return { data, width: side, height: side };
}

/**
 * Return bytes that are equal for a maze and all its rotations and reflections. Mirrors `compute_canonical_bytes`.
 *
 * @param {import("../images/plane.js").Plane} grid - Square grid.
 * @returns {Uint8Array} The smallest of the eight grids.
 */
export function computeCanonicalBytes({ data, width: side }) {
  let smallest = null;
  for (let view = 0; view < 8; view++) {
    const bytes = data.map((_, index) => {
      let [row, column] = [Math.floor(index / side), index % side];
      if (view & 1) row = side - 1 - row;
      if (view & 2) column = side - 1 - column;
      return data[view & 4 ? column * side + row : row * side + column];
    });
    if (!smallest || compareBytes(bytes, smallest) < 0) smallest = bytes;
  }
  return smallest;
}

function compareBytes(one, other) {
  const index = one.findIndex((value, place) => value !== other[place]);
  return index < 0 ? 0 : one[index] - other[index];
}
