/** Component: gallery of models. */

import { createMount } from "../common/mount.js";
import { watchSize } from "../common/observe.js";
import { GalleryComponent } from "./component.js";

export const mount = createMount((context) => {
  const component = new GalleryComponent(context);
  watchSize(
    context.element,
    () => component.width,
    () => component.width && component.redraw(),
  );
  return () => component.receive();
});
