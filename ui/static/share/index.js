/** Component: buttons that share what the page shows, and the address that follows it. */

import { createMount } from "../common/mount.js";
import { ShareComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new ShareComponent(context);
  return () => component.receive();
});
