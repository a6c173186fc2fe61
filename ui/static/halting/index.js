/** Component: when a checkpoint stops. */

import { createMount } from "../common/mount.js";
import { watchSize } from "../common/observe.js";
import { HaltingComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new HaltingComponent(context);
  watchSize(
    context.element,
    () => component.width,
    () => component.width && component.draw(),
  );
  return () => component.receive();
});
