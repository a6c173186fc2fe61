/** The parts of a route that came before the one that is shown, when the start was moved to the end of a route. */

let earlierRoute = [];

/**
 * Set the earlier parts, joined.
 *
 * @param {number[][]} route - [row, column] of each place; empty for none.
 */
export function setEarlierRoute(route) {
  earlierRoute = route;
}

/**
 * Return the earlier parts, joined.
 *
 * @returns {number[][]} [row, column] of each place; empty for none.
 */
export function getEarlierRoute() {
  return earlierRoute;
}
