/** A dot that moves over a field of cells and turns at its outer cells. */

/**
 * Reflect a straight movement at the outer cells.
 *
 * @param {number} position - Position along an axis without walls.
 * @param {number} side - Cells a side, at least 2.
 * @returns {number} Position within the field.
 */
export function reflectPosition(position, side) {
  const period = 2 * (side - 1);
  const within = ((position % period) + period) % period;
  return Math.min(within, period - within);
}

/**
 * Group frames by cell: a dot that turned may be where it was before.
 *
 * @param {(number[] | null)[]} cells - [row, column] in every frame; null where the dot is not known.
 * @returns {{cell: number[], frames: number[]}[]} Each cell with its frames, from 0.
 */
export function groupFramesByCell(cells) {
  const groups = new Map();
  for (const [frame, cell] of cells.entries()) {
    if (!cell) continue;
    const key = cell.join();
    if (!groups.has(key)) groups.set(key, { cell, frames: [] });
    groups.get(key).frames.push(frame);
  }
  return [...groups.values()];
}
