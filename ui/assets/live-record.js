// The live view of a thought. Gradio runs this once per mounted component, as the body of a function that is given
// `element` (the component's root), `props` (whose `value` is the record, or empty) and `watch`. Nothing here is global.
//
// One record comes in whole; `show(tick)` draws it at one tick; playing only calls `show` on a clock. Records may come from
// anywhere, so each is read into a checked `thought` first: what is missing or odd leaves its panel out, never throws.
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

// What a thought is shown by, in the order in which panels are dealt out: `of` says what of the thought a panel shows, if
// anything; `dress` writes what does not change with the tick, `draw` draws at a tick, `says` puts the drawing in words.
const panels = new Map();

// --- reading a record ------------------------------------------------------------------------------------------------

const whole = (x, least, most) => (isNumber(x) ? clamp(Math.round(x), least, most) : least);
const share = (x) => (isNumber(x) ? clamp(x, 0, 1) : 0);
const series = (x, ticks) => (list(x).length >= ticks ? list(x).slice(0, ticks).map((y) => (isNumber(y) ? y : NaN)) : null);

function readThought(value) {
  const said = object(value);
  const ticks = Math.min(whole(said.ticks, 0, MOST_TICKS), list(said.certainty).length);
  if (!ticks) return null;
  const energy = series(said.energy, ticks), shown = object(said.input), input = readInput(shown);
  const answerTick = isNumber(said.answer_tick) ? whole(said.answer_tick, 1, ticks) : ticks;
  const answer = readAnswer(object(said.choices ?? said.answer), ticks, answerTick);
  return {
    ticks,
    iterations: whole(said.iterations, ticks, MOST_TICKS),
    answerTick,
    sentence: text(said.sentence) || `The thought took ${count(ticks, "tick")}.`,
    promise: text(said.promise),
    milliseconds: isNumber(said.milliseconds) ? said.milliseconds : null,
    energy: energy && energy.some(isNumber) ? energy : null,
    chance: series(said.p_correct, ticks),
    certainty: series(said.certainty, ticks).map((x) => clamp(x, 0, 1)),
    lines: list(said.lines).map(object).filter((line) => isNumber(line.at)).slice(0, 4).map(({ of, at }) => ({ of, at })),
    listening: whole(said.listening, 0, MOST_TICKS),
    answer,
    input,
    routes: readRoutes(said.routes, ticks, input),
    path: readPath(object(shown.path), answer),
    stack: readStack(object(shown.stack), input, answer),
    speech: readSpeech(shown.numbers, input, answer),
    phases: readPhases(shown.phases, input),
    attention: readAttention(object(said.attention), ticks, input),
    activity: readActivity(object(said.activity), ticks),
  };
}

function readAnswer(said, ticks, answerTick) {
  const labels = list(said.labels).map((label) => text(label, 80));
  if (said.kind === "classes") {
    const rows = table(said.probabilities, ticks, MOST_CLASSES);
    const size = rows && whole(said.of, rows[0].length, 1e9); // classes that never mattered are left out of the rows
    return rows && { kind: "classes", rows, size, labels, shown: likeliest(rows[answerTick - 1]) };
  }
  if (said.kind === "spoken") {
    const chosen = series(said.chosen, ticks), confidence = series(said.confidence, ticks), size = whole(said.of, 0, MOST_PLACES);
    if (!size || !chosen || !confidence) return null;
    return { kind: "spoken", size, chosen: chosen.map((one) => (isNumber(one) ? whole(one, 0, size) : size)), confidence: confidence.map(share) };
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
    const channels = said.channels === 3 ? 3 : 1, pixels = width && height ? bytes(said.data, width * height * channels) : null;
    const place = (at) => (list(at).length === 2 && list(at).every(isNumber) ? [whole(at[0], 0, height - 1), whole(at[1], 0, width - 1)] : null);
    return pixels && { kind: "picture", width, height, channels, pixels, start: place(said.start), goal: place(said.goal) };
  }
  const items = list(said.items).slice(0, MOST_PLACES).map((item) => text(item, 12));
  const places = list(said.places).slice(0, MOST_PLACES).map((place) => text(place, 12)); // names of the answer's positions
  return said.kind === "sequence" && items.length ? { kind: "sequence", items, places, group: whole(said.group, 1, items.length) } : null;
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
