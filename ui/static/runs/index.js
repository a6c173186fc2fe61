/** Component: list of runs. */

import { createMount } from "../common/mount.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { RunsComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new RunsComponent(context);
  watchSize(
    context.element,
    () => context.element.clientWidth,
    () => component.poll(),
  );
  watchTheme(context.element, () => component.showSelection());
  return () => component.receive();
});
