// The live view of a thought. Gradio runs this once per mounted component, as the body of a function that is given
// `element` (the component's root), `props` (whose `value` is the record, or empty) and `watch`. Nothing here is global.
//
// One record comes in whole; `show(tick)` draws it at one tick; playing only calls `show` on a clock. Records may come from
// anywhere, so each is read into a checked `thought` first: what is missing or odd leaves its panel out, never throws.
"use strict";

const MOST_TICKS = 5000, MOST_PLACES = 4096, MOST_CLASSES = 20000, MOST_HEADS = 16;
const TICKS_A_SECOND = 6, LONGEST_PLAYBACK = 5000; // ms, at normal speed
const INVITATION = "Give it something to think about.";

const parts = {};
for (const part of element.querySelectorAll("[data-live]")) parts[part.dataset.live] = part;

let thought = null; // the record, checked; null shows the invitation
let tick = 1; // what is drawn now, from 1
let kept = null; // the tick to come back to after the pointer only looked at others
let clock = 0; // id of the next animation frame while playing, else 0
let over = false; // whether playing came to its end and nothing was moved since: then play starts again from tick 1
let look = null; // colours and font of the page as it is now
let images = new Map(); // heat maps of this record in these colours, one pixel a cell, drawn scaled

// --- reading a record ------------------------------------------------------------------------------------------------

const isNumber = (x) => typeof x === "number" && Number.isFinite(x);
const clamp = (x, least, most) => Math.min(most, Math.max(least, x));
const whole = (x, least, most) => (isNumber(x) ? clamp(Math.round(x), least, most) : least);
const share = (x) => (isNumber(x) ? clamp(x, 0, 1) : 0);
const list = (x) => (Array.isArray(x) ? x : []);
const object = (x) => (x && typeof x === "object" && !Array.isArray(x) ? x : {});
const text = (x, most = 600) => (typeof x === "string" || isNumber(x) ? String(x).slice(0, most) : "");
const series = (x, ticks) => (list(x).length >= ticks ? list(x).slice(0, ticks).map((y) => (isNumber(y) ? y : NaN)) : null);

function readThought(value) {
  const said = object(value);
  const ticks = Math.min(whole(said.ticks, 0, MOST_TICKS), list(said.certainty).length);
  if (!ticks) return null;
  const energy = series(said.energy, ticks);
  const input = readInput(object(said.input)), answerTick = isNumber(said.answer_tick) ? whole(said.answer_tick, 1, ticks) : ticks;
  return {
    ticks,
    iterations: whole(said.iterations, ticks, MOST_TICKS),
    answerTick,
    sentence: text(said.sentence) || `The thought took ${count(ticks, "tick")}.`,
    milliseconds: isNumber(said.milliseconds) ? said.milliseconds : null,
    energy: energy && energy.some(isNumber) ? energy : null,
    chance: series(said.p_correct, ticks),
    certainty: series(said.certainty, ticks).map((x) => clamp(x, 0, 1)),
    lines: list(said.lines).map(object).filter((line) => isNumber(line.at)).slice(0, 4).map(({ of, at }) => ({ of, at })),
    answer: readAnswer(object(said.choices ?? said.answer), ticks, answerTick),
    input,
    attention: readAttention(object(said.attention), ticks, input),
    activity: readActivity(object(said.activity), ticks),
  };
}

function readAnswer(said, ticks, answerTick) {
  const labels = list(said.labels).map((label) => text(label, 80));
  if (said.kind === "classes") {
    const rows = table(said.probabilities, ticks, MOST_CLASSES);
    return rows && { kind: "classes", rows, size: rows[0].length, labels, shown: likeliest(rows[answerTick - 1]) };
  }
  const chosen = table(said.chosen, ticks, MOST_PLACES), confidence = table(said.confidence, ticks, MOST_PLACES);
  if (said.kind !== "positions" || !chosen || !confidence || chosen[0].length !== confidence[0].length) return null;
  const classes = Math.max(labels.length, 2);
  return { kind: "positions", chosen, confidence, size: chosen[0].length, labels, classes };
}

/** Rows of numbers, one a tick, all of the first one's length; null if they are not that. */
function table(rows, ticks, most) {
  const size = Math.min(most, list(list(rows)[0]).length);
  const read = list(rows).slice(0, ticks);
  if (!size || read.length < ticks || read.some((row) => list(row).length < size)) return null;
  return read.map((row) => row.slice(0, size).map((x) => (isNumber(x) ? x : 0)));
}

/** Few classes in their own order; of many, the ten that end up likeliest. Fixed for the whole thought: bars must not jump. */
function likeliest(final) {
  const all = final.map((_, index) => index);
  return final.length <= 12 ? all : all.sort((a, b) => final[b] - final[a]).slice(0, 10);
}

function readInput(said) {
  if (said.kind === "picture") {
    const width = whole(said.width, 0, 4096), height = whole(said.height, 0, 4096);
    const grey = width && height ? bytes(said.data, width * height) : null;
    return grey && { kind: "picture", width, height, grey };
  }
  const items = list(said.items).slice(0, MOST_PLACES).map((item) => text(item, 12));
  return said.kind === "sequence" && items.length ? { kind: "sequence", items, group: whole(said.group, 1, items.length) } : null;
}

function readAttention(said, ticks, input) {
  const map = list(said.map).slice(0, 2).map((side) => whole(side, 0, 4096)), heads = whole(said.heads, 0, 256);
  const places = map.length ? map.reduce((a, b) => a * b) : 0;
  const weights = heads && places && input ? bytes(said.data, ticks * heads * places) : null;
  if (!weights || (input.kind === "picture" && map.length !== 2)) return null;
  return { heads, map, places, weights, shown: Math.min(heads, MOST_HEADS) };
}

function readActivity(said, ticks) {
  const neurons = whole(said.neurons, 0, 100000);
  const values = neurons ? bytes(said.data, ticks * neurons) : null;
  return values && { neurons, of: whole(said.of, neurons, 1e9), values };
}

function bytes(data, size) {
  try {
    const raw = atob(typeof data === "string" ? data : "");
    return raw.length >= size ? Uint8Array.from({ length: size }, (_, index) => raw.charCodeAt(index)) : null;
  } catch {
    return null; // not base64
  }
}

// --- words and numbers -----------------------------------------------------------------------------------------------

const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const minus = (words) => words.replace("-", "\u2212");
const decimal = (x) => (isNumber(x) ? minus(x.toFixed(2)) : "unknown");
const short = (x) => minus(String(Number(x.toPrecision(4))));
function percent(x) {
  if (x <= 0 || x >= 1) return `${x <= 0 ? 0 : 100} %`;
  if (x < 0.001 || x > 0.999) return x < 0.5 ? "<0.1 %" : ">99.9 %";
  return `${(x * 100).toFixed(x > 0.99 || x < 0.01 ? 1 : 0)} %`;
}
const duration = (ms) => (ms < 10 ? `${Number(ms.toFixed(1))} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const labelOf = (answer, index) => answer.labels[index] || String(index);

/** What the chart shows at this tick, one line a quantity. */
function valuesAt(at) {
  const { energy, chance, certainty } = thought, lines = [];
  if (energy) lines.push(`energy ${decimal(energy[at - 1])}`);
  lines.push(`certainty ${decimal(certainty[at - 1])}`);
  if (chance && isNumber(chance[at - 1])) lines.push(`chance of being right: ${percent(chance[at - 1])}`);
  return lines;
}

function moved(name, values) {
  const first = values[0], last = values[values.length - 1];
  const verb = last < first ? "fell" : last > first ? "rose" : "stayed";
  return `${name} ${verb} from ${decimal(first)} to ${decimal(last)}`;
}

function summaries() {
  const { ticks, energy, certainty, answer, attention, activity } = thought;
  const said = { chart: `${energy ? `${moved("Energy", energy)} and ${moved("certainty", certainty)}` : moved("Certainty", certainty)} over ${count(ticks, "tick")}` };
  if (answer?.kind === "classes") {
    const row = answer.rows[tick - 1], best = row.indexOf(Math.max(...row));
    said.answer = `At tick ${tick} the likeliest answer is ${labelOf(answer, best)}, with ${percent(row[best])}`;
  } else if (answer) {
    const names = answer.chosen[tick - 1].slice(0, 64).map((index) => labelOf(answer, index)).join(" ");
    said.answer = `At tick ${tick} the ${count(answer.size, "position")} read ${names}${answer.size > 64 ? " and so on" : ""}`;
  }
  if (attention) said.attention = `Where ${count(attention.heads, "attention head")} look at tick ${tick}, over ${attention.map.join(" by ")} places`;
  if (activity) said.activity = `Activity of ${count(activity.neurons, "neuron")} over ${count(ticks, "tick")}`;
  return said;
}

// --- colours (Okabe-Ito, and ramps that start at the page's own background) ---------------------------------------------

const HUES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#7B4FB5", "#8C564B"];
const RAMPS = {
  light: { more: ["#f4f6f8", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"], sign: ["#0072B2", "#f4f6f8", "#D55E00"] },
  dark: { more: ["#20222f", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"], sign: ["#56B4E9", "#20222f", "#E69F00"] },
};
const WARM = ["#D55E00", "#E69F00", "#F0E442"];

function readLook() {
  const page = getComputedStyle(element.querySelector(".live")), panel = getComputedStyle(parts["chart-panel"]);
  const dark = element.closest(".dark") !== null;
  const variable = (name, otherwise) => page.getPropertyValue(name).trim() || otherwise;
  return {
    text: variable("--body-text-color", dark ? "#f3f4f6" : "#1f2937"),
    faint: getComputedStyle(parts.note).color,
    line: variable("--border-color-primary", dark ? "#374151" : "#e5e7eb"),
    back: panel.backgroundColor,
    font: page.fontFamily,
    energy: dark ? "#E69F00" : "#D55E00",
    certainty: dark ? "#56B4E9" : "#0072B2",
    more: ramp(RAMPS[dark ? "dark" : "light"].more),
    sign: ramp(RAMPS[dark ? "dark" : "light"].sign),
    warm: ramp(WARM),
  };
}

/** 256 colours from a few, as [red, green, blue]. */
function ramp(stops) {
  const colours = stops.map(numbers);
  return Array.from({ length: 256 }, (_, value) => {
    const at = (value / 255) * (colours.length - 1), left = Math.min(Math.floor(at), colours.length - 2);
    return colours[left].map((x, channel) => Math.round(x + (colours[left + 1][channel] - x) * (at - left)));
  });
}

/** The colour of a class, as [red, green, blue]: beyond the named ones, round the colour wheel by the golden angle. */
function hue(index) {
  if (HUES[index]) return numbers(HUES[index]);
  const channel = (offset) => Math.round(140 + 90 * Math.cos(((index * 137.5 - offset) * Math.PI) / 180));
  return [channel(0), channel(120), channel(240)];
}

const numbers = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const css = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;
const band = (colours) => `linear-gradient(to right, ${[0, 64, 128, 191, 255].map((at) => css(colours[at])).join(", ")})`;

// --- canvases --------------------------------------------------------------------------------------------------------

/** A pen for a cleared canvas as wide as its panel, in CSS pixels; the canvas is kept, so nothing flickers. */
function penFor(canvas, height) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.imageSmoothingEnabled = false;
  return pen;
}

function write(pen, words, x, y, { size = 12, align = "left", colour = look.text, weight = 400, room = Infinity, halo = false } = {}) {
  pen.font = `${weight} ${size}px ${look.font}`;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  if (room < Infinity && pen.measureText(words).width > room) {
    while (words && pen.measureText(`${words}\u2026`).width > room) words = words.slice(0, -1);
    words += "\u2026";
  }
  if (halo) {
    pen.strokeStyle = look.back;
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.globalAlpha = 0.75;
    pen.strokeText(words, x, y);
    pen.globalAlpha = 1;
  }
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
}

function stroke(pen, points, colour, width = 1, dash = []) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.beginPath();
  points.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.setLineDash([]);
}

/** An image of one pixel a cell, made once a record; `colour(column, row)` gives [red, green, blue, alpha 0..1]. */
function image(name, columns, rows, colour) {
  if (!images.has(name)) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const pen = canvas.getContext("2d"), pixels = pen.createImageData(columns, rows);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += 4) {
        const [red, green, blue, alpha = 1] = colour(column, row);
        pixels.data.set([red, green, blue, alpha * 255], at);
      }
    }
    pen.putImageData(pixels, 0, 0);
    images.set(name, canvas);
  }
  return images.get(name);
}

/** A heat map with ticks to the right: as far as the thought has been played, with the tick now drawn framed. */
function drawByTick(pen, picture, box) {
  const step = box.width / thought.ticks, until = clock ? tick : thought.ticks;
  pen.drawImage(picture, 0, 0, until, picture.height, box.left, box.top, step * until, box.height);
  pen.strokeStyle = look.line;
  pen.lineWidth = 1;
  pen.strokeRect(box.left, box.top, box.width, box.height);
  pen.strokeStyle = look.text;
  pen.lineWidth = 1.5;
  pen.strokeRect(box.left + step * (tick - 1), box.top - 1, Math.max(step, 2), box.height + 2);
}

function drawCell(pen, left, top, width, height, colour, alpha) {
  pen.fillStyle = css(colour, alpha);
  pen.fillRect(left, top, width, height);
  pen.strokeStyle = look.line;
  pen.lineWidth = 1;
  pen.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
}

/** Where cells in reading order go: rows of about equal length, broken between groups where a group fits in a row. */
function layOut(size, group, cell, width) {
  const gap = group > 1 ? 12 : 0, unit = group * cell + gap <= width + gap ? group : 1;
  const fitting = Math.max(1, Math.floor((width + gap) / (unit * cell + (unit > 1 ? gap : 0)))), units = Math.ceil(size / unit);
  const each = Math.ceil(units / Math.ceil(units / fitting)) * unit;
  const places = Array.from({ length: size }, (_, index) => {
    const column = index % each;
    return { x: column * cell + (unit > 1 ? Math.floor(column / unit) * gap : 0), row: Math.floor(index / each) };
  });
  return { places, rows: Math.ceil(size / each) };
}

// --- panel: energy and certainty -------------------------------------------------------------------------------------

function drawChart() {
  const canvas = parts.chart, height = 264, pen = penFor(canvas, height), { energy, certainty } = thought;
  const box = { left: energy ? 44 : 14, right: canvas.clientWidth - 40, top: 38, bottom: height - 36 };
  const scale = energy && niceScale([...energy, ...thought.lines.filter((line) => line.of === "energy").map((line) => line.at)]);
  const x = (at) => box.left + ((at - 0.5) / thought.iterations) * (box.right - box.left);
  const height01 = (value) => box.bottom - value * (box.bottom - box.top);
  const yOf = { certainty: height01, energy: (value) => height01((value - scale.least) / (scale.most - scale.least)) };
  const drawn = thought.lines.filter(({ of }) => of === "certainty" || (of === "energy" && energy));
  const levels = drawn.map(({ of, at }) => ({ of, at, y: yOf[of](at) }));
  drawNow(pen, box, x);
  drawTickAxis(pen, box, x);
  for (const at of [0, 0.25, 0.5, 0.75, 1]) write(pen, String(at), box.right + 6, yOf.certainty(at), { colour: look.certainty, size: 11 });
  write(pen, "certainty", box.right + 36, 8, { align: "right", colour: look.certainty, size: 11 });
  if (energy) {
    for (const at of scale.at) {
      stroke(pen, [[box.left, yOf.energy(at)], [box.right, yOf.energy(at)]], look.line);
      write(pen, short(at), box.left - 6, yOf.energy(at), { align: "right", colour: look.energy, size: 11 });
    }
    write(pen, "energy", 2, 8, { colour: look.energy, size: 11 });
  } else for (const at of [0, 0.5, 1]) stroke(pen, [[box.left, yOf.certainty(at)], [box.right, yOf.certainty(at)]], look.line);
  drawSaved(pen, box, x, levels);
  if (energy) drawSeries(pen, energy, x, yOf.energy, look.energy, "circle");
  drawSeries(pen, certainty, x, yOf.certainty, look.certainty, "square");
  drawMarks(pen, box, x);
  drawThresholds(pen, box, x, levels);
}

/** Round numbers around all values: 1, 2 or 5 times a power of ten apart. */
function niceScale(values) {
  const finite = values.filter(isNumber);
  let least = Math.min(...finite), most = Math.max(...finite);
  const close = Math.max(Math.abs(least), Math.abs(most), 0.01) * 0.4; // nearly equal values must not look far apart
  if (most - least < close) [least, most] = [least - close / 2, most + close / 2];
  const rough = (most - least) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const first = Math.floor(least / step), last = Math.ceil(most / step);
  const at = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  return { least: first * step, most: last * step, at };
}

function drawNow(pen, box, x) {
  const step = x(2) - x(1), wide = Math.max(step, 2);
  pen.globalAlpha = 0.12;
  pen.fillStyle = look.text;
  pen.fillRect(x(tick) - wide / 2, box.top, wide, box.bottom - box.top);
  pen.globalAlpha = 1;
}

/** The ticks that halting left unused: hatched, so that they read as absent and not as zero. */
function drawSaved(pen, box, x, levels) {
  const spared = thought.iterations - thought.ticks, left = x(thought.ticks + 0.5), wide = box.right - left, high = box.bottom - box.top;
  if (!spared || clock) return;
  pen.save();
  pen.beginPath();
  pen.rect(left, box.top, wide, high);
  pen.clip();
  pen.globalAlpha = 0.16;
  for (let at = left - high; at < box.right; at += 9) stroke(pen, [[at, box.bottom], [at + high, box.top]], look.text);
  pen.restore();
  const words = wide > 96 ? `${count(spared, "tick")} saved` : "saved";
  const free = [0.5, 0.3, 0.7].map((part) => box.top + part * high).find((y) => levels.every((level) => Math.abs(level.y - y) > 24));
  if (wide > 44 && free) write(pen, words, left + wide / 2, free, { align: "center", colour: look.faint, halo: true });
}

function drawTickAxis(pen, box, x) {
  const room = Math.ceil(30 / (x(2) - x(1)));
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => size >= room) ?? 5000;
  for (let at = step; at <= thought.iterations; at += step) write(pen, String(at), x(at), box.bottom + 11, { align: "center", colour: look.faint, size: 11 });
  if (step > 2) write(pen, "1", x(1), box.bottom + 11, { align: "center", colour: look.faint, size: 11 });
  write(pen, "tick", (box.left + box.right) / 2, box.bottom + 27, { align: "center", colour: look.faint, size: 11 });
  stroke(pen, [[box.left, box.bottom], [box.right, box.bottom]], look.faint);
}

/** A line with a mark a tick; what lies after the tick now shown is faded, and while playing not yet there. */
function drawSeries(pen, values, x, y, colour, shape) {
  const points = values.map((value, index) => [x(index + 1), y(value)]);
  const crowded = x(2) - x(1) < 7;
  const draw = (some) => {
    const there = some.filter((point) => isNumber(point[1]));
    stroke(pen, there, colour, 2);
    pen.fillStyle = colour;
    for (const [left, top] of crowded ? there.slice(-1) : there) {
      pen.beginPath();
      if (shape === "circle") pen.arc(left, top, 3.5, 0, 7);
      else pen.rect(left - 3, top - 3, 6, 6);
      pen.fill();
    }
  };
  if (!clock && tick < thought.ticks) {
    pen.globalAlpha = 0.3;
    draw(points.slice(tick - 1));
    pen.globalAlpha = 1;
  }
  draw(points.slice(0, tick));
}

/** Halting levels, named at the right: over the hatched ticks if there are any, where no line is crossed. */
function drawThresholds(pen, box, x, levels) {
  const roomy = box.right - x(thought.ticks + 0.5) > 90, taken = [];
  for (const { of, at, y } of levels) {
    const colour = look[of];
    stroke(pen, [[box.left, y], [box.right, y]], colour, 1.5, [5, 4]);
    const place = y - 9 > box.top ? y - 9 : y + 10;
    const right = (of === "certainty" || roomy) && taken.every((other) => Math.abs(other - place) > 14);
    if (right) taken.push(place);
    const words = `stop ${of === "energy" ? "below" : "above"} ${short(at)}`;
    write(pen, words, right ? box.right - 4 : box.left + 4, place, { align: right ? "right" : "left", colour, size: 11, halo: true });
  }
}

/** Flags above the chart: where the thought stopped, and the tick that answers if that is another one. */
function drawMarks(pen, box, x) {
  if (clock) return;
  const { ticks, answerTick, iterations } = thought, ended = ticks < iterations ? "stopped" : "end";
  const two = answerTick !== ticks, close = two && x(ticks) - x(answerTick) < 60;
  const mark = (at, words, align) => {
    const middle = align === "center" ? clamp(x(at), box.left + 24, box.right - 24) : x(at);
    stroke(pen, [[x(at), box.top - 4], [x(at), box.bottom]], look.text, 1.5, [2, 3]);
    write(pen, words, middle, box.top - 11, { align, size: 11, weight: 600 });
  };
  if (two) mark(answerTick, close ? "answer " : "answer", close ? "right" : "center");
  mark(ticks, close ? ` ${ended}` : ended, close ? "left" : "center");
}

// --- panel: the answer -----------------------------------------------------------------------------------------------

function drawClasses() {
  const { rows, size, labels, shown } = thought.answer, canvas = parts.answer, width = canvas.clientWidth;
  const now = rows[tick - 1], best = now.indexOf(Math.max(...now)), rest = size - shown.length, high = 22, top = 20;
  const pen = penFor(canvas, top + high * (shown.length + (rest ? 1 : 0)) + 4);
  pen.font = `600 12px ${look.font}`;
  const longest = Math.max(...shown.map((index) => pen.measureText(labelOf(thought.answer, index)).width), rest ? 62 : 0);
  const name = clamp(longest + 10, 24, width * 0.3), strip = clamp(width * 0.28, 60, 260), number = 58;
  const bar = { left: name, width: width - name - number - strip - 4 };
  write(pen, `at tick ${tick}`, bar.left, 8, { colour: look.faint, size: 11, room: bar.width + number });
  write(pen, "all ticks \u2192", width - strip, 8, { colour: look.faint, size: 11, room: strip });
  const line = (row, words, value, chosen) => {
    const y = top + high * row + high / 2;
    write(pen, words, name - 8, y, { align: "right", room: name - 10, weight: chosen ? 700 : 400 });
    pen.fillStyle = look.line;
    pen.fillRect(bar.left, y - 7, bar.width, 14);
    pen.fillStyle = chosen ? look.certainty : look.faint;
    pen.fillRect(bar.left, y - 7, bar.width * share(value), 14);
    write(pen, percent(share(value)), bar.left + bar.width + number - 4, y, { align: "right", weight: chosen ? 700 : 400 });
  };
  shown.forEach((index, row) => line(row, labelOf(thought.answer, index), now[index], index === best));
  if (rest) line(shown.length, `${rest} others`, 1 - shown.reduce((sum, index) => sum + now[index], 0), !shown.includes(best));
  const heat = image("answer", thought.ticks, shown.length, (column, row) => look.more[Math.round(share(rows[column][shown[row]]) * 255)]);
  drawByTick(pen, heat, { left: width - strip + 1, top: top + 1, width: strip - 2, height: high * shown.length - 2 });
}

function drawPositions() {
  const { chosen, confidence, size, labels } = thought.answer, canvas = parts.answer, width = canvas.clientWidth, gutter = 46;
  const items = thought.input?.kind === "sequence" && thought.input.items.length === size ? thought.input.items : null;
  const few = size <= 8, font = few ? 18 : 13, high = few ? 60 : 50, ruler = canvas.getContext("2d");
  ruler.font = `600 ${font}px ${look.font}`;
  const name = size > 24 && new Set(labels.map((label) => label[0])).size === labels.length ? (label) => label.slice(0, 1) : (label) => label;
  const longest = Math.max(...labels.slice(0, 64).map((label) => ruler.measureText(name(label)).width), 8);
  const cell = clamp(longest + 14, few ? 52 : 24, 84), { places, rows } = layOut(size, items ? thought.input.group : 1, cell, width);
  const each = Math.max(2, Math.min(20, 160 / size)), strip = { left: gutter, top: rows * high + 22, width: width - gutter - 2, height: each * size };
  const pen = penFor(canvas, strip.top + strip.height + 6);
  places.forEach(({ x, row }, index) => {
    const top = row * high, choice = chosen[tick - 1][index], middle = x + cell / 2 - 1;
    write(pen, items ? items[index] : `${index + 1}.`, middle, top + 8, { align: "center", size: 11, colour: look.faint, room: cell - 4 });
    drawCell(pen, x, top + 17, cell - 3, high - 24, hue(choice), sureness(confidence[tick - 1][index]) * 0.75);
    write(pen, name(labelOf(thought.answer, choice)), middle, top + 17 + (high - 24) / 2, { align: "center", size: font, weight: 600, room: cell - 6 });
  });
  write(pen, "all ticks \u2192", gutter, strip.top - 10, { colour: look.faint, size: 11 });
  for (let index = 0; index < size; index += Math.ceil(10 / each)) {
    write(pen, items ? `${index + 1}: ${items[index]}` : `${index + 1}.`, gutter - 6, strip.top + each * (index + 0.5), { align: "right", size: 10, colour: look.faint, room: gutter - 8 });
  }
  const heat = image("answer", thought.ticks, size, (column, row) => [...hue(chosen[column][row]), sureness(confidence[column][row])]);
  drawByTick(pen, heat, strip);
}

/** Confidence above guessing: 0 where all classes are alike, 1 where one is certain. */
const sureness = (confidence) => clamp((share(confidence) - 1 / thought.answer.classes) / (1 - 1 / thought.answer.classes), 0, 1);

// --- panel: where it looks -------------------------------------------------------------------------------------------

/** Attention of one head at this tick, 0..1 of its largest; of all heads together where `head` is null. */
function attentionOf(head) {
  const { heads, places, weights } = thought.attention, start = (tick - 1) * heads * places;
  if (head !== null) return Array.from(weights.subarray(start + head * places, start + (head + 1) * places), (x) => x / 255);
  const sums = new Array(places).fill(0);
  for (let at = 0; at < heads * places; at++) sums[at % places] += weights[start + at];
  const most = Math.max(...sums, 1);
  return sums.map((x) => x / most);
}

const warmth = (x) => look.warm[Math.round(x * 255)];

function drawPictureLooks() {
  const { input: { width: across, height: down, grey }, attention: { shown, map } } = thought, canvas = parts.attention;
  const width = canvas.clientWidth, gap = 10, label = 16, ratio = down / across;
  let big = Math.min(width * 0.52, 260, 320 / ratio), beside = bestGrid(shown, width - big - 2 * gap, big * ratio, ratio, gap, label);
  const below = beside.side < 44;
  if (below) [big, beside] = [Math.min(width, 240), bestGrid(shown, width, Math.max(140, 420 - Math.min(width, 240) * ratio), ratio, gap, label)];
  beside.side = Math.min(beside.side, 110);
  const line = beside.side * ratio + label + 2, rows = Math.ceil(shown / beside.columns);
  const pen = penFor(canvas, below ? big * ratio + gap + rows * line : Math.max(big * ratio, rows * line) + 2);
  const picture = image("picture", across, down, (column, row) => new Array(3).fill(grey[row * across + column]));
  const draw = (head, left, top, side) => {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, left, top, side, side * ratio);
    images.delete("overlay");
    const weights = attentionOf(head), overlay = image("overlay", map[1], map[0], (column, row) => [...warmth(weights[row * map[1] + column]), weights[row * map[1] + column] * 0.85]);
    pen.imageSmoothingEnabled = true; // places overlap in the picture, so hard edges would claim too much
    pen.drawImage(overlay, left, top, side, side * ratio);
    pen.strokeStyle = look.line;
    pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, top + 0.5, side - 1, side * ratio - 1);
  };
  draw(null, 0, 0, big);
  for (let head = 0; head < shown; head++) {
    const left = (below ? 0 : big + 2 * gap) + (head % beside.columns) * (beside.side + gap);
    const top = (below ? big * ratio + gap : 0) + Math.floor(head / beside.columns) * line;
    draw(head, left, top + label, beside.side);
    write(pen, beside.side < 50 ? String(head + 1) : `head ${head + 1}`, left, top + label / 2, { size: 11, colour: look.faint });
  }
}

/** The number of columns that lets `size` pictures be largest in a space. */
function bestGrid(size, width, height, ratio, gap, label) {
  let best = { columns: 1, side: 0 };
  for (let columns = 1; columns <= size; columns++) {
    const rows = Math.ceil(size / columns);
    const side = Math.min((width - gap * (columns - 1)) / columns, (height / rows - label - 2) / ratio);
    if (side > best.side) best = { columns, side };
  }
  return best;
}

function drawSequenceLooks() {
  const { input: { items, group }, attention: { shown, places: size } } = thought, canvas = parts.attention;
  const gutter = 48, room = canvas.clientWidth - gutter - 2, item = 30;
  const cell = clamp(Math.floor((room - 12 * (size / group)) / size), 22, 44), { places, rows } = layOut(size, group, cell, room);
  const row = rows > 2 || shown > 8 ? 6 : shown > 4 ? 12 : 18, named = row > 8, block = shown * row + item + 14;
  const pen = penFor(canvas, rows * block - 8), all = attentionOf(null), heads = Array.from({ length: shown }, (_, head) => attentionOf(head));
  for (let line = 0; line < rows; line++) {
    const note = (words, y) => write(pen, words, 0, line * block + y, { size: 11, colour: look.faint });
    if (named) heads.forEach((_, head) => note(`head ${head + 1}`, head * row + row / 2));
    else note("heads", (shown * row) / 2);
    note("all", shown * row + item / 2 + 2);
  }
  places.forEach(({ x, row: line }, index) => {
    const left = gutter + x, top = line * block, bottom = top + shown * row + 3;
    const cellAt = (y, high, weight) => drawCell(pen, left, y, cell - 2, high, warmth(weight), weight * 0.85);
    heads.forEach((weights, head) => cellAt(top + head * row, row - 2, weights[index]));
    cellAt(bottom, item - 2, all[index]);
    write(pen, items[index] ?? "\u00b7", left + cell / 2 - 1, bottom + item / 2, { align: "center", size: 14, weight: 600, room: cell - 4, halo: true });
  });
}

// --- panel: neurons --------------------------------------------------------------------------------------------------

function drawActivity() {
  const { neurons, values } = thought.activity, canvas = parts.activity, high = clamp(neurons * 2, 60, 256);
  const pen = penFor(canvas, high + 22), width = Math.min(canvas.clientWidth - 4, thought.ticks * 80);
  const heat = image("activity", thought.ticks, neurons, (column, row) => look.sign[values[column * neurons + row]]);
  pen.imageSmoothingEnabled = neurons > high; // more rows than pixels: blend them rather than drop some
  drawByTick(pen, heat, { left: 2, top: 2, width, height: high });
  const step = width / thought.ticks, middle = clamp(2 + step * (tick - 0.5), 22, Math.max(22, width - 20));
  write(pen, `tick ${tick}`, middle, high + 13, { align: "center", size: 11, colour: look.faint });
}

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
  arrange({ chart: true, answer, attention, activity });
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
  if (!thought) return;
  look = readLook();
  dress();
  tick = 1;
  if (thought.ticks === 1 || matchMedia("(prefers-reduced-motion: reduce)").matches) finish();
  else play();
}

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
