/** Component: the log of a training. */

import { createMount } from "../common/mount.js";
import { LogComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new LogComponent(context);
  return () => component.receive();
});
