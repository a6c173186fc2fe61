/** Mazes as plain data: walls and paths, one start, one goal. Tiles are numbered row by row. */

/** Fewest and most tiles a side. */
export const MIN_SIDE = 5;
export const MAX_SIDE = 199;

/** Colours of tiles in a picture of one pixel a tile, [red, green, blue]. */
export const TILE_COLOURS = { wall: [0, 0, 0], path: [255, 255, 255], start: [255, 0, 0], goal: [0, 255, 0] };

/**
 * @typedef {"wall" | "path" | "start" | "goal"} Tile
 *
 * @typedef {object} Maze
 * @property {number} rows - Its height in tiles.
 * @property {number} columns - Its width in tiles.
 * @property {number[]} open - 1 for each tile that is no wall, else 0.
 * @property {number} start - Number of the start.
 * @property {number} goal - Number of the goal.
 * @property {("start" | "goal")[]} [missing] - What a picture did not show, so that its tile is arbitrary.
 */

/**
 * Build an empty room: walls around, nothing inside.
 *
 * @param {number} side - Tiles a side, at least `MIN_SIDE`.
 * @returns {Maze} The room, with start and goal in opposite corners.
 */
export function buildRoom(side) {
  const room = { rows: side, columns: side, start: side + 1, goal: side * side - side - 2 };
  const open = Array.from({ length: side * side }, (_, tile) => (isBorder(room, tile) ? 0 : 1));
  return { ...room, open };
}

function isBorder({ rows, columns }, tile) {
  const [row, column] = toRowAndColumn({ columns }, tile);
  return row === 0 || row === rows - 1 || column === 0 || column === columns - 1;
}

/**
 * Return where a tile is.
 *
 * @param {{columns: number}} maze - The maze.
 * @param {number} tile - Number of the tile.
 * @returns {number[]} [row, column].
 */
export function toRowAndColumn({ columns }, tile) {
  return [Math.floor(tile / columns), tile % columns];
}

/**
 * Return what a tile is.
 *
 * @param {Maze} maze - The maze.
 * @param {number} tile - Number of the tile.
 * @returns {Tile} What it is.
 */
export function getTile({ open, start, goal }, tile) {
  if (tile === start) return "start";
  if (tile === goal) return "goal";
  return open[tile] ? "path" : "wall";
}

/**
 * Place something in a maze. Start and goal go to the nearest path; a wall or path does not replace them.
 *
 * @param {Maze} maze - The maze; it is left as it is.
 * @param {Tile} what - What to place.
 * @param {number} tile - Number of the tile.
 * @returns {Maze} The changed maze; the same object if nothing changes.
 */
export function placeTile(maze, what, tile) {
  if (what === "start" || what === "goal") {
    const nearest = findNearestPath(maze, tile, maze[what === "start" ? "goal" : "start"]);
    if (nearest === null) return maze;
    const placed = maze.missing?.includes(what) ? markPlaced(maze, what) : maze;
    return nearest === maze[what] ? placed : { ...placed, [what]: nearest };
  }
  const value = what === "path" ? 1 : 0;
  if (tile === maze.start || tile === maze.goal || Number(Boolean(maze.open[tile])) === value) return maze;
  return { ...maze, open: maze.open.with(tile, value) };
}

/** Return a maze in which something is no longer missing. */
function markPlaced({ missing, ...maze }, what) {
  const rest = missing.filter((name) => name !== what);
  return rest.length ? { ...maze, missing: rest } : maze;
}

/**
 * Find the path that is nearest to a tile.
 *
 * @param {Maze} maze - The maze.
 * @param {number} tile - Number of the tile.
 * @param {number} taken - A tile that does not count.
 * @returns {number | null} Number of the path; null if there is none.
 */
export function findNearestPath(maze, tile, taken) {
  const [row, column] = toRowAndColumn(maze, tile);
  let [best, bestDistance] = [null, Number.POSITIVE_INFINITY];
  for (const [other, isOpen] of maze.open.entries()) {
    if (!isOpen || other === taken) continue;
    const [otherRow, otherColumn] = toRowAndColumn(maze, other);
    const distance = (otherRow - row) ** 2 + (otherColumn - column) ** 2;
    if (distance < bestDistance) [best, bestDistance] = [other, distance];
  }
  return best;
}

/**
 * Remove all walls inside.
 *
 * @param {Maze} maze - The maze; it is left as it is.
 * @returns {Maze} The changed maze.
 */
export function removeInnerWalls(maze) {
  return { ...maze, open: maze.open.map((isOpen, tile) => (isOpen || !isBorder(maze, tile) ? 1 : 0)) };
}

/**
 * Count the steps from start to goal.
 *
 * @param {Maze} maze - The maze.
 * @returns {number | null} Steps of the shortest way; null if there is none.
 */
export function countSteps(maze) {
  const { open, start, goal } = maze;
  const steps = new Map([[start, 0]]);
  const queue = [start];
  for (const tile of queue) {
    if (tile === goal) return steps.get(tile);
    for (const neighbour of listNeighbours(maze, tile)) {
      if (!open[neighbour] || steps.has(neighbour)) continue;
      steps.set(neighbour, steps.get(tile) + 1);
      queue.push(neighbour);
    }
  }
  return null;
}

function listNeighbours({ rows, columns }, tile) {
  const [row, column] = toRowAndColumn({ columns }, tile);
  const neighbours = [];
  if (row > 0) neighbours.push(tile - columns);
  if (row < rows - 1) neighbours.push(tile + columns);
  if (column > 0) neighbours.push(tile - 1);
  if (column < columns - 1) neighbours.push(tile + 1);
  return neighbours;
}

/**
 * List the tiles on the straight way between two tiles.
 *
 * @param {{columns: number}} maze - The maze.
 * @param {number} from - Number of the first tile.
 * @param {number} to - Number of the last tile.
 * @returns {number[]} Numbers of the tiles, with both ends.
 */
export function listTilesBetween(maze, from, to) {
  const [first, last] = [from, to].map((tile) => toRowAndColumn(maze, tile));
  const count = Math.max(Math.abs(last[0] - first[0]), Math.abs(last[1] - first[1]));
  return Array.from({ length: count + 1 }, (_, part) => {
    const share = count ? part / count : 0;
    const [row, column] = [0, 1].map((axis) => Math.round(first[axis] + share * (last[axis] - first[axis])));
    return row * maze.columns + column;
  });
}

/**
 * Encode a maze as pixels, one a tile.
 *
 * @param {Maze} maze - The maze.
 * @returns {Uint8ClampedArray} Red, green, blue and opacity of each tile.
 */
export function encodePixels(maze) {
  return new Uint8ClampedArray(maze.open.flatMap((_, tile) => [...TILE_COLOURS[getTile(maze, tile)], 255]));
}

/**
 * Decode a maze from pixels, one a tile.
 *
 * @param {ArrayLike<number>} pixels - Red, green, blue and opacity of each tile.
 * @param {number} rows - Its height in tiles.
 * @param {number} columns - Its width in tiles.
 * @returns {Maze | null} The maze, in which the first and the last path stand for a missing start and goal; null if it has no
 *   paths for both, or if its size is not supported.
 */
export function decodePixels(pixels, rows, columns) {
  if (!isSupportedSize(rows, columns)) return null;
  const tiles = Array.from({ length: rows * columns }, (_, tile) => classifyPixel(pixels, 4 * tile));
  const missing = ["start", "goal"].filter((name) => !tiles.includes(name));
  if (tiles.filter((tile) => tile === "path").length < missing.length) return null;
  const start = missing.includes("start") ? tiles.indexOf("path") : tiles.indexOf("start");
  const goal = missing.includes("goal") ? tiles.lastIndexOf("path") : tiles.indexOf("goal");
  const maze = { rows, columns, open: tiles.map((tile) => (tile === "wall" ? 0 : 1)), start, goal };
  return missing.length ? { ...maze, missing } : maze;
}

/**
 * Return whether a maze may have a size.
 *
 * @param {number} rows - Its height in tiles.
 * @param {number} columns - Its width in tiles.
 * @returns {boolean} Whether it may.
 */
export function isSupportedSize(rows, columns) {
  return Math.min(rows, columns) >= MIN_SIDE && Math.max(rows, columns) <= MAX_SIDE;
}

/** Return the tile whose colour is nearest. */
function classifyPixel(pixels, at) {
  const names = Object.keys(TILE_COLOURS);
  const distances = names.map((name) => {
    return TILE_COLOURS[name].reduce((sum, value, channel) => sum + (value - pixels[at + channel]) ** 2, 0);
  });
  return names[distances.indexOf(Math.min(...distances))];
}
