/** Component: a thought, drawn from one record of plain numbers and replayed tick by tick. */

import { createMount } from "../common/mount.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { ThoughtComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new ThoughtComponent(context);
  watchSize(
    context.element,
    () => component.width,
    () => component.draw(),
  );
  watchTheme(context.element, () => component.refreshTheme());
  return () => component.receive();
});
