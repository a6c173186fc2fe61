/** Component: all settings of a new run. */

import { createMount } from "../common/mount.js";
import { SettingsComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new SettingsComponent(context);
  return () => component.receive();
});
