/** Where cells and pictures go. */

const GROUP_GAP = 12;

/**
 * Lay out cells in reading order, in rows of about equal length that break between groups where a group fits into a row.
 *
 * @param {number} count - How many cells.
 * @param {number} groupSize - Cells a group.
 * @param {number} cellWidth - Width of a cell in pixels.
 * @param {number} width - Room in pixels.
 * @returns {{places: {x: number, row: number}[], rows: number}} Left edge and row of each cell, and how many rows there are.
 */
export function layOutCells(count, groupSize, cellWidth, width) {
  const groupGap = groupSize > 1 ? GROUP_GAP : 0;
  const unit = groupSize * cellWidth + groupGap <= width + groupGap ? groupSize : 1;
  const gap = unit > 1 ? groupGap : 0;
  const fitting = Math.max(1, Math.floor((width + groupGap) / (unit * cellWidth + gap)));
  const units = Math.ceil(count / unit);
  const columns = Math.ceil(units / Math.ceil(units / fitting)) * unit;
  const places = Array.from({ length: count }, (_, index) => {
    const column = index % columns;
    return { x: column * cellWidth + Math.floor(column / unit) * gap, row: Math.floor(index / columns) };
  });
  return { places, rows: Math.ceil(count / columns) };
}

/**
 * Find the number of columns that lets pictures be largest in a space.
 *
 * @param {number} count - How many pictures.
 * @param {{width: number, height: number}} space - The space in pixels.
 * @param {{ratio: number, gap: number, label: number}} picture - Height by width of a picture, the gap between two, and the height of its label.
 * @returns {{columns: number, side: number}} The columns, and the width of a picture in pixels; 0 if none fits.
 */
export function fitGrid(count, { width, height }, { ratio, gap, label }) {
  let best = { columns: 1, side: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const side = Math.min((width - gap * (columns - 1)) / columns, (height / rows - label - 2) / ratio);
    if (side > best.side) best = { columns, side };
  }
  return best;
}
