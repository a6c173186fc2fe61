// --- panel: the answer -----------------------------------------------------------------------------------------------

panels.set("answer", {
  of: () => (thought.answer?.kind === "spoken" || thought.stack ? null : thought.answer), // told by panels of their own
  dress: (answer) => {
    parts["answer-title"].textContent = thought.ticks > 1 ? "The answer by tick" : "The answer";
    (answer.kind === "classes" ? dressClasses : dressPositions)(answer);
  },
  draw: (answer) => (answer.kind === "classes" ? drawClasses : drawPositions)(),
  says: (answer) => (answer.kind === "classes" ? sayClasses : sayPositions)(answer),
});

function dressClasses({ size, shown }) {
  legend("answer", [[look.certainty, "favourite"], [band(look.more), "probability, 0 to 100 %", "band"]]);
  const many = size > shown.length ? ` The ${shown.length} likeliest of ${size} answers are shown.` : "";
  const when = thought.ticks > 1 ? ": now as bars, at every tick as the strip beside" : "";
  parts["answer-caption"].textContent = `How much it favours each answer${when}.${many}`;
}

function sayClasses(answer) {
  const row = answer.rows[tick - 1], best = row.indexOf(Math.max(...row));
  return `At tick ${tick} the likeliest answer is ${labelOf(answer, best)}, with ${percent(row[best])}`;
}

function dressPositions(answer) {
  legend("answer", classKeys(answer));
  parts["answer-caption"].textContent =
    "One answer a position. Strong colour: sure; pale: a guess." +
    (thought.ticks > 1 ? " Below, the same for every tick: positions downwards, ticks to the right." : "");
}

/** The colours of a few classes, for a legend. */
const classKeys = ({ labels }) => (labels.length <= 12 ? labels.map((label, index) => [css(hue(index)), label]) : []);

function sayPositions(answer) {
  const names = answer.chosen[tick - 1].slice(0, 64).map((index) => labelOf(answer, index)).join(" ");
  return `At tick ${tick} the ${count(answer.size, "position")} read ${names}${answer.size > 64 ? " and so on" : ""}`;
}

function drawClasses() {
  const { rows, size, labels, shown } = thought.answer, canvas = parts.answer, width = canvas.clientWidth;
  const now = rows[tick - 1], best = now.indexOf(Math.max(...now)), rest = size - shown.length, high = 22, top = 20;
  const pen = penFor(canvas, top + high * (shown.length + (rest ? 1 : 0)) + 4);
  pen.font = `600 12px ${look.font}`;
  const longest = Math.max(...shown.map((index) => pen.measureText(labelOf(thought.answer, index)).width), rest ? 62 : 0);
  const name = clamp(longest + 14, 24, width * 0.32), strip = thought.ticks > 1 ? clamp(width * 0.28, 60, 260) : 0, number = 66;
  const bar = { left: name, width: width - name - number - strip - 4 };
  if (strip) write(pen, `at tick ${tick}`, bar.left, 8, { colour: look.faint, size: 11, room: bar.width + number });
  if (strip) write(pen, "all ticks \u2192", width - strip, 8, { colour: look.faint, size: 11, room: strip });
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
  if (!strip) return;
  const heat = image("answer", thought.ticks, shown.length, (column, row) => look.more[Math.round(share(rows[column][shown[row]]) * 255)]);
  drawByTick(pen, heat, { left: width - strip + 1, top: top + 1, width: strip - 2, height: high * shown.length - 2 });
}

function drawPositions() {
  const { chosen, confidence, size, labels } = thought.answer, canvas = parts.answer, width = canvas.clientWidth, gutter = 46;
  const items = namesOfPositions(size);
  const few = size <= 8, font = few ? 18 : 13, high = few ? 60 : 50, ruler = canvas.getContext("2d");
  ruler.font = `600 ${font}px ${look.font}`;
  const name = size > 24 && new Set(labels.map((label) => label[0])).size === labels.length ? (label) => label.slice(0, 1) : (label) => label;
  const longest = Math.max(...labels.slice(0, 64).map((label) => ruler.measureText(name(label)).width), 8);
  const cell = clamp(longest + 14, few ? 52 : 24, 84), { places, rows } = layOut(size, items ? thought.input.group : 1, cell, width);
  const strip = { left: gutter, top: rows * high + 22, width: width - gutter - 2, height: heightOfStrip(size) };
  const pen = penFor(canvas, strip.top + strip.height + 6);
  places.forEach(({ x, row }, index) => {
    const top = row * high, choice = chosen[tick - 1][index], middle = x + cell / 2 - 1;
    write(pen, items ? items[index] : index < 99 ? `${index + 1}.` : String(index + 1), middle, top + 8, { align: "center", size: 11, colour: look.faint, room: cell - 4 });
    drawCell(pen, x, top + 17, cell - 3, high - 24, hue(choice), sureness(confidence[tick - 1][index]) * 0.75);
    write(pen, name(labelOf(thought.answer, choice)), middle, top + 17 + (high - 24) / 2, { align: "center", size: font, weight: 600, room: cell - 6 });
  });
  drawAllTicks(pen, strip, items);
}

/** What positions of the answer are called: as the task says, or as the items if there is one for each. */
function namesOfPositions(size) {
  const { places = [], items = [] } = thought.input ?? {};
  return [places, items].find((names) => names.length === size) ?? null;
}

const heightOfStrip = (size) => (thought.ticks > 1 ? Math.max(2, Math.min(20, 160 / size)) * size : 0);

/** The answer at every tick: positions downwards, ticks to the right. */
function drawAllTicks(pen, strip, names) {
  if (!strip.height) return;
  const { chosen, confidence, size } = thought.answer, each = strip.height / size;
  write(pen, "all ticks \u2192", strip.left, strip.top - 10, { colour: look.faint, size: 11 });
  for (let index = 0; index < size; index += Math.ceil(10 / each)) {
    const words = names ? `${index + 1}: ${names[index]}` : `${index + 1}.`;
    write(pen, words, strip.left - 6, strip.top + each * (index + 0.5), { align: "right", size: 10, colour: look.faint, room: strip.left - 8 });
  }
  const heat = image("answer", thought.ticks, size, (column, row) => [...hue(chosen[column][row]), sureness(confidence[column][row])]);
  drawByTick(pen, heat, strip);
}

/** Confidence above guessing: 0 where all classes are alike, 1 where one is certain. */
const sureness = (confidence) => clamp((share(confidence) - 1 / thought.answer.classes) / (1 - 1 / thought.answer.classes), 0, 1);
