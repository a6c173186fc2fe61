/** Component: lets a maze model go on from the end of its route. */

import { createMount } from "../common/mount.js";
import { TeleportComponent } from "./component.js";

export const mount = createMount((context) => {
  new TeleportComponent(context);
  return () => {};
});
