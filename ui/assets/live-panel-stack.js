// --- panel: brackets and what lies open on top of their stack ----------------------------------------------------------

panels.set("stack", { of: () => thought.stack, dress: () => legend("stack", classKeys(thought.answer)), draw: drawStack, says: sayStack });

const TOPS = ["\u2013", "(", "[", "\u00d7"]; // nothing open, a round one, a square one, broken
const NOTHING = 0, BROKEN = 3;
const WORDS = 44; // above it are words

/** How deep the stack is after every bracket and what lies on top of it, in the classes of the answer. */
function readStack(said, input, answer) {
  const size = input?.kind === "sequence" ? input.items.length : 0;
  const depths = series(said.depths, size), tops = series(said.tops, size);
  if (!size || !depths || !tops || answer?.kind !== "positions" || answer.size !== size || answer.classes !== TOPS.length) return null;
  return { size, depths: depths.map((depth) => whole(depth, 0, size)), tops: tops.map((top) => whole(top, 0, BROKEN)) };
}

const believed = (index) => clamp(thought.answer.chosen[tick - 1][index], 0, BROKEN);

/** What it makes of the whole row, and how sure and right it is: its last belief, in words. */
function verdict({ size, tops }) {
  const said = believed(size - 1), top = tops[size - 1], alike = (said === NOTHING) === (top === NOTHING);
  const what = said === NOTHING ? "balanced" : said === BROKEN ? "not balanced, broken" : `not balanced, ${TOPS[said]} is left open`;
  const right = said === top ? "right" : alike ? "right for a wrong reason" : "wrong";
  return [what, `${percent(share(thought.answer.confidence[tick - 1][size - 1]))} sure, ${right}`];
}

function sayStack(stack) {
  const wrong = stack.tops.filter((top, index) => top !== believed(index)).length;
  return `At tick ${tick} it says ${verdict(stack).join(": ")}; its belief is mistaken after ${wrong} of ${count(stack.size, "bracket")}`;
}

function drawStack(stack) {
  const { size, depths, tops } = stack, { items } = thought.input, canvas = parts.stack, width = canvas.clientWidth, gutter = 58;
  const cell = clamp(Math.floor((width - gutter - 2) / size), 24, 44), { places, rows } = layOut(size, 1, cell, width - gutter - 2);
  const deepest = Math.max(...depths, 1), step = clamp(48 / deepest, 2, 12), profile = deepest * step + 6, block = profile + 74;
  const strip = { left: gutter, top: WORDS + rows * block + 18, width: width - gutter - 2, height: heightOfStrip(size) };
  const pen = penFor(canvas, strip.top + strip.height + 6);
  const [what, sure] = verdict(stack);
  write(pen, `tick ${tick}: ${what}`, 0, 10, { weight: 600, room: width });
  write(pen, sure, 0, 28, { room: width });
  for (let line = 0; line < rows; line++) {
    const note = (words, y) => write(pen, words, 0, WORDS + line * block + y, { size: 11, colour: look.faint });
    note("depth", profile - 8);
    note("brackets", profile + 12);
    note("believed", profile + 37);
  }
  places.forEach(({ x, row }, index) => {
    const left = gutter + x, middle = left + cell / 2 - 1, floor = WORDS + row * block + profile;
    const said = believed(index), wrong = said !== tops[index];
    pen.fillStyle = tops[index] === BROKEN ? look.line : look.faint;
    pen.globalAlpha = 0.55;
    pen.fillRect(left, floor - depths[index] * step - 2, cell, depths[index] * step + 2);
    pen.globalAlpha = 1;
    write(pen, items[index], middle, floor + 12, { align: "center", size: 18, weight: 600 });
    drawCell(pen, left, floor + 25, cell - 3, 26, hue(said), sureness(thought.answer.confidence[tick - 1][index]) * 0.75);
    write(pen, TOPS[said], middle, floor + 38, { align: "center", size: 15, weight: 600 });
    if (!wrong) return;
    pen.strokeStyle = look.text;
    pen.lineWidth = 2;
    pen.strokeRect(left, floor + 25, cell - 3, 26);
    write(pen, TOPS[tops[index]], middle, floor + 61, { align: "center", size: 12, colour: look.text });
  });
  drawAllTicks(pen, strip, items);
}
