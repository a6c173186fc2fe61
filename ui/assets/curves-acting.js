// --- drawing all -----------------------------------------------------------------------------------------------------

function draw() {
  for (const panel of panels.values()) {
    layOut(panel);
    drawChart(panel);
  }
  parts.reset.classList.toggle("curves-absent", view === null);
  drawAllOver();
}

/** Only what lies over the lines: it follows the pointer. */
function drawAllOver() {
  for (const panel of panels.values()) drawOver(panel);
  showValues();
}

function receive() {
  const note = read(props.value), there = charts.length > 0;
  parts.note.hidden = there;
  parts.body.hidden = !there;
  if (!there) {
    if (parts.note.textContent !== note) parts.note.textContent = note;
    return;
  }
  look ??= readLook();
  const all = domain("step");
  if (view && all && (view[0] >= all[1] || view[1] <= all[0])) view = null; // other runs: nothing of them is in sight
  arrange();
  dress();
  draw();
}

// --- zoom and crosshair ----------------------------------------------------------------------------------------------

const LEAST_VIEW = 4; // steps

function zoomTo(from, to) {
  const all = domain("step");
  if (!all) return;
  const middle = (from + to) / 2, half = Math.max((to - from) / 2, LEAST_VIEW / 2);
  const next = [Math.max(all[0], middle - half), Math.min(all[1], middle + half)];
  view = next[0] < next[1] && (next[0] > all[0] || next[1] < all[1]) ? next : null;
  draw();
}

/** Nearer (factor below 1) or farther, with what is under the crosshair staying where it is. */
function zoomBy(factor) {
  const [first, last] = inSight("step"), at = cross.step === null ? (first + last) / 2 : clamp(cross.step, first, last);
  zoomTo(at - (at - first) * factor, at + (last - at) * factor);
}

function reset() {
  view = null;
  draw();
}

function aim(axis, at) {
  cross = { step: null, tick: null, [axis]: at };
  drawAllOver();
}

/** Where the points of a chart's shown lines are, in order. */
const places = (panel) => [...new Set(panel.lines.filter((line) => line.shown).flatMap((line) => line.at))].sort((a, b) => a - b);

function aimNear(panel, at) {
  const all = places(panel).filter((place) => place >= panel.first && place <= panel.last);
  if (all.length) aim(panel.chart.axis, all.reduce((best, place) => (Math.abs(place - at) < Math.abs(best - at) ? place : best)));
}

/** Move the crosshair by some points of this chart; what is in sight follows it. */
function walk(panel, points) {
  const all = places(panel), at = cross[panel.chart.axis];
  if (!all.length) return;
  const now = at === null ? all.length - (points < 0 ? 0 : 1) : all.findIndex((place) => place >= at);
  const place = all[clamp((now < 0 ? all.length : now) + points, 0, all.length - 1)];
  if (view && panel.chart.axis === "step" && (place < view[0] || place > view[1])) {
    const by = place < view[0] ? place - view[0] : place - view[1];
    view = [view[0] + by, view[1] + by];
    draw();
  }
  aim(panel.chart.axis, place);
  parts.said.textContent = summary(panel);
}

const KEYS = {
  ArrowLeft: (panel, event) => walk(panel, event.shiftKey ? -10 : -1),
  ArrowRight: (panel, event) => walk(panel, event.shiftKey ? 10 : 1),
  Home: (panel) => walk(panel, -Infinity),
  End: (panel) => walk(panel, Infinity),
  Escape: (panel) => aim(panel.chart.axis, null),
  "+": () => zoomBy(0.5),
  "=": () => zoomBy(0.5),
  "-": () => zoomBy(2),
  0: reset,
};

// --- pointers --------------------------------------------------------------------------------------------------------

const fingers = new Map(); // pointer id -> where it is, while it is down
const LEAST_DRAG = 6; // pixels

const stepUnder = (panel, x) => panel.atX(clamp(x - panel.over.getBoundingClientRect().left, panel.box.left, panel.box.right));

function press(panel, event) {
  if (event.button !== 0) return;
  if (event.isPrimary) fingers.clear(); // a lift may have been missed
  fingers.set(event.pointerId, event.clientX);
  if (event.pointerType !== "mouse") return void aimNear(panel, stepUnder(panel, event.clientX));
  if (panel.chart.axis !== "step") return;
  const step = stepUnder(panel, event.clientX);
  drag = { from: step, to: step, x: event.clientX };
  panel.over.setPointerCapture(event.pointerId);
}

function move(panel, event) {
  if (fingers.size === 2 && fingers.has(event.pointerId)) return pinch(panel, event);
  if (event.buttons === 0) drag = null; // likewise
  if (drag) drag.to = stepUnder(panel, event.clientX);
  if (drag || event.pointerType === "mouse" || fingers.has(event.pointerId)) aimNear(panel, stepUnder(panel, event.clientX));
}

/** Two fingers: the steps under both stay under them. */
function pinch(panel, event) {
  const [held] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, x]) => x), before = fingers.get(event.pointerId);
  fingers.set(event.pointerId, event.clientX);
  const [apart, were] = [event.clientX - held, before - held];
  if (panel.chart.axis !== "step" || apart * were <= 0 || Math.abs(apart) < 2 * LEAST_DRAG) return;
  const [first, last] = inSight("step"), fixed = stepUnder(panel, held), factor = were / apart;
  zoomTo(fixed - (fixed - first) * factor, fixed + (last - fixed) * factor);
}

function release(event) {
  fingers.delete(event.pointerId);
  if (!drag) return;
  const { from, to, x } = drag;
  drag = null;
  if (event.type === "pointerup" && Math.abs(event.clientX - x) >= LEAST_DRAG) zoomTo(Math.min(from, to), Math.max(from, to));
  else drawAllOver();
}

function listen(panel) {
  const { over } = panel;
  over.addEventListener("pointerdown", (event) => press(panel, event));
  over.addEventListener("pointermove", (event) => move(panel, event));
  for (const name of ["pointerup", "pointercancel"]) over.addEventListener(name, release);
  over.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !drag && aim(panel.chart.axis, null));
  over.addEventListener("blur", () => aim(panel.chart.axis, null));
  over.addEventListener("dblclick", reset);
  over.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(KEYS, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key](panel, event);
  });
}

// --- wiring ----------------------------------------------------------------------------------------------------------

parts.reset.addEventListener("click", reset);

/** Gradio says nothing when it removes a component: whoever wakes up without a page disconnects itself. */
function whileHere(observer, act) {
  if (element.isConnected) act();
  else observer.disconnect();
}

let drawnSize = "";
const sizes = new ResizeObserver((_, observer) => whileHere(observer, () => {
  const size = `${parts.grid.clientWidth} ${parts.grid.clientHeight}`;
  if (size === drawnSize) return;
  drawnSize = size;
  if (charts.length) draw();
}));
const themes = new MutationObserver((_, observer) => whileHere(observer, () => {
  look = readLook();
  if (!charts.length) return;
  dress();
  draw();
}));
sizes.observe(element);
for (const page of [document.documentElement, document.body]) themes.observe(page, { attributes: true, attributeFilter: ["class"] });

watch("value", receive);
receive();
