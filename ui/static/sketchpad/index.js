/** Component: a square to draw in. */

import { createMount } from "../common/mount.js";
import { SketchpadComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new SketchpadComponent(context);
  return () => component.receive();
});
