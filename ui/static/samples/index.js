/** Component: live samples of a run. */

import { createMount } from "../common/mount.js";
import { watchSize, watchTheme } from "../common/observe.js";
import { SamplesComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new SamplesComponent(context);
  watchSize(
    context.element,
    () => context.element.clientWidth,
    () => component.draw(),
  );
  watchTheme(context.element, () => component.draw());
  return () => component.receive();
});
