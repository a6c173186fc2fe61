// --- panel: energy and certainty -------------------------------------------------------------------------------------

panels.set("chart", { of: () => thought, dress: dressChart, draw: drawChart, says: sayChart });

function dressChart({ energy, ticks, iterations, answerTick }) {
  parts["chart-title"].textContent = `${energy ? "Energy and certainty" : "Certainty"}${iterations > 1 ? " by tick" : ""}`;
  parts["chart-caption"].textContent =
    (energy ? "Energy is the machine's own word on thinking on: low says stop here. " : "") +
    "Certainty says how much it favours one answer over the others: high is sure, not always right." +
    (ticks < iterations ? " Hatched ticks were never needed." : "") +
    (answerTick < ticks ? ` The answer given is that of tick ${answerTick}.` : "");
  legend("chart", [energy && [look.energy, "energy", "line"], [look.certainty, "certainty", "line"]]);
}

function sayChart({ energy, certainty, ticks }) {
  return `${energy ? `${moved("Energy", energy)} and ${moved("certainty", certainty)}` : moved("Certainty", certainty)} over ${count(ticks, "tick")}`;
}

function moved(name, values) {
  const first = values[0], last = values[values.length - 1];
  const verb = last < first ? "fell" : last > first ? "rose" : "stayed";
  return `${name} ${verb} from ${decimal(first)} to ${decimal(last)}`;
}

function drawChart() {
  const { energy, certainty, phases } = thought, canvas = parts.chart, row = phases ? 24 : 0, height = 264 + row, pen = penFor(canvas, height);
  const box = { left: energy ? 44 : 14, right: canvas.clientWidth - 40, top: 38, bottom: height - 36 - row, row };
  const scale = energy && niceScale([...energy, ...thought.lines.filter((line) => line.of === "energy").map((line) => line.at)]);
  const x = (at) => box.left + ((at - 0.5) / thought.iterations) * (box.right - box.left);
  const height01 = (value) => box.bottom - value * (box.bottom - box.top);
  const yOf = { certainty: height01, energy: (value) => height01((value - scale.least) / (scale.most - scale.least)) };
  const drawn = thought.lines.filter(({ of }) => of === "certainty" || (of === "energy" && energy));
  const levels = drawn.map(({ of, at }) => ({ of, at, y: yOf[of](at) }));
  if (phases) drawPhaseRow(pen, box, x);
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
  drawListening(pen, box, x);
}

/** What is shown when: a row under the plot, and every other one as a band up through it. */
function drawPhaseRow(pen, box, x) {
  thought.phases.forEach((phase, index) => {
    const left = x(phase.from - 0.5), wide = Math.min(x(phase.until + 0.5), box.right) - left, side = Math.min(20, wide - 2);
    if (wide <= 0) return;
    pen.globalAlpha = index % 2 ? 0.03 : 0.09;
    pen.fillStyle = look.text;
    pen.fillRect(left, box.top, wide, box.bottom - box.top + box.row);
    pen.globalAlpha = 1;
    if (phase.picture !== null) drawPicture(pen, left + (wide - side) / 2, box.bottom + (box.row - side) / 2, side, phase.picture);
    else if (phase.name.length * 6 <= wide + 6) write(pen, phase.name, left + wide / 2, box.bottom + box.row / 2, { align: "center", size: 11, weight: 600 });
  });
}

/** The ticks before it may answer, behind a line. */
function drawListening(pen, box, x) {
  const { listening, iterations } = thought;
  if (!listening) return;
  const right = Math.min(x(Math.min(listening, iterations) + 0.5), box.right), wide = right - box.left;
  pen.globalAlpha = 0.1;
  pen.fillStyle = look.right;
  pen.fillRect(box.left, box.top, wide, box.bottom - box.top);
  pen.globalAlpha = 1;
  stroke(pen, [[right, box.top], [right, box.bottom]], look.right, 1.5);
  if (wide > 52) write(pen, "listening", right - 5, box.top + 9, { align: "right", size: 11, colour: look.right, weight: 600, halo: true });
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
  if (thought.iterations === 1) return;
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
  const below = box.bottom + box.row;
  for (let at = step; at <= thought.iterations; at += step) write(pen, String(at), x(at), below + 11, { align: "center", colour: look.faint, size: 11 });
  if (step > 2) write(pen, "1", x(1), below + 11, { align: "center", colour: look.faint, size: 11 });
  write(pen, "tick", (box.left + box.right) / 2, below + 27, { align: "center", colour: look.faint, size: 11 });
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
  const { ticks, answerTick, iterations } = thought;
  if (clock || iterations === 1) return;
  const ended = ticks < iterations ? "stopped" : "end", two = answerTick !== ticks, close = two && x(ticks) - x(answerTick) < 60;
  const mark = (at, words, align) => {
    const middle = align === "center" ? clamp(x(at), box.left + 24, box.right - 24) : x(at);
    stroke(pen, [[x(at), box.top - 4], [x(at), box.bottom]], look.text, 1.5, [2, 3]);
    write(pen, words, middle, box.top - 11, { align, size: 11, weight: 600 });
  };
  if (two) mark(answerTick, close ? "answer " : "answer", close ? "right" : "center");
  mark(ticks, close ? ` ${ended}` : ended, close ? "left" : "center");
}
