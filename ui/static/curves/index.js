/** Component: training charts. */

import { createMount } from "../common/mount.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { CurvesComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new CurvesComponent(context);
  watchSize(
    context.element,
    () => context.element.clientWidth,
    () => component.draw(),
  );
  watchTheme(context.element, () => component.refreshTheme());
  return () => component.receive();
});
