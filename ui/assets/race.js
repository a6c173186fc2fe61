// A race: several rules or machines think about the same thing, tick by tick, beside each other. Gradio runs this once per
// mounted component, as the body of a function that is given `element`, `props` and `watch`. Nothing here is global.
//
// The value holds `lanes`, or is empty. Values may come from anywhere: every number is checked, every text is written as text.
const parts = {};
for (const part of element.querySelectorAll("[data-race]")) parts[part.dataset.race] = part;
const PACE = 350, LONGEST = 8000; // milliseconds: of a tick, of a race
const MOST_TICKS = 1000, LABEL = 200; // the longest label

let lanes = []; // {name, rule, problem, ticks, iterations, answerTick, certainty, said, row, cells}
let clock = 0, tick = 0;

function readLane(value) {
  const said = object(value), certainty = list(said.certainty, MOST_TICKS).map((x) => (isNumber(x) ? clamp(x, 0, 1) : 0));
  const ticks = certainty.length, most = isNumber(said.iterations) ? clamp(Math.round(said.iterations), ticks, MOST_TICKS) : ticks;
  return {
    name: text(said.name, LABEL), rule: text(said.rule, LABEL), problem: ticks ? "" : text(said.problem, 600) || "It could not think about this.",
    ticks, iterations: most, certainty, said: list(said.said, MOST_TICKS).map((words) => text(words, LABEL)),
    answerTick: isNumber(said.answer_tick) ? clamp(Math.round(said.answer_tick), 1, Math.max(1, ticks)) : ticks,
  };
}

function html(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function build(lane) {
  const rule = document.createElement("code"), most = Math.max(...lanes.map((one) => one.iterations), 1);
  rule.textContent = lane.rule;
  lane.says = html("div", "race-says", lane.problem);
  lane.cells = Array.from({ length: lane.iterations }, () => document.createElement("i"));
  const track = html("div", "race-track", ...lane.cells);
  track.style.width = `${(100 * lane.iterations) / most}%`; // a tick is as wide in every lane
  track.setAttribute("aria-hidden", "true");
  return html("li", "race-lane", html("div", "race-name", html("strong", "", lane.name), rule), track, lane.says);
}

/** Who has stopped says so; the others say what they would answer now. */
function words(lane) {
  if (lane.problem) return lane.problem;
  if (tick < lane.ticks) return `tick ${tick}: ${lane.said[tick - 1] ?? ""}`;
  const from = lane.answerTick === lane.ticks ? "" : `, with what it said at tick ${lane.answerTick}`;
  return `stopped after ${lane.ticks} of ${lane.iterations} ticks${from}: ${lane.said[lane.answerTick - 1] ?? ""}`;
}

function show(at) {
  tick = at;
  for (const lane of lanes) {
    lane.cells.forEach((cell, index) => {
      const there = index < Math.min(tick, lane.ticks);
      if (there) cell.style.setProperty("--sure", String(lane.certainty[index]));
      cell.toggleAttribute("data-sure", there);
      cell.toggleAttribute("data-answers", tick >= lane.ticks && index === lane.answerTick - 1);
    });
    const now = words(lane);
    if (lane.says.textContent !== now) lane.says.textContent = now;
  }
}

const longest = () => Math.max(...lanes.map((lane) => lane.ticks), 0);

function finish() {
  cancelAnimationFrame(clock);
  show(longest());
  const thought = lanes.filter((lane) => !lane.problem), first = Math.min(...thought.map((lane) => lane.ticks));
  const counted = `${first} tick${first === 1 ? "" : "s"}`, ahead = thought.filter((lane) => lane.ticks === first);
  parts.clock.textContent = thought.length < 2 ? "" : ahead.length === thought.length ? `All stop after ${counted}.`
    : `First: ${ahead.map((lane) => lane.name).join(" and ")}, after ${counted}. Colours: orange unsure, blue certain.`;
}

function run() {
  cancelAnimationFrame(clock);
  const most = longest(), pace = Math.min(PACE, LONGEST / Math.max(1, most));
  if (most <= 1 || matchMedia("(prefers-reduced-motion: reduce)").matches) return finish();
  let since = null;
  const frame = (now) => {
    if (!element.isConnected) return;
    since ??= now;
    const due = 1 + Math.floor((now - since) / pace);
    if (due > most) return finish();
    if (due !== tick) show(due);
    parts.clock.textContent = `tick ${due}`;
    clock = requestAnimationFrame(frame);
  };
  show(1);
  clock = requestAnimationFrame(frame);
}

function receive() {
  cancelAnimationFrame(clock);
  lanes = list(object(props.value).lanes, 6).map(readLane);
  parts.root.hidden = !lanes.length;
  if (!lanes.length) return;
  parts.lanes.replaceChildren(...lanes.map(build));
  run();
}

parts.again.addEventListener("click", run);
watch("value", receive);
receive();
