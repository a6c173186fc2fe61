// --- panel: the way through the picture --------------------------------------------------------------------------------

panels.set("route", { of: () => thought.routes, dress: dressRoute, draw: drawRoute, says: sayRoute });

/** By tick, the places that the answer goes through, as [row, column] in the picture. */
function readRoutes(said, ticks, input) {
  if (input?.kind !== "picture" || list(said).length < ticks) return null;
  return list(said).slice(0, ticks).map((numbers) => {
    const flat = list(numbers).slice(0, 2 * MOST_PLACES);
    return Array.from({ length: Math.floor(flat.length / 2) }, (_, at) => [whole(flat[2 * at], 0, input.height - 1), whole(flat[2 * at + 1], 0, input.width - 1)]);
  });
}

function reachesGoal(at) {
  const end = thought.routes[at - 1].at(-1), goal = thought.input.goal;
  return Boolean(end && goal && end[0] === goal[0] && end[1] === goal[1]);
}

function dressRoute() {
  parts["route-caption"].textContent =
    "Blue: where this tick's answer leads, until it reaches the goal, meets a wall or ends. Ring: start; star: goal." +
    (thought.attention ? " Warm: where it looks in this tick." : "");
}

function sayRoute(routes) {
  return `At tick ${tick} the way has ${count(Math.max(0, routes[tick - 1].length - 1), "step")}${reachesGoal(tick) ? " and reaches the goal" : ""}`;
}

/** The way that this tick's answer takes, over the picture; a ring is where it starts, a star where it should end. */
function drawRoute() {
  const { input, routes } = thought, { width: across, height: down } = input, canvas = parts.route, ratio = down / across;
  const side = Math.min(canvas.clientWidth, 420, 480 / ratio), cell = side / across, pen = penFor(canvas, side * ratio + 26);
  const left = (canvas.clientWidth - side) / 2, at = ([row, column]) => [left + (column + 0.5) * cell, (row + 0.5) * cell];
  drawPicture(pen, left, 0, side);
  if (thought.attention) drawLooks(pen, attentionOf(null), left, 0, side, side * ratio);
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

/** The picture that was given, from its left to its right edge; as it is where pixels show, blended where they are tiny.
 *  Where several came side by side as a strip of squares, `one` says which is drawn. */
function drawPicture(pen, left, top, side, one = null) {
  const { width: across, height: down, channels, pixels } = thought.input;
  const at = (column, row) => (row * across + column) * channels;
  const colour = channels === 3 ? (...place) => pixels.subarray(at(...place), at(...place) + 3) : (...place) => new Array(3).fill(pixels[at(...place)]);
  const from = one === null ? 0 : one * down, wide = one === null ? across : down;
  pen.imageSmoothingEnabled = wide * 3 > side;
  pen.drawImage(image("picture", across, down, colour), from, 0, wide, down, left, top, side, (side * down) / wide);
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
