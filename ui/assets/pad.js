// Pads: ways to make an input by hand. Gradio runs this once per mounted component, as the body of a function that is given
// `element` (the component's root), `props`, `trigger` and `watch`. Nothing here is global.
//
// The value names the kind of pad and its sizes, and holds in `made` what was made so far: a text, or a PNG data address. A kind
// is a function (root, spec, tell) that fills `root` and gives { show(made) }, which takes over what was made elsewhere; what a
// person makes goes to `tell`. Values may come from anywhere: every number is checked, every text is written as text.
const whole = (x, least, most) => (Number.isFinite(x) ? clamp(Math.round(x), least, most) : least);
const among = (count) => Math.floor(Math.random() * count);
const counted = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

/** An element with attributes (those that are functions are listeners) and children. */
function make(tag, attributes = {}, ...children) {
  const made = /^(svg|g|circle|text|path|polyline)$/.test(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const button = (words, act, attributes = {}) => make("button", { type: "button", click: act, ...attributes }, words);
const bar = (...children) => make("div", { class: "pad-bar" }, ...children);
const note = () => make("p", { class: "pad-note", role: "status" });

/** How far an arrow key goes: [rows, columns]; null for other keys. */
function arrow(event) {
  return { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? null;
}

/** Where a pointer is in a field, from 0 to 1 each: [from the top, from the left]. */
function within(field, event) {
  const box = field.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
}
