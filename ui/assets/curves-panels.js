// --- the page around the canvases ------------------------------------------------------------------------------------

const panels = new Map(); // chart id -> {chart, root, title, keys, canvas, over, help, values, ...layout}

function make(kind, name, parent, words = "") {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = words;
  parent?.append(made);
  return made;
}

/** A button that hides and shows; whether it is pressed says whether the thing is shown. */
function makeToggle(name, parent, hidden, key) {
  const button = make("button", name, parent);
  button.type = "button";
  button.setAttribute("aria-pressed", String(!hidden.has(key)));
  button.addEventListener("click", () => {
    if (!hidden.delete(key)) hidden.add(key);
    button.setAttribute("aria-pressed", String(!hidden.has(key)));
    draw();
  });
  return button;
}

function makeSwatch(parent, colour, dash) {
  const [swatch, line] = ["svg", "line"].map((kind) => document.createElementNS("http://www.w3.org/2000/svg", kind));
  const facts = { x1: 0, x2: 22, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") || "none" };
  for (const [name, value] of Object.entries(facts)) line.setAttribute(name, String(value));
  for (const [name, value] of [["class", "curves-swatch"], ["viewBox", "0 0 22 8"], ["aria-hidden", "true"]]) swatch.setAttribute(name, value);
  swatch.append(line);
  parent.append(swatch);
}

function makePanel(chart) {
  const root = make("section", "curves-panel", null), panel = { chart, root };
  panel.title = make("h3", "curves-title", root);
  panel.keys = make("div", "curves-keys", root);
  const frame = make("div", "curves-frame", root);
  panel.canvas = make("canvas", "curves-lines", frame);
  panel.over = make("canvas", "curves-over", frame);
  panel.help = make("p", "curves-faint", root);
  panel.canvas.setAttribute("aria-hidden", "true");
  panel.over.tabIndex = 0;
  for (const [name, value] of [["role", "application"], ["aria-roledescription", "chart"]]) panel.over.setAttribute(name, value);
  root.dataset.chart = chart.id;
  listen(panel);
  return panel;
}

/** One panel a chart, in their order; what is already in its place is not moved, so focus stays. */
function arrange() {
  for (const [id, panel] of panels) {
    if (charts.some((chart) => chart.id === id)) continue;
    panel.root.remove();
    panels.delete(id);
  }
  charts.forEach((chart, place) => {
    const panel = panels.get(chart.id) ?? makePanel(chart);
    panels.set(chart.id, panel);
    panel.chart = chart;
    panel.title.textContent = chart.title;
    panel.help.textContent = chart.help;
    if (parts.grid.children[place] !== panel.root) parts.grid.insertBefore(panel.root, parts.grid.children[place] ?? null);
  });
}

let dressed = ""; // what the legends were made for: they are made anew only when it changes

function dress() {
  const wanted = JSON.stringify([look.hues, runs.map((run) => [run.name, run.hue]), charts.map((chart) => [chart, linesOf(chart).length])]);
  if (wanted === dressed) return;
  dressed = wanted;
  parts.runs.hidden = !comparing();
  parts.runs.replaceChildren(...(comparing() ? runs.map(runButton) : []));
  for (const panel of panels.values()) makeKeys(panel);
}

function runButton(run) {
  const button = makeToggle("curves-run", null, hiddenRuns, run.name);
  button.title = run.name;
  make("span", "curves-dot", button).style.background = look.hues[run.hue % look.hues.length];
  make("span", "curves-name", button, run.name);
  return button;
}

/** The legend of a chart: a row a series, with its value at the crosshair for each run, or its newest one. */
function makeKeys(panel) {
  const { chart, keys } = panel, lines = linesOf(chart);
  panel.values = [];
  keys.replaceChildren(...chart.series.flatMap((one, place) => {
    const own = lines.filter((line) => line.one === one);
    if (!own.length) return [];
    const row = make("div", comparing() ? "curves-row curves-wide" : "curves-row", null);
    const key = chart.series.length > 1 ? makeToggle("curves-key", row, hiddenSeries, seriesName(chart, one)) : make("span", "curves-key", row);
    makeSwatch(key, comparing() ? "currentColor" : own[0].colour, comparing() ? DASHES[place % DASHES.length] : []);
    make("span", "curves-label", key, one.label);
    if (!comparing()) panel.values.push({ name: own[0].run.name, one, element: make("span", "curves-value", key) });
    if (comparing()) makeChips(panel, row, own);
    return [row];
  }));
}

/** Values by run: beside the name of the series if all fit there, else below it. */
function makeChips(panel, row, lines) {
  const chips = make("span", "curves-chips", row);
  chips.style.flexBasis = `${6 * lines.length}em`;
  chips.append(...lines.map((line) => makeChip(panel, line)));
}

function makeChip(panel, line) {
  const chip = make("span", "curves-chip", null);
  chip.title = line.run.name;
  make("span", "curves-dot", chip).style.background = line.colour;
  panel.values.push({ name: line.run.name, one: line.one, chip, element: make("span", "curves-value", chip) });
  return chip;
}

// --- values at the crosshair -----------------------------------------------------------------------------------------

/** What a line says at the crosshair, or at its end. */
function valueOf(line) {
  const at = cross[line.chart.axis], index = at === null ? line.value.length - 1 : nearest(line, at);
  return valueText(line.chart, line.value[index]);
}

/** All that a chart says at the crosshair, or at the end, in words. */
function summary(panel) {
  const { chart, lines } = panel, at = cross[chart.axis], shown = lines.filter((line) => line.shown);
  const said = shown.map((line) => `${comparing() ? `${line.run.name}, ` : ""}${line.one.label} ${valueOf(line)}`);
  const where = at !== null ? `at ${chart.axis} ${exact(at)}` : shown.length ? `at ${chart.axis} ${exact(Math.max(...shown.map((line) => line.at.at(-1))))}` : "nothing shown";
  return `${chart.title}, ${where}: ${said.join("; ")}`;
}

function showValues() {
  for (const panel of panels.values()) {
    for (const { name, one, element: place, chip } of panel.values) {
      const line = panel.lines.find((other) => other.run.name === name && other.one.key === one.key);
      const words = line ? valueOf(line) : "\u2013";
      if (place.textContent !== words) place.textContent = words;
      if (chip) chip.hidden = !line?.shown;
    }
    panel.over.setAttribute("aria-label", summary(panel));
  }
  parts.where.textContent = whereText();
}

function whereText() {
  const said = [];
  if (view) said.push(`Zoomed to steps ${exact(Math.round(view[0]))} to ${exact(Math.round(view[1]))}`);
  if (cross.step !== null) said.push(`at step ${exact(cross.step)}`);
  if (cross.tick !== null) {
    const steps = [...new Set(runs.map((run) => run.evaluated).filter((step) => step !== null))];
    said.push(`at tick ${exact(cross.tick)}${steps.length === 1 ? ` of the evaluation at step ${exact(steps[0])}` : ""}`);
  }
  const all = domain("step");
  if (cross.step === null && cross.tick === null && all) said.push(`newest figures, step ${exact(all[1])}`);
  return said.join(", ");
}
