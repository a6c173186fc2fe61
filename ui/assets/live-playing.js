// --- everything around the canvases ----------------------------------------------------------------------------------

/** What does not change with the tick: titles, legends, captions, which panels there are. */
function dress() {
  const { ticks, milliseconds } = thought;
  parts.head.dataset.sentence = thought.sentence;
  parts.promise.textContent = thought.promise;
  parts.promise.hidden = !thought.promise;
  const took = milliseconds === null ? "" : `Thinking took ${duration(milliseconds)}.`;
  parts.note.textContent = ticks > 1 ? `${took} Replayed at human pace.` : took;
  parts.transport.hidden = ticks === 1; // there is nothing to go through
  parts.slider.max = String(ticks);
  arrange();
  eachPanel((panel, what) => panel.dress?.(what));
}

/** Panels that have something to show, dealt out to the two columns in turn; a narrow page shows them in one, in this order. */
function arrange() {
  let dealt = 0;
  for (const [name, { of }] of panels) {
    const panel = parts[`${name}-panel`], column = parts[dealt % 2 ? "right" : "left"];
    panel.hidden = !of();
    if (panel.hidden) continue;
    if (panel.parentNode !== column) column.append(panel);
    dealt++;
  }
  parts.right.hidden = dealt < 2;
}

/** Every panel that has something to show, with what it shows. */
function eachPanel(act) {
  for (const [name, panel] of panels) {
    const what = panel.of();
    if (what) act(panel, what, name);
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
  eachPanel((panel, what, name) => {
    panel.draw(what);
    parts[name].setAttribute("aria-label", panel.says(what));
  });
  for (const frame of element.querySelectorAll(".live-scroll")) {
    frame.tabIndex = frame.scrollHeight > frame.clientHeight ? 0 : -1; // keyboards scroll what they can focus
  }
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
  const { ticks, energy, chance, certainty, answer, speech } = thought;
  const chosen = (at) => {
    if (answer?.kind === "spoken") return [speech?.said.filter((one) => one.tick === at + 1).map((one) => one.words).join() ?? ""];
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
