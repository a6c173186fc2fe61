/** Which panels stand on the stage, and in which order the others follow. */

import { activityPanel } from "./panels/activity.js";
import { answerPanel } from "./panels/answer.js";
import { attentionPanel } from "./panels/attention.js";
import { chartPanel } from "./panels/chart.js";
import { ctcPanel } from "./panels/ctc.js";
import { inputPanel } from "./panels/input.js";
import { lookPanel } from "./panels/look.js";
import { routePanel } from "./panels/route.js";
import { schedulePanel } from "./panels/schedule.js";
import { stackPanel } from "./panels/stack.js";
import { trackingPanel } from "./panels/tracking.js";

/** All panels, in the order in which those below the stage follow. @type {import("./panel.js").Panel[]} */
export const PANELS = [
  chartPanel,
  routePanel,
  trackingPanel,
  stackPanel,
  ctcPanel,
  schedulePanel,
  lookPanel,
  inputPanel,
  answerPanel,
  attentionPanel,
  activityPanel,
];

/** Panels of which the first that has something to show is alone on the stage. */
const TASK_PANELS = [routePanel, trackingPanel, stackPanel, ctcPanel, schedulePanel];
/** Panels that share the stage for every other task. */
const GENERAL_PANELS = [lookPanel, inputPanel, answerPanel];
/** Panels of a task that are flat, so that attention has room below them; as for other sequences. */
const FLAT_PANELS = [stackPanel, ctcPanel, schedulePanel];

/**
 * Distribute the panels that have something to show.
 *
 * @param {import("./parse-record.js").Thought} thought - The thought.
 * @returns {{stage: string[], below: string[]}} Names of the panels on the stage and below it. The chart has a place of its own.
 */
export function distributePanels(thought) {
  const isShown = ({ select }) => Boolean(select(thought));
  const own = TASK_PANELS.find(isShown);
  const panels = own ? [own] : GENERAL_PANELS.filter(isShown);
  const hasRoom = own ? FLAT_PANELS.includes(own) : thought.input?.kind === "sequence";
  if (hasRoom && isShown(attentionPanel)) panels.push(attentionPanel);
  const stage = panels.map(({ name }) => name);
  const shown = PANELS.filter(isShown).map(({ name }) => name);
  return { stage, below: shown.filter((name) => name !== "chart" && !stage.includes(name)) };
}
