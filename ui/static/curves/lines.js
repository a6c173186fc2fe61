/** Lines of charts: where their points are, and what of them is in sight. Everything here is plain data. */

/**
 * @typedef {object} Line
 * @property {import("./parse.js").Chart} chart - Its chart.
 * @property {import("./parse.js").Run} run - Its run.
 * @property {{key: string, label: string}} series - Its series.
 * @property {number[]} at - Steps or ticks, rising.
 * @property {number[]} value - Values.
 * @property {number[] | null} smooth - Smoothed values.
 * @property {string} colour - Its colour.
 * @property {number[]} dash - Its dashes and gaps.
 * @property {boolean} isShown - Whether it is not hidden.
 */

/**
 * Find the point of a line that is nearest to a position.
 *
 * @param {{at: number[]}} line - The line.
 * @param {number} position - A step or tick.
 * @param {number[]} range - First and last position in sight.
 * @returns {number} Index of the point; -1 where the line does not reach.
 */
export function findNearest({ at }, position, [first, last]) {
  const end = at.length - 1;
  let [low, high] = [0, end];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at[middle] <= position) low = middle;
    else high = middle;
  }
  const slack = Math.max((last - first) / 50, (at[end] - at[0]) / Math.max(1, end));
  if (position < at[0] - slack || position > at[end] + slack) return -1;
  return position - at[low] <= at[high] - position ? low : high;
}

/**
 * Return the least and the largest value in sight of the lines that are shown. A line without a point in sight counts with its
 * point next to the middle.
 *
 * @param {Line[]} lines - Some lines.
 * @param {number[]} range - First and last position in sight.
 * @returns {number[] | null} Least and largest value; null if there is none.
 */
export function getExtent(lines, range) {
  const [first, last] = range;
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const line of lines.filter(({ isShown }) => isShown)) {
    const inside = line.at.flatMap((position, index) => (position >= first && position <= last ? [index] : []));
    const seen = inside.length ? inside : [findNearest(line, (first + last) / 2, range)];
    for (const index of seen.filter((place) => place >= 0)) {
      [min, max] = [Math.min(min, line.value[index]), Math.max(max, line.value[index])];
    }
  }
  return min <= max ? [min, max] : null;
}

/**
 * List the positions of all points of the lines that are shown.
 *
 * @param {Line[]} lines - Some lines.
 * @returns {number[]} The positions in rising order, each once.
 */
export function listPositions(lines) {
  const positions = lines.filter((line) => line.isShown).flatMap((line) => line.at);
  return [...new Set(positions)].sort((a, b) => a - b);
}

/**
 * Assign numbers of colours to runs. A run keeps its number while other runs come and go.
 *
 * @param {Map<string, number>} hues - Numbers by name so far.
 * @param {string[]} names - Names of the runs that are there now.
 * @returns {Map<string, number>} Numbers by name; new runs get the smallest free ones.
 */
export function assignHues(hues, names) {
  const assigned = new Map([...hues].filter(([name]) => names.includes(name)));
  for (const name of names) {
    if (assigned.has(name)) continue;
    const taken = new Set(assigned.values());
    let free = 0;
    while (taken.has(free)) free++;
    assigned.set(name, free);
  }
  return assigned;
}
