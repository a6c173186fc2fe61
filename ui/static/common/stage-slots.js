/** Places around the stage where other components stand while an unroll is shown. */

import { followShownUnroll } from "./shown-unroll.js";

/**
 * Let an element stand at a place of the stage while an unroll is shown, and at home otherwise.
 *
 * @param {HTMLElement} element - The element.
 * @param {HTMLElement} home - Its own component.
 * @param {"actions" | "below"} name - Place: beside the controls, or below the stage.
 */
export function standAtStage(element, home, name) {
  followShownUnroll((unroll) => {
    const place = (unroll && document.querySelector(`[data-stage-slot="${name}"]`)) || home;
    if (element.parentElement !== place) place.append(element);
  });
}
