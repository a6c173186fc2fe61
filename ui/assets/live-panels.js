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
    write(pen, items ? items[index] : index < 99 ? `${index + 1}.` : String(index + 1), middle, top + 8, { align: "center", size: 11, colour: look.faint, room: cell - 4 });
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

// --- panel: the way through the picture --------------------------------------------------------------------------------

/** The way that this tick's answer takes, over the picture; a ring is where it starts, a star where it should end. */
function drawRoute() {
  const { input, routes } = thought, { width: across, height: down } = input, canvas = parts.route, ratio = down / across;
  const side = Math.min(canvas.clientWidth, 420, 480 / ratio), cell = side / across, pen = penFor(canvas, side * ratio + 26);
  const left = (canvas.clientWidth - side) / 2, at = ([row, column]) => [left + (column + 0.5) * cell, (row + 0.5) * cell];
  drawPicture(pen, left, 0, side);
  const route = routes[tick - 1], points = route.map(at), thick = clamp(cell * 0.34, 2, 7);
  pen.lineJoin = pen.lineCap = "round";
  stroke(pen, points, "#ffffff", thick + 3);
  stroke(pen, points, HUES[0], thick);
  if (points.length) drawDot(pen, points.at(-1), clamp(cell * 0.36, 3, 8), HUES[0]);
  if (input.start) drawRing(pen, at(input.start), clamp(cell * 0.42, 4, 10));
  if (input.goal) drawStar(pen, at(input.goal), clamp(cell * 0.62, 6, 14));
  const words = `tick ${tick}: ${count(Math.max(0, route.length - 1), "step")}${reachesGoal(tick) ? ", goal reached" : ""}`;
  write(pen, words, canvas.clientWidth / 2, side * ratio + 15, { align: "center", weight: 600 });
}

/** The picture that was given, from its left to its right edge; as it is where pixels show, blended where they are tiny. */
function drawPicture(pen, left, top, side) {
  const { width: across, height: down, channels, pixels } = thought.input;
  const at = (column, row) => (row * across + column) * channels;
  const colour = channels === 3 ? (...place) => pixels.subarray(at(...place), at(...place) + 3) : (...place) => new Array(3).fill(pixels[at(...place)]);
  pen.imageSmoothingEnabled = across * 3 > side;
  pen.drawImage(image("picture", across, down, colour), left, top, side, (side * down) / across);
}

function drawDot(pen, [x, y], radius, colour) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fillStyle = colour;
  pen.fill();
  pen.strokeStyle = "#ffffff";
  pen.lineWidth = 1.5;
  pen.stroke();
}

function drawRing(pen, [x, y], radius) {
  for (const [colour, width] of [["#000000", 4], ["#ffffff", 2]]) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  }
}

function drawStar(pen, [x, y], radius) {
  pen.beginPath();
  for (let point = 0; point < 10; point++) {
    const far = point % 2 ? radius * 0.45 : radius, turn = (point * Math.PI) / 5 - Math.PI / 2;
    pen.lineTo(x + far * Math.cos(turn), y + far * Math.sin(turn));
  }
  pen.closePath();
  pen.lineJoin = "round";
  pen.strokeStyle = "#000000";
  pen.lineWidth = 3;
  pen.stroke();
  pen.fillStyle = "#F0E442";
  pen.fill();
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
  const { input: { width: across, height: down }, attention: { shown, map } } = thought, canvas = parts.attention;
  const width = canvas.clientWidth, gap = 10, label = 16, ratio = down / across;
  let big = Math.min(width * 0.52, 260, 320 / ratio), beside = bestGrid(shown, width - big - 2 * gap, big * ratio, ratio, gap, label);
  const below = beside.side < 44;
  if (below) [big, beside] = [Math.min(width, 240), bestGrid(shown, width, Math.max(140, 420 - Math.min(width, 240) * ratio), ratio, gap, label)];
  beside.side = Math.min(beside.side, 110);
  const line = beside.side * ratio + label + 2, rows = Math.ceil(shown / beside.columns);
  const pen = penFor(canvas, below ? big * ratio + gap + rows * line : Math.max(big * ratio, rows * line) + 2);
  const draw = (head, left, top, side) => {
    drawPicture(pen, left, top, side);
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
