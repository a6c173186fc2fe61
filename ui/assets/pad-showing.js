// --- which pad is shown ------------------------------------------------------------------------------------------------

const KINDS = { bits: bitsPad, path: pathPad, maze: mazePad, digits: digitsPad };
const root = element.querySelector("[data-pad=root]");
let pad = null;
let named = null; // the kind and sizes of the pad that is there, as text
let held = ""; // what was made last, here or elsewhere
let told = []; // what was made here and has not come back yet: a text that is written to says so, somewhat later

function receive() {
  const { made, ...spec } = object(props.value), name = JSON.stringify(spec), latest = typeof made === "string" ? made : "";
  if (name !== named) {
    named = name;
    [held, told] = ["", []];
    root.replaceChildren();
    pad = Object.hasOwn(KINDS, spec.kind) ? KINDS[spec.kind](root, spec, tell) : null;
    root.hidden = !pad;
  }
  const echo = told.lastIndexOf(latest);
  told = told.slice(echo + 1);
  if (echo >= 0 || latest === held) return;
  [held, told] = [latest, []];
  pad?.show(latest);
}

function tell(made) {
  if (made === held) return;
  held = made;
  told = [...told, made].slice(-100);
  props.value = { ...props.value, made };
  trigger("input");
}

watch("value", receive);
receive();
