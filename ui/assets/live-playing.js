// --- everything around the canvases ----------------------------------------------------------------------------------

/** What does not change with the tick: titles, legends, captions, which panels there are. */
function dress() {
  const { energy, chance, answer, attention, activity, input, milliseconds } = thought;
  parts.head.dataset.sentence = thought.sentence;
  parts.note.textContent = milliseconds === null ? "Replayed at human pace." : `Replayed at human pace; thinking took ${duration(milliseconds)}.`;
  parts.slider.max = String(thought.ticks);
  parts["chart-title"].textContent = energy ? "Energy and certainty by tick" : "Certainty by tick";
  parts["chart-caption"].textContent =
    (energy ? "Energy is the machine's own guess of being wrong: low is good. " : "") +
    "Certainty says how much it favours one answer over the others: high is sure, not always right." +
    (thought.ticks < thought.iterations ? " Hatched ticks were never needed." : "") +
    (thought.answerTick < thought.ticks ? ` The answer given is that of tick ${thought.answerTick}.` : "");
  legend("chart", [energy && [look.energy, "energy", "line"], [look.certainty, "certainty", "line"]]);
  arrange({ chart: true, route: thought.routes, answer, attention, activity });
  if (answer) dressAnswer(answer);
  if (attention) {
    const most = attention.heads > attention.shown ? ` The first ${attention.shown} of ${attention.heads} heads are shown.` : "";
    legend("attention", [[band(look.warm), "looks more", "band"]]);
    parts["attention-caption"].textContent = input.kind === "picture"
      ? `Warm places are what it looks at in this tick: large, all heads together; small, each head by itself.${most}`
      : `Warm items are what it looks at in this tick: one row a head, and all heads together on the items.${most}`;
  }
  if (activity) {
    const { neurons, of } = activity;
    parts["activity-title"].textContent = of > neurons ? `${neurons} of ${of} neurons shown` : count(neurons, "neuron");
    legend("activity", [[band(look.sign), "activity from \u22121 through 0 to +1", "band"]]);
  }
}

/** Panels that have something to show, dealt out to the two columns in turn; a narrow page shows them in one, in this order. */
function arrange(panels) {
  let dealt = 0;
  for (const [name, there] of Object.entries(panels)) {
    const panel = parts[`${name}-panel`], column = parts[dealt % 2 ? "right" : "left"];
    panel.hidden = !there;
    if (!there) continue;
    if (panel.parentNode !== column) column.append(panel);
    dealt++;
  }
  parts.right.hidden = dealt < 2;
}

function dressAnswer(answer) {
  if (answer.kind === "classes") {
    legend("answer", [[look.certainty, "favourite"], [band(look.more), "probability, 0 to 100 %", "band"]]);
    const many = answer.size > answer.shown.length ? ` The ${answer.shown.length} likeliest of ${answer.size} answers are shown.` : "";
    parts["answer-caption"].textContent = `How likely it holds each answer to be: now as bars, at every tick as the strip beside.${many}`;
  } else {
    const few = answer.labels.length <= 12;
    legend("answer", few ? answer.labels.map((label, index) => [css(hue(index)), label]) : []);
    parts["answer-caption"].textContent =
      "One answer a position. Strong colour: sure; pale: a guess. Below, the same for every tick: positions downwards, ticks to the right.";
  }
}

function legend(name, keys) {
  parts[`${name}-legend`].replaceChildren(...keys.filter(Boolean).map(([colour, words, shape]) => {
    const key = document.createElement("span"), swatch = document.createElement("span");
    key.className = "live-key";
    swatch.className = `live-swatch${shape ? ` live-swatch-${shape}` : ""}`;
    swatch.style.background = colour;
    key.append(swatch, words);
    return key;
  }));
}

function draw() {
  if (!thought || !element.isConnected || !parts.chart.clientWidth) return; // in a hidden tab: drawn when its size is known
  drawChart();
  if (thought.answer) (thought.answer.kind === "classes" ? drawClasses : drawPositions)();
  if (thought.routes) drawRoute();
  if (thought.attention) (thought.input.kind === "picture" ? drawPictureLooks : drawSequenceLooks)();
  if (thought.activity) drawActivity();
  for (const name of ["answer", "attention"]) {
    const frame = parts[name].parentNode; // keyboards scroll what they can focus
    frame.tabIndex = frame.scrollHeight > frame.clientHeight ? 0 : -1;
  }
  for (const [name, words] of Object.entries(summaries())) parts[name].setAttribute("aria-label", words);
}

/** Draw the thought at a tick. The sentence is withheld while playing, so that it is read out once, at the end. */
function show(at) {
  tick = clamp(Math.round(at), 1, thought.ticks);
  const playing = clock !== 0, { ticks, iterations } = thought;
  element.querySelector(".live").classList.toggle("live-playing", playing);
  parts.play.setAttribute("aria-label", playing ? "Pause" : "Play");
  parts.play.title = playing ? "Pause" : "Play";
  parts.back.setAttribute("aria-disabled", tick === 1); // not `disabled`: that would drop the keyboard's focus
  parts.forward.setAttribute("aria-disabled", tick === ticks);
  parts.thinking.textContent = playing ? `thinking: tick ${tick} of at most ${iterations}` : "";
  const sentence = playing ? "" : thought.sentence;
  if (parts.sentence.textContent !== sentence) parts.sentence.textContent = sentence;
  parts.slider.value = String(tick);
  parts.slider.style.setProperty("--filled", `${ticks > 1 ? ((tick - 1) / (ticks - 1)) * 100 : 0}%`);
  parts.slider.setAttribute("aria-valuetext", `tick ${tick} of ${ticks}: ${valuesAt(tick).join(", ")}`);
  parts.readout.textContent = `tick ${tick} of ${ticks} used (${iterations} possible)`;
  parts.values.textContent = `tick ${tick}: ${valuesAt(tick).join(", ")}`;
  draw();
}

// --- playing ---------------------------------------------------------------------------------------------------------

function play() {
  if (!thought) return;
  const from = over || tick === thought.ticks ? 1 : tick;
  stop();
  let since = null, at = from;
  const frame = (now) => {
    if (!element.isConnected) return stop();
    since ??= now;
    const pace = Math.min(1000 / TICKS_A_SECOND, LONGEST_PLAYBACK / thought.ticks) * Number(parts.speed.value);
    const due = from + Math.floor((now - since) / pace);
    if (due > thought.ticks) return finish();
    if (due !== at) show((at = due));
    clock = requestAnimationFrame(frame);
  };
  clock = requestAnimationFrame(frame);
  show(from);
}

function stop() {
  cancelAnimationFrame(clock);
  clock = 0;
  over = false;
}

/** The end rests on the tick that the sentence speaks of, mostly the last one. */
function finish() {
  stop();
  over = true;
  show(thought.answerTick);
}

function go(at) {
  stop();
  kept = null;
  if (thought) show(at);
}

function receive() {
  stop();
  kept = null;
  images = new Map();
  parts.tip.hidden = true;
  thought = readThought(props.value);
  const problem = text(object(props.value).problem); // what was wrong with the input, said where the thought would be
  parts.empty.textContent = problem || INVITATION;
  parts.empty.classList.toggle("live-problem", problem !== "");
  parts.empty.hidden = thought !== null;
  parts.thought.hidden = thought === null;
  // On a phone the thought lies below what it was asked with: bring it, or what was wrong, into sight.
  if ((thought || problem) && element.getBoundingClientRect().top > innerHeight * 0.8) element.scrollIntoView();
  if (!thought) return;
  look = readLook();
  dress();
  tick = 1;
  if (thought.ticks === 1 || matchMedia("(prefers-reduced-motion: reduce)").matches) finish();
  else play();
}

// --- downloads -------------------------------------------------------------------------------------------------------

/** One line a tick: energy, chance of being right, certainty, and the answer at each position. */
function asTable() {
  const { ticks, energy, chance, certainty, answer } = thought;
  const chosen = (at) => {
    if (!answer) return [];
    if (answer.kind === "positions") return answer.chosen[at].map((index) => labelOf(answer, index));
    return [labelOf(answer, answer.rows[at].indexOf(Math.max(...answer.rows[at])))];
  };
  const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const names = chosen(0).map((_, index) => `answer_${index + 1}`);
  const lines = Array.from({ length: ticks }, (_, at) =>
    [at + 1, energy?.[at] ?? "", chance?.[at] ?? "", certainty[at], ...chosen(at)].map((value) => cell(String(value))).join(","));
  return [["tick", "energy", "p_correct", "certainty", ...names].join(","), ...lines, ""].join("\n");
}

function download(content, type, ending) {
  const link = document.createElement("a"), id = text(object(props.value).id, 40).replace(/\W/g, "") || "one";
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = `thought-${id}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

parts.json.addEventListener("click", () => thought && download(JSON.stringify(props.value, null, 1), "application/json", "json"));
parts.csv.addEventListener("click", () => thought && download(asTable(), "text/csv", "csv"));

// --- wiring ----------------------------------------------------------------------------------------------------------

/** The tick under a pointer in the chart. */
function tickAt(event) {
  const { left, width } = parts.chart.getBoundingClientRect(), start = thought.energy ? 44 : 14;
  return clamp(Math.ceil(((event.clientX - left - start) / (width - start - 40)) * thought.iterations), 1, thought.ticks);
}

/** Hovering looks at a tick and comes back; pressing or touching keeps it. A playing thought is not disturbed by hovering. */
function scrub(event) {
  if (!thought || (clock && event.type === "pointermove" && event.pointerType === "mouse")) return;
  if (event.type === "pointerdown" || event.pointerType !== "mouse") go(tickAt(event));
  else {
    kept ??= tick;
    show(tickAt(event));
  }
  parts.tip.textContent = [`tick ${tick}`, ...valuesAt(tick)].join("\n");
  parts.tip.hidden = false;
  const at = event.clientX - parts.chart.getBoundingClientRect().left, room = parts.chart.clientWidth - parts.tip.offsetWidth;
  parts.tip.style.left = `${clamp(at + (at > room - 14 ? -14 - parts.tip.offsetWidth : 14), 0, Math.max(0, room))}px`;
}

function unscrub() {
  parts.tip.hidden = true;
  if (thought && kept !== null) go(kept);
}

parts.play.addEventListener("click", () => (clock ? go(tick) : play()));
parts.back.addEventListener("click", () => go(tick - 1));
parts.forward.addEventListener("click", () => go(tick + 1));
parts.slider.addEventListener("input", () => go(Number(parts.slider.value)));
parts.speed.addEventListener("change", () => clock && play());
for (const name of ["pointermove", "pointerdown"]) parts.chart.addEventListener(name, scrub);
for (const name of ["pointerleave", "pointercancel"]) parts.chart.addEventListener(name, unscrub);

/** Gradio says nothing when it removes a component: whoever wakes up without a page disconnects itself. */
function whileHere(observer, act) {
  if (element.isConnected) act();
  else observer.disconnect();
}
function redress() {
  if (!thought) return;
  images = new Map();
  look = readLook();
  dress();
  draw();
}
let drawnWidth = 0;
const sizes = new ResizeObserver((_, observer) => whileHere(observer, () => {
  if (parts.chart.clientWidth === drawnWidth) return; // heights follow from drawing: answering those would never end
  drawnWidth = parts.chart.clientWidth;
  draw();
}));
const themes = new MutationObserver((_, observer) => whileHere(observer, redress));
sizes.observe(element);
for (const page of [document.documentElement, document.body]) themes.observe(page, { attributes: true, attributeFilter: ["class"] });

watch("value", receive);
receive();
