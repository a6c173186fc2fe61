/** Component: task cards, presets and sliders of a new run. */

import { createMount } from "../common/mount.js";
import { watchSize } from "../common/observe.js";
import { TaskCardsComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new TaskCardsComponent(context);
  watchSize(
    context.element,
    () => component.width,
    () => component.width && component.redraw(),
  );
  return () => component.receive();
});
