/** Component: a comparison of several policies or models. */

import { createMount } from "../common/mount.js";
import { CompareComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new CompareComponent(context);
  return () => component.receive();
});
