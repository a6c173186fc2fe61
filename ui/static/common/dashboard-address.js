/** The state of the dashboard in the address of the page: `?tab=train&runs=a,b&x=time`. */

/** What is to the right in the charts. */
export const X_AXES = ["step", "time", "samples"];
const MAX_RUNS = 6;
const MAX_CHARS = 2000;

/**
 * Read the state of an address.
 *
 * @param {string} search - Query of the address.
 * @returns {{runs: string[], x: string}} The runs, and the horizontal axis; "step" where none of `X_AXES` is named.
 */
export function readDashboardAddress(search) {
  const parameters = new URLSearchParams(search);
  const runs = (parameters.get("runs") ?? "").slice(0, MAX_CHARS).split(",").filter(Boolean);
  const x = parameters.get("x");
  return { runs: [...new Set(runs)].slice(0, MAX_RUNS), x: X_AXES.includes(x) ? x : "step" };
}

/**
 * Write a state into an address.
 *
 * @param {string} search - Query of the address.
 * @param {{runs?: string[], x?: string} | null} state - What changes; null removes the state and the tab.
 * @returns {string} The new query, with its question mark; empty if there is nothing in it.
 */
export function writeDashboardAddress(search, state) {
  const parameters = new URLSearchParams(search);
  if (state) {
    const { runs, x } = { ...readDashboardAddress(search), ...state };
    parameters.set("tab", "train");
    setOrDelete(parameters, "runs", runs.join(","));
    setOrDelete(parameters, "x", x === "step" ? "" : x);
  } else for (const name of ["tab", "runs", "x"]) parameters.delete(name);
  const text = parameters.toString().replaceAll("%2C", ",");
  return text && `?${text}`;
}

function setOrDelete(parameters, name, value) {
  if (value) parameters.set(name, value);
  else parameters.delete(name);
}

/**
 * Put a state into the address of this page, without a new entry in its history.
 *
 * @param {{runs?: string[], x?: string} | null} state - See `writeDashboardAddress`.
 */
export function showInAddress(state) {
  const search = writeDashboardAddress(location.search, state);
  if (search !== location.search) history.replaceState(history.state, "", location.pathname + search + location.hash);
}
