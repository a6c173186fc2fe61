// --- maze: walls and paths, one red start, one green goal; given and taken as a picture of one pixel a place ---------------

function mazePad(root, spec, tell) {
  const LEAST = 5, MOST = 199, SHARP = 720; // places a side; pixels of the canvas
  const COLOURS = { wall: [0, 0, 0], path: [255, 255, 255], start: [255, 0, 0], goal: [0, 255, 0] };
  const TOOLS = { start: "Start", goal: "Goal", wall: "Wall", path: "Path" };
  let maze; // { down, across, open: whether each place is a path, start, goal }, places as numbers row by row
  let tool = "goal";
  let held = null; // what the pointer that is down now draws or drags
  let last = null; // the place where it was, or where the arrow keys are
  let loading = 0;

  const canvas = make("canvas", {
    class: "pad-maze", width: SHARP, height: SHARP, tabindex: 0, role: "application",
    "aria-label": "Maze: arrow keys move the cursor, Space puts down what is picked below",
  });
  const picks = Object.entries(TOOLS).map(([name, words]) => button(words, () => pick(name), { class: `pad-tool pad-${name}` }));
  const said = note(), place = make("p", { class: "pad-unseen", role: "status" });
  root.append(
    canvas,
    make("div", { class: "pad-tools", role: "group", "aria-label": "What a click or Space puts down" }, ...picks),
    bar(button("Clear", clear, { title: "Take away all walls inside" }), said),
    place,
  );

  function pick(name) {
    tool = name;
    picks.forEach((one, at) => one.setAttribute("aria-pressed", Object.keys(TOOLS)[at] === tool));
  }

  // --- changing it

  /** Put something down; gives whether that changed anything. Start and goal go to the nearest path. */
  function put(what, at) {
    if (what === "start" || what === "goal") {
      const there = nearestPath(at, maze[what === "start" ? "goal" : "start"]);
      if (there === null || there === maze[what]) return false;
      maze[what] = there;
    } else {
      if (at === maze.start || at === maze.goal || Boolean(maze.open[at]) === (what === "path")) return false;
      maze.open[at] = what === "path" ? 1 : 0;
    }
    return true;
  }

  function nearestPath(at, taken) {
    const { across, open } = maze, far = (one) => (Math.floor(one / across) - Math.floor(at / across)) ** 2 + ((one % across) - (at % across)) ** 2;
    let best = null;
    for (let one = 0; one < open.length; one++) if (open[one] && one !== taken && (best === null || far(one) < far(best))) best = one;
    return best;
  }

  function clear() {
    const { down, across } = maze, outer = (at, size) => at === 0 || at === size - 1;
    maze.open = maze.open.map((was, at) => was || !(outer(Math.floor(at / across), down) || outer(at % across, across)));
    draw();
    write();
  }

  /** How many steps lead from start to goal; null if no way does. */
  function steps() {
    const { across, open, start, goal } = maze, far = new Map([[start, 0]]), waiting = [start];
    for (const at of waiting) {
      if (at === goal) return far.get(at);
      for (const [row, column] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
        const there = at + row * across + column, inside = column ? Math.floor(there / across) === Math.floor(at / across) : there in open;
        if (!inside || !open[there] || far.has(there)) continue;
        far.set(there, far.get(at) + 1);
        waiting.push(there);
      }
    }
    return null;
  }

  // --- drawing

  const kindOf = (at) => (at === maze.start ? "start" : at === maze.goal ? "goal" : maze.open[at] ? "path" : "wall");

  function draw() {
    const { down, across, start, goal } = maze, cell = Math.max(2, Math.floor(SHARP / Math.max(down, across)));
    if (canvas.width !== cell * across || canvas.height !== cell * down) [canvas.width, canvas.height] = [cell * across, cell * down];
    const pen = canvas.getContext("2d"), corner = (at) => [(at % across) * cell, Math.floor(at / across) * cell];
    for (let at = 0; at < down * across; at++) {
      pen.fillStyle = `rgb(${COLOURS[kindOf(at)].join(" ")})`;
      pen.fillRect(...corner(at), cell, cell);
    }
    letter(pen, "S", corner(start), cell, "#fff");
    letter(pen, "G", corner(goal), cell, "#000");
    if (last !== null && canvas.matches(":focus-visible")) {
      pen.strokeStyle = "#e69f00";
      pen.lineWidth = Math.max(2, cell / 8);
      pen.strokeRect(...corner(last).map((edge) => edge + pen.lineWidth / 2), cell - pen.lineWidth, cell - pen.lineWidth);
    }
    const far = steps();
    said.textContent = far === null ? "No way leads from start to goal: open a wall."
      : `The shortest way takes ${counted(far, "step")}. Pick above what a click puts down, or drag.`;
  }

  /** A letter beside the colour, for whoever does not tell red from green. */
  function letter(pen, name, [left, top], cell, colour) {
    pen.fillStyle = colour;
    pen.font = `700 ${0.7 * cell}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(name, left + cell / 2, top + 0.54 * cell);
  }

  // --- by hand

  function at(event) {
    const [top, left] = within(canvas, event), { down, across } = maze;
    return clamp(Math.floor(top * down), 0, down - 1) * across + clamp(Math.floor(left * across), 0, across - 1);
  }

  /** Put down what is held on the way from the last place to this one: fast pointers skip places. */
  function go(to) {
    const { across } = maze, from = last ?? to, ends = [from, to].map((one) => [Math.floor(one / across), one % across]);
    const count = Math.max(Math.abs(ends[1][0] - ends[0][0]), Math.abs(ends[1][1] - ends[0][1]));
    let changed = false;
    for (let part = held === "wall" || held === "path" ? 0 : count; part <= count; part++) {
      const [row, column] = [0, 1].map((axis) => Math.round(ends[0][axis] + (count ? part / count : 0) * (ends[1][axis] - ends[0][axis])));
      changed = put(held, row * across + column) || changed;
    }
    last = to;
    if (changed) draw();
    return changed;
  }

  let changed = false; // whether what is held now has changed anything
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const here = at(event), kind = kindOf(here);
    held = kind === "start" || kind === "goal" ? kind : tool;
    last = null;
    changed = go(here);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held) changed = go(at(event)) || changed;
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      held = null;
      if (changed) write();
      changed = false;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const way = arrow(event);
    if (!(way || event.key === " " || event.key === "Enter") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { down, across } = maze, here = last ?? maze.start;
    const [row, column] = [Math.floor(here / across), here % across].map((one, axis) => clamp(one + (way ? way[axis] : 0), 0, (axis ? across : down) - 1));
    last = row * across + column;
    const done = !way && put(tool, last);
    draw();
    place.textContent = `Row ${row + 1}, column ${column + 1}: ${kindOf(last)}`;
    if (done) write();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);

  // --- as a picture

  function write() {
    const { down, across, open } = maze, paper = make("canvas", { width: across, height: down }), pen = paper.getContext("2d");
    pen.putImageData(new ImageData(new Uint8ClampedArray([...open.keys()].flatMap((at) => [...COLOURS[kindOf(at)], 255])), across, down), 0, 0);
    tell(paper.toDataURL("image/png"));
  }

  /** The maze in a picture of one pixel a place; null if it is none. */
  function read(picture) {
    const across = picture.naturalWidth, down = picture.naturalHeight;
    if (Math.min(across, down) < LEAST || Math.max(across, down) > MOST) return null;
    const paper = make("canvas", { width: across, height: down }), pen = paper.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const { data } = pen.getImageData(0, 0, across, down), names = Object.keys(COLOURS);
    const kinds = Array.from({ length: across * down }, (_, at) => {
      const off = names.map((name) => COLOURS[name].reduce((sum, value, channel) => sum + (value - data[4 * at + channel]) ** 2, 0));
      return names[off.indexOf(Math.min(...off))];
    });
    const [start, goal] = [kinds.indexOf("start"), kinds.indexOf("goal")];
    return start < 0 || goal < 0 ? null : { down, across, open: kinds.map((kind) => (kind === "wall" ? 0 : 1)), start, goal };
  }

  /** Walls around, nothing inside. */
  function room() {
    const side = whole(spec.side, LEAST, MOST), inner = (at) => at > 0 && at < side - 1;
    const open = Array.from({ length: side * side }, (_, at) => (inner(Math.floor(at / side)) && inner(at % side) ? 1 : 0));
    return { down: side, across: side, open, start: side + 1, goal: side * side - side - 2 };
  }

  pick(tool);
  maze = room();
  draw();
  return {
    show(made) {
      const mine = ++loading, picture = new Image();
      if (!/^data:image\/png;base64,/.test(made)) return;
      picture.addEventListener("load", () => {
        const found = mine === loading && read(picture);
        if (!found) return;
        [maze, last, held] = [found, null, null];
        draw();
      });
      picture.src = made;
    },
  };
}
