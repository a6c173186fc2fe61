// When a checkpoint stops: what ticks buy, the rules on offer, and whether its word can be believed. Gradio runs this once per
// mounted component, as the body of a function that is given `element`, `props`, `trigger` and `watch`. Nothing here is global.
//
// A budget of ticks is dragged in the chart or moved with the slider; a rule that is picked goes out as `picked` in the value.
// Values may come from anywhere: every number is checked, every text is written as text.
const parts = {};
for (const part of element.querySelectorAll("[data-halting]")) parts[part.dataset.halting] = part;
const HUES = { energy: "--energy", certainty: "--certainty", "certainty.min": "--least", fixed: "--fixed", oracle: "--oracle" };
const DASHED = { fixed: "6 4", oracle: "2 4" };
const HIGH = 250, MARGIN = { left: 44, right: 14, top: 8, bottom: 34 };

const share = (x) => `${(100 * x).toFixed(1)}\u00a0%`;
const points = (x) => `${(100 * x).toFixed(1)} points`;
const short = (x) => String(Number(x.toPrecision(5)));

let shown = null; // what was read of the value: {iterations, n, curves, rules, bins, ...}
let budget = 1; // mean ticks

// --- reading a value -------------------------------------------------------------------------------------------------

const readCorner = (corner) => list(corner, 3).filter(isNumber);

function readCurve(value) {
  const said = object(value), corners = list(said.corners, 2000).map(readCorner).filter((corner) => corner.length === 3);
  return { name: text(said.name), label: text(said.label), form: text(said.form, 40), corners: corners.sort((a, b) => a[0] - b[0]) };
}

function readRule(value) {
  const said = object(value), held = object(said.held_out);
  return {
    label: text(said.label), rule: text(said.rule), says: text(said.says), isDefault: said.default === true, ticks: said.ticks, accuracy: said.accuracy,
    held: ["accuracy", "mean_ticks", "lost"].every((key) => isNumber(held[key])) ? held : null,
  };
}

/** What is to be drawn; null if there is nothing. */
function read(value) {
  const said = object(value), curves = list(said.curves, 8).map(readCurve).filter((curve) => curve.corners.length);
  if (!curves.length || !isNumber(said.iterations)) return null;
  const reliability = object(said.reliability), held = object(said.held_out);
  return {
    iterations: Math.max(1, said.iterations), n: said.n, split: text(said.split), curves,
    rules: list(said.rules, 30).map(readRule).filter((rule) => isNumber(rule.ticks) && isNumber(rule.accuracy)),
    held: isNumber(held.n) ? { n: held.n, split: text(held.split, 60) } : null,
    ece: reliability.ece, bins: list(reliability.bins, 100).map(readCorner).filter((bin) => bin.length === 3),
  };
}

/** The boldest corner within a budget of mean ticks; the first one where even that takes more. */
const within = (curve, most) => curve.corners.findLast(([ticks]) => ticks <= most + 1e-9) ?? curve.corners[0];

// --- drawing ---------------------------------------------------------------------------------------------------------

function svg(tag, attributes, words = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = words;
  return made;
}

function html(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A figure of a table; on a phone its name stands before it. */
const cell = (name, words) => html("td", { "data-name": name }, words);
const hue = (name) => `var(${HUES[name] ?? "--fixed"})`;

/** Round numbers from `first` to `last`, about `count` of them. */
function round(first, last, count) {
  const rough = Math.max((last - first) / count, 1e-9), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough * 0.999);
  const start = Math.ceil(first / step - 1e-9);
  return Array.from({ length: Math.floor(last / step + 1e-9) - start + 1 }, (_, index) => (start + index) * step);
}

function axes(root, { x, y, box }, acrossAt, upAt, across) {
  for (const at of upAt) {
    root.append(svg("path", { class: "halting-grid", d: `M${box.left} ${y(at)}H${box.right}` }));
    root.append(svg("text", { x: box.left - 6, y: y(at) + 4, "text-anchor": "end" }, `${Math.round(1000 * at) / 10}\u00a0%`));
  }
  for (const [at, words] of acrossAt) root.append(svg("text", { x: x(at), y: box.bottom + 15, "text-anchor": "middle" }, words));
  root.append(svg("text", { x: box.right, y: box.bottom + 29, "text-anchor": "end" }, across));
}

function frame(root, high, [first, last], [bottom, top]) {
  const wide = Math.max(120, root.clientWidth || 600), box = { left: MARGIN.left, right: wide - MARGIN.right, top: MARGIN.top, bottom: high - MARGIN.bottom };
  root.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  root.style.height = `${high}px`;
  root.replaceChildren();
  return {
    box, first, last,
    x: (at) => box.left + ((at - first) / Math.max(last - first, 1e-9)) * (box.right - box.left),
    y: (at) => box.bottom - ((at - bottom) / Math.max(top - bottom, 1e-9)) * (box.bottom - box.top),
  };
}

let scene = null; // of the chart, for the pointer

function drawChart() {
  const { curves, rules, iterations } = shown, root = parts.chart, heights = curves.flatMap((curve) => curve.corners.map((corner) => corner[1]));
  const [least, most] = [Math.min(...heights), Math.max(...heights)];
  const [bottom, top] = [Math.floor(least * 10 - 1e-9) / 10, Math.min(1, Math.ceil(most * 10 + 1e-9) / 10)];
  scene = frame(root, HIGH, [1, Math.max(2, iterations)], [Math.max(0, bottom), top]);
  const { x, y, box } = scene, places = round(1, iterations, Math.max(2, (box.right - box.left) / 60)).filter(Number.isInteger);
  axes(root, scene, places.map((at) => [at, String(at)]), round(Math.max(0, bottom), top, 5), "ticks, on average");
  for (const { name, corners } of [...curves].reverse()) {
    const line = [...corners, [Math.max(iterations, corners.at(-1)[0]), corners.at(-1)[1]]];
    const d = line.map(([ticks, accuracy], index) => `${index ? "L" : "M"}${x(ticks).toFixed(1)} ${y(accuracy).toFixed(1)}`).join("");
    root.append(svg("path", { d, fill: "none", style: `stroke:${hue(name)}`, "stroke-width": 2, "stroke-dasharray": DASHED[name] ?? "none" }));
  }
  rules.forEach((rule, index) => {
    const place = { cx: x(rule.ticks), cy: y(rule.accuracy) };
    root.append(svg("circle", { ...place, r: 8, fill: "#7b4fb5", "fill-opacity": 0.85 }));
    root.append(svg("text", { x: place.cx, y: place.cy + 4, "text-anchor": "middle", style: "fill:#fff;font-weight:600" }, String(index + 1)));
  });
  root.append(svg("path", { class: "halting-now", "data-now": "", d: "" }));
  moveBudget();
}

/** Only what depends on the budget: the line, the words, the table. */
function moveBudget() {
  const { x, box } = scene;
  parts.chart.querySelector("[data-now]").setAttribute("d", `M${x(budget)} ${box.top}V${box.bottom}`);
  if (Number(parts.budget.value) !== budget) parts.budget.value = String(budget);
  parts.told.textContent = `With ${budget.toFixed(1)} of ${shown.iterations} ticks on average:`;
  parts.levels.replaceChildren(...shown.curves.map((curve) => {
    const [ticks, accuracy, level] = within(curve, budget), most = curve.corners.at(-1)[1], over = ticks > budget + 1e-9;
    const words = over ? `takes ${ticks.toFixed(1)} at least` : ticks.toFixed(1), rule = curve.form && `${curve.form}${short(level)}`;
    return html("tr", {}, html("td", {}, key(curve)), cell("right", share(accuracy)),
      cell("less by", most > accuracy ? points(most - accuracy) : "nothing"), cell("ticks", words), html("td", {}, rule ? use(rule) : ""));
  }));
}

function key({ name, label }) {
  const swatch = html("span", { class: "halting-swatch", style: `color:${hue(name)}`, ...(DASHED[name] ? { "data-dash": "" } : {}) });
  return html("span", { class: "halting-key" }, swatch, label);
}

function use(rule) {
  const button = html("button", { type: "button", class: "drawn-pill", title: "Think with this rule" }, html("code", {}, rule));
  button.addEventListener("click", () => {
    props.value = { ...props.value, picked: rule };
    trigger("input");
  });
  return button;
}

function drawRules() {
  parts.held.textContent = shown.held ? `held out (${shown.held.n.toLocaleString("en")})` : "held out";
  parts.rules.replaceChildren(...shown.rules.map((rule, index) => {
    const held = rule.held ? `${share(rule.held.accuracy)} in ${rule.held.mean_ticks.toFixed(1)}` : "\u2013";
    const name = html("td", {}, html("strong", {}, rule.label), rule.isDefault ? " (default)" : "", html("div", { class: "halting-faint" }, rule.says));
    const lost = rule.held ? share(rule.held.lost) : "\u2013", number = html("span", { class: "halting-dot" }, String(index + 1));
    return html("tr", {}, html("td", {}, number), name, cell("right", share(rule.accuracy)), cell("ticks", rule.ticks.toFixed(1)),
      cell("held out", held), cell("lost", lost), html("td", {}, use(rule.rule)));
  }));
}

function drawReliability() {
  const { bins, ece, held } = shown;
  parts.belief.hidden = !bins.length;
  if (!bins.length) return;
  const quarters = [0, 0.25, 0.5, 0.75, 1], at = frame(parts.reliability, 230, [0, 1], [0, 1]), { x, y } = at;
  axes(parts.reliability, at, [0, 0.5, 1].map((value) => [value, `${100 * value}\u00a0%`]), quarters, "sure, by its own word");
  parts.reliability.append(svg("path", { class: "halting-grid", "stroke-dasharray": "4 4", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }));
  const most = Math.max(...bins.map((bin) => bin[2]));
  for (const [said, found, count] of bins) {
    const dot = svg("circle", { cx: x(said), cy: y(found), r: 3 + 8 * Math.sqrt(count / most), style: "fill:var(--energy)", "fill-opacity": 0.7 });
    dot.append(svg("title", {}, `said ${share(said)}, was right ${share(found)}, ${count.toLocaleString("en")} answers`));
    parts.reliability.append(dot);
  }
  const [said, found, count] = bins.reduce((best, bin) => (bin[2] > best[2] ? bin : best));
  parts.believed.textContent = `Each dot: answers of which it was about equally sure, large where there are many; on the dashed line, it is right as often as it `
    + `says. Most: ${count.toLocaleString("en")} of ${held ? held.n.toLocaleString("en") : "all"} answers, said ${share(said)}, right ${share(found)}.`
    + (isNumber(ece) ? ` Mean gap: ${points(ece)}.` : "");
}

function draw() {
  drawChart();
  drawReliability();
}

// --- acting ----------------------------------------------------------------------------------------------------------

function spend(ticks) {
  const next = clamp(Math.round(10 * ticks) / 10, 1, Math.max(1, shown.iterations));
  if (next === budget) return;
  budget = next;
  moveBudget();
}

function follow(event) {
  if (!shown || (event.type === "pointermove" && event.buttons !== 1)) return;
  const { left, width } = parts.chart.getBoundingClientRect(), { box, first, last } = scene, scale = width / (box.right + MARGIN.right);
  spend(first + (((event.clientX - left) / scale - box.left) / (box.right - box.left)) * (last - first));
}

let drawnOf = ""; // the value without what was picked, as text: picking draws nothing anew

function receive() {
  const { picked, ...value } = object(props.value), named = JSON.stringify(value);
  if (named === drawnOf) return;
  drawnOf = named;
  shown = read(value);
  parts.body.hidden = !shown;
  parts.note.hidden = !!shown;
  parts.note.textContent = text(value.problem) || "Nothing is known of when it may stop.";
  if (!shown) return;
  const own = shown.rules.find((rule) => rule.isDefault) ?? shown.rules[0];
  budget = clamp(Math.round(10 * (own?.ticks ?? shown.iterations)) / 10, 1, shown.iterations);
  Object.assign(parts.budget, { min: "1", max: String(shown.iterations), value: String(budget) });
  parts.about.textContent = `Up: answers that are right, for the ticks spent; on ${isNumber(shown.n) ? shown.n.toLocaleString("en") : "some"} `
    + `${shown.split} samples that were never trained on. Drag to another budget. Numbered: the rules on offer.`;
  parts.keys.replaceChildren(...shown.curves.map(key));
  drawRules();
  draw();
}

parts.budget.addEventListener("input", () => shown && spend(Number(parts.budget.value)));
parts.chart.addEventListener("pointerdown", (event) => {
  parts.chart.setPointerCapture(event.pointerId);
  follow(event);
});
parts.chart.addEventListener("pointermove", follow);

/** Gradio says nothing when it removes a component: whoever wakes up without a page disconnects itself. */
let drawnWide = 0;
new ResizeObserver((_, observer) => {
  if (!element.isConnected) return void observer.disconnect();
  const wide = parts.chart.clientWidth;
  if (!shown || !wide || wide === drawnWide) return;
  drawnWide = wide;
  draw();
}).observe(element);

watch("value", receive);
receive();
