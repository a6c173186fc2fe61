/** Component: a square to draw in. */

import { createMount } from "../common/mount.js";
import { SketchpadComponent } from "./component.js";

export const mount = createMount((context) => {
  new SketchpadComponent(context);
  return () => {}; // the visitor draws: a value from elsewhere has nothing to show
});
