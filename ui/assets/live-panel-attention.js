// --- panel: where it looks -------------------------------------------------------------------------------------------

panels.set("attention", {
  of: () => thought.attention,
  dress: dressAttention,
  draw: () => (thought.input.kind === "picture" ? drawPictureLooks : drawSequenceLooks)(),
  says: ({ heads, map }) => `Where ${count(heads, "attention head")} look${heads === 1 ? "s" : ""} at tick ${tick}, over ${map.join(" by ")} places`,
});

function readAttention(said, ticks, input) {
  const map = list(said.map).slice(0, 2).map((side) => whole(side, 0, 4096)), heads = whole(said.heads, 0, 256);
  const places = map.length ? map.reduce((a, b) => a * b) : 0;
  const weights = heads && places && input ? bytes(said.data, ticks * heads * places) : null;
  if (!weights || (input.kind === "picture" && map.length !== 2)) return null;
  return { heads, map, places, weights, shown: Math.min(heads, MOST_HEADS) };
}

function dressAttention({ heads, shown }) {
  const most = heads > shown ? ` The first ${shown} of ${heads} heads are shown.` : "";
  legend("attention", [[band(look.warm), "looks more", "band"]]);
  parts["attention-caption"].textContent = thought.input.kind === "picture"
    ? `Warm places are what it looks at in this tick: ${thought.routes ? "each head by itself." : "large, all heads together; small, each head by itself."}${most}`
    : `Warm items are what it looks at in this tick: one row a head, and all heads together on the items.${most}`;
}

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
  const { input, attention: { shown }, phases } = thought, canvas = parts.attention, now = phaseAt(tick), gap = 10, label = 16;
  const ratio = phases ? 1 : input.height / input.width, { big, left, top, columns, side } = layOutLooks(canvas.clientWidth, ratio, shown, gap, label);
  const line = side * ratio + label + 2, pen = penFor(canvas, Math.max(big * ratio, top + Math.ceil(shown / columns) * line) + 2);
  const draw = (head, x, y, wide) => {
    if (!phases) drawPicture(pen, x, y, wide);
    else if (now) drawPhase(pen, now, x, y, wide);
    drawLooks(pen, attentionOf(head), x, y, wide, wide * ratio);
    pen.strokeStyle = look.line;
    pen.lineWidth = 1;
    pen.strokeRect(x + 0.5, y + 0.5, wide - 1, wide * ratio - 1);
  };
  if (big) draw(null, 0, 0, big);
  for (let head = 0; head < shown; head++) {
    const x = left + (head % columns) * (side + gap), y = top + Math.floor(head / columns) * line;
    draw(head, x, y + label, side);
    write(pen, side < 50 ? String(head + 1) : `head ${head + 1}`, x, y + label / 2, { size: 11, colour: look.faint });
  }
}

/** Sizes of the picture of all heads and of those of each: beside it, below it on a narrow page, alone where a way shows it. */
function layOutLooks(width, ratio, shown, gap, label) {
  const grid = (wide, high, most) => {
    const { columns, side } = bestGrid(shown, wide, high, ratio, gap, label);
    return { columns, side: Math.min(side, most) };
  };
  if (thought.routes) return { big: 0, left: 0, top: 0, ...grid(width, 320, 200) };
  const large = Math.min(width * 0.52, 260, 320 / ratio), left = large + 2 * gap, beside = grid(width - left, large * ratio, 110);
  if (beside.side >= 44) return { big: large, left, top: 0, ...beside };
  const big = Math.min(width, 240);
  return { big, left: 0, top: big * ratio + gap, ...grid(width, Math.max(140, 420 - big * ratio), 110) };
}

/** Where weights of the map lie over a picture, warm. */
function drawLooks(pen, weights, left, top, width, height) {
  const [rows, columns] = thought.attention.map;
  images.delete("overlay");
  const overlay = image("overlay", columns, rows, (column, row) => [...warmth(weights[row * columns + column]), weights[row * columns + column] * 0.85]);
  pen.imageSmoothingEnabled = true; // places overlap in the picture, so hard edges would claim too much
  pen.drawImage(overlay, left, top, width, height);
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
  const cell = clamp(Math.floor((room - (group > 1 ? 12 * (size / group) : 0)) / size), 22, 44), { places, rows } = layOut(size, group, cell, room);
  const row = rows > 2 || shown > 8 ? 6 : shown > 4 ? 12 : 18, named = row > 8, block = shown * row + item + 14;
  const font = items.some((words) => words.length > 3) ? 11 : 14;
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
    write(pen, items[index] ?? "\u00b7", left + cell / 2 - 1, bottom + item / 2, { align: "center", size: font, weight: 600, room: cell - 3, halo: true });
  });
}
