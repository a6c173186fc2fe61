/** Component: how difficult a random input is, with the measured accuracy at that difficulty. */

import { findParts, setText } from "../common/dom.js";
import { createMount } from "../common/mount.js";
import { readObject } from "../common/validate.js";
import { describeLevel, parseScale } from "./scale.js";

export const mount = createMount(({ element, props, trigger }) => {
  const { root, slider, label, line } = findParts(element, "difficulty");
  let scale = parseScale(null);
  const show = () => {
    const texts = describeLevel(scale);
    label.textContent = texts.label;
    setText(line, texts.line);
    slider.setAttribute("aria-valuetext", `${scale.levels[scale.selected].level} ${scale.name}. ${texts.line}`);
  };
  slider.addEventListener("input", () => {
    scale = { ...scale, selected: Number(slider.value) };
    show();
  });
  slider.addEventListener("change", () => {
    props.value = { ...readObject(props.value), selected: scale.selected };
    trigger("input");
  });
  return () => {
    scale = parseScale(props.value);
    root.hidden = !scale.levels.length;
    if (root.hidden) return;
    slider.max = String(scale.levels.length - 1);
    slider.value = String(scale.selected);
    show();
  };
});
