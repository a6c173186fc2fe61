/** Component: what a Continuous Thought Machine is, in four steps that are bound to the result above. */

import { createButton, findParts } from "../common/dom.js";
import { createMount } from "../common/mount.js";
import { prefersReducedMotion } from "../common/playback.js";
import { requestPosition } from "../common/shown-unroll.js";
import { PanelMarks } from "./panels.js";
import { STEPS } from "./steps.js";

const SHOWN_SHARE = 0.75; // of a step, so that it counts as the one that is read

export const mount = createMount(({ element }) => {
  const { steps: scroller, dots } = findParts(element, "explanation");
  const steps = [...scroller.querySelectorAll("[data-step]")];
  const marks = new PanelMarks();
  let isUsed = false; // the visitor has moved through the steps: before that, the page moves nothing
  let current = null;
  let term = null; // under the pointer or focused: its mark stays while the steps move

  const showStep = (step, mayMove) => {
    current = step;
    const { panels, position } = STEPS[step.dataset.step];
    marks.mark(term ? term.dataset.panels.split(" ") : panels);
    if (mayMove) requestPosition(position);
    for (const [index, dot] of [...dots.children].entries()) {
      if (steps[index] === step) dot.setAttribute("aria-current", "step");
      else dot.removeAttribute("aria-current");
    }
  };
  const leave = () => {
    current = null;
    marks.mark([]);
  };

  dots.append(
    ...steps.map((step, index) => {
      const label = `Step ${step.querySelector("h4").textContent}`;
      const open = () => {
        isUsed = true;
        scroller.scrollLeft = step.offsetLeft;
        showStep(step, true);
      };
      return createButton(String(index + 1), open, { "aria-label": label });
    }),
  );
  scroller.addEventListener("scroll", () => {
    isUsed = true;
  });
  const reading = new IntersectionObserver(
    (entries) => {
      const shown = entries.find(({ intersectionRatio }) => intersectionRatio >= SHOWN_SHARE)?.target;
      if (isUsed && shown && shown !== current) showStep(shown, !prefersReducedMotion());
    },
    { root: scroller, threshold: SHOWN_SHARE },
  );
  for (const step of steps) reading.observe(step);
  new IntersectionObserver(([entry]) => entry.isIntersecting || leave()).observe(element);

  for (const button of scroller.querySelectorAll("[data-panels]")) {
    const panels = button.dataset.panels.split(" ");
    const enter = () => {
      term = button;
      marks.mark(panels);
    };
    const restore = () => {
      term = null;
      marks.mark(current ? STEPS[current.dataset.step].panels : []);
    };
    for (const name of ["pointerenter", "focus"]) button.addEventListener(name, enter);
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, restore);
    button.addEventListener("click", () => marks.mark(panels)?.scrollIntoView({ block: "nearest" }));
  }
  return () => {};
});
