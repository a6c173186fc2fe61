// --- panel: a field with a moving dot --------------------------------------------------------------------------------

panels.set("field", { of: () => thought.path, dress: dressField, draw: drawField, says: sayField });

const TRAIL = 8; // earlier answers that still show

/** The frames of a path and what is asked of it; `place` is the true one, where the frames that are seen leave no other. */
function readPath(said, answer) {
  const side = whole(said.side, 0, 64), ahead = whole(said.ahead, 0, 1000);
  const cell = (at) => (list(at).length === 2 && list(at).every(isNumber) ? at.map((x) => whole(x, 0, side - 1)) : null);
  const frames = list(said.frames).slice(0, 64).map(cell);
  const quarters = answer?.kind === "classes" && answer.size === 4 && answer.rows[0].length === 4;
  if (side < 2 || !frames.some(Boolean) || !(quarters || (answer?.kind === "positions" && answer.size === 2))) return null;
  const fastest = isNumber(said.fastest) ? whole(said.fastest, 1, 8) : 2;
  const ends = [0, 1].map((axis) => placesAhead(frames.map((at) => at && at[axis]), side, fastest, ahead));
  const place = ends.every((all) => all.length === 1) ? ends.map(([one]) => one) : null;
  return { side, ahead, frames, quarters, place };
}

/** Where a dot may be along one axis, `ahead` frames after the last, of all even movements through what is seen of it. */
function placesAhead(seen, side, fastest, ahead) {
  const period = 2 * (side - 1), places = new Set();
  const folded = (straight) => { // outer cells are where it turns
    const at = ((straight % period) + period) % period;
    return Math.min(at, period - at);
  };
  for (let start = 0; start < side; start++) {
    for (let speed = -fastest; speed <= fastest; speed++) {
      const fits = seen.every((at, frame) => at === null || folded(start + speed * frame) === at);
      if (fits) places.add(folded(start + speed * (seen.length - 1 + ahead)));
    }
  }
  return [...places];
}

const quarterOf = ([row, column], side) => 2 * Number(row >= side >> 1) + Number(column >= side >> 1);

/** What the answer at a tick names: a place or a quarter, how sure it is, and whether that is known to be right. */
function expectedAt(at) {
  const { side, quarters, place } = thought.path, { answer } = thought;
  if (quarters) {
    const row = answer.rows[at - 1], quarter = row.indexOf(Math.max(...row));
    return { quarter, words: `in the ${labelOf(answer, quarter)} quarter`, sure: share(row[quarter]), right: place && quarterOf(place, side) === quarter };
  }
  const [row, column] = answer.chosen[at - 1].map((x) => clamp(x, 0, side - 1)), bands = answer.confidence[at - 1].map(share);
  const right = place && place[0] === row && place[1] === column;
  return { place: [row, column], bands, words: `at row ${row}, column ${column}`, sure: bands[0] * bands[1], right };
}

const judged = ({ right }) => (right === null ? "" : right ? ", right" : ", wrong");

function sayField(path) {
  const expected = expectedAt(tick), seen = path.frames.filter(Boolean).length;
  return `At tick ${tick} it expects the dot ${expected.words}, ${percent(expected.sure)} sure${judged(expected)}; ` +
    `${seen} of ${count(path.frames.length, "frame")} are seen and it looks ${count(path.ahead, "frame")} ahead`;
}

function dressField({ quarters, place, ahead }) {
  legend("field", [
    [look.text, "frames it is shown"],
    [look.certainty, quarters ? "the quarter it expects" : "the place it expects"],
    place && [look.right, "where the dot will be", "line"],
    thought.attention && [band(look.warm), "looks more", "band"],
  ]);
  const when = ahead ? `${count(ahead, "frame")} after` : "in";
  parts["field-caption"].textContent =
    `Numbered dots are the frames, missed ones left out; asked is where the dot is ${when} the last of them. ` +
    (quarters
      ? "Stronger quarters are likelier to it."
      : "Stronger is surer: bands for the row and the column, each by itself, and thin lines back to its earlier answers.");
}

function drawField(path) {
  const { side, quarters } = path, canvas = parts.field, gutter = 20, size = Math.min(canvas.clientWidth - gutter - 2, 380);
  const pen = penFor(canvas, size + gutter + 28), cell = size / side, expected = expectedAt(tick);
  const field = { left: (canvas.clientWidth - gutter - size) / 2 + gutter, top: gutter, size, cell };
  const at = ([row, column]) => [field.left + (column + 0.5) * cell, field.top + (row + 0.5) * cell];
  (quarters ? drawQuarters : drawBands)(pen, field, expected);
  drawGrid(pen, field, side);
  if (!quarters) drawTrail(pen, at, cell);
  drawFrames(pen, at, cell);
  if (path.place) drawCircle(pen, at(path.place), Math.max(cell * 0.62, 6), look.right, [3, 3]);
  const words = `tick ${tick}: ${expected.words}, ${percent(expected.sure)} sure${judged(expected)}`;
  write(pen, words, canvas.clientWidth / 2, field.top + size + 16, { align: "center", weight: 600, room: canvas.clientWidth });
}

function drawQuarters(pen, { left, top, size, cell }, expected) {
  const { side } = thought.path, half = (side >> 1) * cell;
  thought.answer.rows[tick - 1].forEach((chance, quarter) => {
    const x = left + (quarter % 2 ? half : 0), y = top + (quarter > 1 ? half : 0);
    const wide = quarter % 2 ? size - half : half, high = quarter > 1 ? size - half : half;
    pen.fillStyle = look.certainty;
    pen.globalAlpha = share(chance) * 0.6;
    pen.fillRect(x, y, wide, high);
    pen.globalAlpha = 1;
    const weight = quarter === expected.quarter ? 700 : 400;
    write(pen, percent(share(chance)), x + wide / 2, y + high - 12, { align: "center", size: 11, weight, halo: true });
  });
}

/** The row and the column that are chosen, each as strong as it is sure, and the cell where they cross. */
function drawBands(pen, { left, top, size, cell }, { place: [row, column], bands: [inRow, inColumn], sure }) {
  pen.fillStyle = look.certainty;
  pen.globalAlpha = 0.04 + inRow * 0.16;
  pen.fillRect(left, top + row * cell, size, cell);
  pen.globalAlpha = 0.04 + inColumn * 0.16;
  pen.fillRect(left + column * cell, top, cell, size);
  pen.globalAlpha = 0.3 + sure * 0.7;
  pen.fillRect(left + column * cell, top + row * cell, cell, cell);
  pen.globalAlpha = 1;
}

function drawGrid(pen, { left, top, size, cell }, side) {
  const step = Math.ceil(22 / cell), ruled = cell >= 8 ? 1 : side;
  for (let line = 0; line <= side; line += ruled) {
    stroke(pen, [[left + line * cell, top], [left + line * cell, top + size]], look.line);
    stroke(pen, [[left, top + line * cell], [left + size, top + line * cell]], look.line);
  }
  for (let line = 0; line < side; line += step) {
    write(pen, String(line), left + (line + 0.5) * cell, top - 9, { align: "center", size: 10, colour: look.faint });
    write(pen, String(line), left - 5, top + (line + 0.5) * cell, { align: "right", size: 10, colour: look.faint });
  }
}

function drawTrail(pen, at, cell) {
  const places = thought.answer.chosen.slice(Math.max(0, tick - 1 - TRAIL), tick).map(at);
  places.slice(1).forEach((place, index) => {
    pen.globalAlpha = (0.5 * (index + 1)) / places.length;
    stroke(pen, [places[index], place], look.certainty, clamp(cell * 0.12, 1, 2.5));
    pen.globalAlpha = 1;
  });
}

/** The dots that are shown, joined in their order; frames in which it is in the same cell share a dot. Warm rings: attention. */
function drawFrames(pen, at, cell) {
  const { frames } = thought.path, radius = clamp(cell * 0.45, 4, 11);
  const looks = thought.attention?.places > frames.length ? attentionOf(null) : null; // the last place is the question
  const cells = new Map();
  frames.forEach((place, index) => place && cells.set(String(place), [...(cells.get(String(place)) ?? []), index]));
  stroke(pen, frames.filter(Boolean).map(at), look.text, 1.5);
  for (const [, shown] of cells) {
    const place = at(frames[shown[0]]), weight = looks ? Math.max(...shown.map((index) => looks[index])) : 0;
    if (weight > 0.02) drawCircle(pen, place, radius + 1 + weight * 2.5, css(warmth(weight)), [], weight * 5);
    pen.beginPath();
    pen.arc(...place, radius, 0, 7);
    pen.fillStyle = look.text;
    pen.fill();
    const number = shown.map((index) => index + 1).join(",");
    if (radius >= 6) write(pen, number, ...place, { align: "center", size: number.length > 2 ? 8 : 10, weight: 600, colour: look.back });
  }
}

function drawCircle(pen, [x, y], radius, colour, dash = [], width = 2.5) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.stroke();
  pen.setLineDash([]);
}
