/** Component: an editor, for building an input by hand. */

import { createMount } from "../common/mount.js";
import { EditorComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new EditorComponent(context);
  return () => component.receive();
});
