/** The steps of the explanation: the panels that each one is about, and where in the unroll it moves the stage. */

/**
 * @typedef {object} Step
 * @property {string[]} panels - Names of panels, the best one first.
 * @property {number} position - Share of the unroll: 0 for the first tick, 1 for the tick at which the model stopped.
 */

/** @type {Record<string, Step>} Steps by name. */
export const STEPS = {
  ticks: { panels: ["look", "route", "tracking", "stack", "ctc", "schedule", "answer"], position: 0 },
  memory: { panels: ["activity"], position: 1 / 3 },
  synchrony: { panels: ["answer", "route", "tracking", "stack", "ctc"], position: 2 / 3 },
  energy: { panels: ["chart"], position: 1 },
};
