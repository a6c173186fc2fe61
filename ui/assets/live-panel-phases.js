// --- panel: what is shown one thing after the other ----------------------------------------------------------------------

panels.set("phases", { of: () => thought.phases, dress: dressPhases, draw: drawPhases, says: sayPhases });

/** What is shown from which tick until which; `picture` counts the squares of the strip that the pictures came as. */
function readPhases(said, input) {
  const pictures = input?.kind === "picture" ? Math.floor(input.width / input.height) : 0;
  const phases = list(said).slice(0, MOST_PLACES).map(object).map(({ name, from, until, picture }) => ({
    name: text(name, 24), from: whole(from, 0, MOST_TICKS), until: whole(until, 0, MOST_TICKS),
    picture: isNumber(picture) && picture >= 0 && picture < pictures ? Math.floor(picture) : null,
  }));
  return pictures && phases.length && phases.every(({ from, until }) => from >= 1 && from <= until) ? phases : null;
}

const phaseAt = (at) => thought.phases?.find(({ from, until }) => from <= at && at <= until) ?? null;

function sayPhases() {
  const phase = phaseAt(tick), { listening } = thought;
  const may = tick > listening ? "it may answer now" : `it listens until tick ${listening}`;
  return `At tick ${tick} ${phase ? `comes: ${phase.name}` : "nothing is shown"}; ${may}`;
}

function dressPhases() {
  const { listening } = thought;
  parts["phases-caption"].textContent =
    "Pictures and parts of the question come one after the other, each for the ticks below it; the frame is what is there now." +
    (listening ? ` It only listens up to tick ${listening} and may answer from then on.` : "");
}

function drawPhases(phases) {
  const canvas = parts.phases, width = canvas.clientWidth, cell = clamp(Math.floor(width / phases.length), 56, 84), card = cell - 8, block = card + 24;
  const { places, rows } = layOut(phases.length, 1, cell, width), pen = penFor(canvas, rows * block + 4), now = phaseAt(tick);
  places.forEach(({ x, row }, index) => {
    const phase = phases[index], left = x + 2, top = row * block + 2, there = phase === now;
    pen.globalAlpha = clock && phase.from > tick ? 0.3 : 1; // while playing, what is still to come
    drawPhase(pen, phase, left, top, card);
    pen.strokeStyle = there ? look.text : look.line;
    pen.lineWidth = there ? 3 : 1;
    pen.strokeRect(left, top, card, card);
    const style = { align: "center", size: 11, colour: there ? look.text : look.faint, weight: there ? 700 : 400, room: cell };
    write(pen, `${phase.from}\u2013${phase.until}`, left + card / 2, top + card + 11, style);
    pen.globalAlpha = 1;
  });
}

/** Its picture, or its name where it has none. */
function drawPhase(pen, { name, picture }, left, top, side) {
  if (picture !== null) return drawPicture(pen, left, top, side, picture);
  write(pen, name, left + side / 2, top + side / 2, { align: "center", size: Math.min(24, (side * 1.3) / name.length), weight: 600, room: side - 4 });
}
