/** How the halting view starts, with either kind of charts. */

import { createMount } from "../common/mount.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { HaltingComponent } from "./component.js";

/**
 * Create the `mount` function of the component.
 *
 * @param {typeof import("./svg-charts.js").SvgCharts} Charts - Draws the charts.
 * @returns {Function} See `createMount`.
 */
export function createHaltingMount(Charts) {
  return createMount((context) => {
    const component = new HaltingComponent(context, Charts);
    watchSize(
      context.element,
      () => component.width,
      () => component.draw(),
    );
    watchTheme(context.element, () => component.draw());
    return () => component.receive();
  });
}
