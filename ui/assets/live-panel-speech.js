// --- panel: numbers that are said one after the other --------------------------------------------------------------------

panels.set("speech", { of: () => thought.speech, dress: dressSpeech, draw: drawSpeech, says: saySpeech });

/** What is said when: `said` in its order, each with its tick, number and text, and whether it is new and not below what came before. */
function readSpeech(given, input, answer) {
  const size = answer?.kind === "spoken" ? answer.size : 0, values = series(given, size);
  if (!size || !values || !values.every(isNumber) || input?.kind !== "sequence" || input.items.length !== size) return null;
  let most = -Infinity, before = size;
  const said = [], told = new Set();
  answer.chosen.forEach((one, index) => {
    if (one !== size && one !== before) {
      const last = said.at(-1), at = index + 1, value = values[one], rises = value >= most && !told.has(one);
      const pause = at - (last?.tick ?? 0), gap = last ? Math.abs(value - last.value) : 0;
      said.push({ tick: at, value, words: input.items[one], sure: answer.confidence[index], rises, pause, gap });
      most = Math.max(most, value);
      told.add(one);
    }
    before = one;
  });
  return { size, values, said };
}

const saidBy = (at) => thought.speech.said.filter((one) => one.tick <= at);

function saySpeech({ size }) {
  const now = saidBy(tick), odd = now.filter((one) => !one.rises).length;
  const order = odd ? `, ${odd} of them out of order` : ", in order";
  const words = now.length ? `${order}: ${now.map((one) => minus(one.words)).join(" ")}` : "";
  return `At tick ${tick} it has said ${now.length} of ${count(size, "number")}${words}`;
}

function dressSpeech({ said }) {
  const odd = said.some((one) => !one.rises);
  const bars = [[look.faint, "pause before it"], [look.right, "gap to the number before"]];
  legend("speech", [[look.certainty, "said"], odd && [look.energy, "said out of order"], ...bars]);
  parts["speech-caption"].textContent =
    "Every dot is a number, at the tick it is said and at its height; lines stand where numbers are. Sorted, they rise like stairs. " +
    "Below, the list as said so far, paler where it was less sure. Bars: the ticks that passed before a number, and its distance " +
    "to the one before; the machines of the paper wait longer before larger ones.";
}

function drawSpeech({ size, values, said }) {
  const canvas = parts.speech, width = canvas.clientWidth, now = saidBy(tick), high = clamp(size * 22, 140, 260);
  const box = { left: 8, right: width - 8, top: 12, bottom: 12 + high };
  const slots = Math.max(size, said.length), longest = Math.max(...thought.input.items.map((word) => word.length));
  const cell = clamp(longest * 7 + 12, 30, 84), { places, rows } = layOut(slots, 1, cell, width), block = 54, first = box.bottom + 42;
  const pen = penFor(canvas, first + rows * block + 2);
  drawStairs(pen, box, values, now);
  write(pen, `said by tick ${tick}: ${now.length} of ${size}`, 0, first - 12, { weight: 600 });
  const longestPause = Math.max(...said.map((one) => one.pause), 1), widest = Math.max(...said.map((one) => one.gap), Number.MIN_VALUE);
  places.forEach(({ x, row }, index) => {
    const top = first + row * block, one = now[index], bars = top + 22;
    drawCell(pen, x, bars + 2, cell - 3, 24, hue(one ? (one.rises ? 0 : 5) : 7), one ? 0.05 + one.sure * 0.35 : 0.06);
    if (!one) return;
    write(pen, minus(one.words), x + cell / 2 - 1, bars + 15, { align: "center", weight: 600, room: cell - 6 });
    if (!index) return; // what it waits for at first is no gap
    drawBar(pen, x + cell / 2 - 9, bars, (one.pause / longestPause) * 20, look.faint);
    drawBar(pen, x + cell / 2, bars, (one.gap / widest) * 20, look.right);
  });
}

function drawBar(pen, left, bottom, high, colour) {
  pen.fillStyle = colour;
  pen.fillRect(left, bottom - Math.max(high, 1), 7, Math.max(high, 1));
}

/** Ticks to the right, numbers upwards. */
function drawStairs(pen, box, values, now) {
  const { ticks } = thought, step = (box.right - box.left) / ticks, x = (at) => box.left + (at - 0.5) * step;
  const least = Math.min(...values), range = Math.max(...values) - least || 1;
  const y = (value) => box.bottom - 8 - ((value - least) / range) * (box.bottom - box.top - 16);
  for (const value of values) stroke(pen, [[box.left, y(value)], [box.right, y(value)]], look.line);
  pen.globalAlpha = 0.12;
  pen.fillStyle = look.text;
  pen.fillRect(x(tick) - Math.max(step, 2) / 2, box.top, Math.max(step, 2), box.bottom - box.top);
  pen.globalAlpha = 1;
  stroke(pen, now.map((one) => [x(one.tick), y(one.value)]), look.faint, 1, [2, 3]);
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => size * step >= 26) ?? 5000;
  for (let at = every; at <= ticks; at += every) write(pen, String(at), x(at), box.bottom + 11, { align: "center", size: 11, colour: look.faint });
  const taken = now.map((one) => ({ left: x(one.tick) - 5, right: x(one.tick) + 5, y: y(one.value) }));
  for (const one of now) {
    drawDot(pen, [x(one.tick), y(one.value)], 4.5, one.rises ? look.certainty : look.energy);
    writeBeside(pen, minus(one.words), x(one.tick), y(one.value), box, taken);
  }
}

/** Words beside a dot where they cover nothing; none where there is no room. */
function writeBeside(pen, words, x, y, box, taken) {
  pen.font = `600 11px ${look.font}`;
  const wide = pen.measureText(words).width;
  const free = [[x - 7 - wide, y], [x + 7, y], [x - 3 - wide, y - 10], [x + 3, y + 10]].find(([left, at]) =>
    left >= box.left && left + wide <= box.right && taken.every((other) => left > other.right || left + wide < other.left || Math.abs(other.y - at) > 11));
  if (!free) return;
  const [left, at] = free;
  write(pen, words, left, at, { size: 11, weight: 600 });
  taken.push({ left, right: left + wide, y: at });
}
