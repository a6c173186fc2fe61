/** Component: one sentence about an input that cannot be used, next to the control that caused it. */

import { findParts } from "../common/dom.js";
import { createMount } from "../common/mount.js";
import { CheckpointSelection } from "../common/selection.js";
import { readObject, readText } from "../common/validate.js";

export const mount = createMount(({ element, props }) => {
  const { root } = findParts(element, "problem");
  const selection = new CheckpointSelection();
  return () => {
    if (!selection.accepts(props.value)) return;
    const text = readText(readObject(props.value).problem);
    root.textContent = text;
    root.hidden = !text;
    if (text) root.scrollIntoView({ block: "nearest" });
  };
});
