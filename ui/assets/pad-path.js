// --- path: a dot that moves evenly and turns at the walls, seen in some frames --------------------------------------------

function pathPad(root, spec, tell) {
  const side = whole(spec.side, 2, 64), frames = whole(spec.frames, 2, 16), fastest = whole(spec.steps, 1, 8);
  const furthest = whole(spec.ahead, 0, 99), every = Array.from({ length: frames }, (_, frame) => frame);
  const speeds = Array.from({ length: 2 * fastest + 1 }, (_, at) => at - fastest);
  let cells = []; // [row, column] a frame, null where it is not known; empty while there is no path
  let motion = null; // { start, speed }, both [row, column], where the cells follow one
  let seen = every.map(() => true);
  let ahead = Math.ceil(furthest / 2);
  let drawn = null; // the places of the stroke that is being drawn, [row, column]

  const grid = make("path", { class: "pad-lines", d: lines() }), way = make("polyline", { class: "pad-way" });
  const trail = make("polyline", { class: "pad-trail" }), dots = make("g");
  const field = make("svg", {
    class: "pad-field", viewBox: `0 0 ${side} ${side}`, tabindex: 0, role: "application",
    "aria-label": "Field: draw a stroke. Arrow keys move the path; with Shift they change its speed",
  }, grid, way, trail, dots);
  const toggles = every.map((frame) => button(String(frame + 1), () => toggle([frame]), { class: "pad-toggle" }));
  const slider = make("input", { type: "range", min: 0, max: furthest, step: 1, input: () => ask(Number(slider.value)) });
  const asked = make("output"), said = note();
  root.append(
    field,
    bar(make("span", {}, "Frames that the machine sees"), make("div", { class: "pad-toggles", role: "group", "aria-label": "Frames that the machine sees" }, ...toggles)),
    make("label", { class: "pad-bar" }, "Frames ahead that it is asked for", slider, asked),
    bar(button("Random", scatter), button("Clear", clear), said),
  );

  // a row of cells along one axis, by where it starts and how fast it goes; walls are where it turns
  function along(start, speed) {
    const period = 2 * (side - 1);
    return every.map((frame) => {
      const place = (((start + speed * frame) % period) + period) % period;
      return Math.min(place, period - place);
    });
  }

  /** The motion nearest to places: [row, column] a frame, null where anything goes. With how far off it is, squared. */
  function nearest(places) {
    const axes = [0, 1].map((axis) => speeds.map((speed) => {
      const fits = Array.from({ length: side }, (_, start) => {
        const way = along(start, speed);
        return { start, speed, off: places.reduce((sum, place, frame) => sum + (place ? (place[axis] - way[frame]) ** 2 : 0), 0) };
      });
      return fits.reduce((best, one) => (one.off < best.off ? one : best));
    }));
    let best = null;
    for (const row of axes[0]) {
      for (const column of axes[1]) {
        const off = row.off + column.off;
        if ((row.speed || column.speed) && (!best || off < best.off)) {
          best = { start: [row.start, column.start], speed: [row.speed, column.speed], off };
        }
      }
    }
    return best;
  }

  function move(start, speed) {
    motion = { start: start.map((at) => clamp(at, 0, side - 1)), speed };
    const [rows, columns] = [0, 1].map((axis) => along(motion.start[axis], speed[axis]));
    cells = every.map((frame) => [rows[frame], columns[frame]]);
    write();
  }

  function scatter() {
    let speed = [0, 0];
    while (!speed.some(Boolean)) speed = speed.map(() => speeds[among(speeds.length)]);
    seen = every.map(() => true);
    ahead = among(furthest + 1);
    move([among(side), among(side)], speed);
  }

  function clear() {
    [cells, motion, seen] = [[], null, every.map(() => true)];
    draw();
    tell("");
  }

  function toggle(those) {
    const on = !those.some((frame) => seen[frame]);
    for (const frame of those) seen[frame] = on && Boolean(cells[frame]);
    write();
  }

  function ask(k) {
    ahead = k;
    write();
  }

  function write() {
    draw();
    if (cells.length) tell([...every.map((frame) => (seen[frame] ? cells[frame].join(",") : "-")), `+${ahead}`].join(" "));
  }

  // --- drawing

  function lines() {
    return Array.from({ length: side - 1 }, (_, at) => `M${at + 1} 0V${side}M0 ${at + 1}H${side}`).join("");
  }

  const points = (places) => places.filter(Boolean).map(([row, column]) => `${column + 0.5},${row + 0.5}`).join(" ");

  function draw() {
    way.setAttribute("points", points(cells));
    trail.setAttribute("points", drawn ? points(drawn) : "");
    dots.replaceChildren(...[...sharing()].map(([at, those]) => {
      const [row, column] = at.split(",").map(Number), off = those.every((frame) => !seen[frame]);
      const label = make("text", { x: column + 0.5, y: row + 0.5, class: those.length > 1 ? "pad-many" : "" }, those.map((frame) => frame + 1).join("\u00b7"));
      return make("g", { class: off ? "pad-dot pad-off" : "pad-dot", "data-frames": those.join(",") },
        make("circle", { cx: column + 0.5, cy: row + 0.5, r: Math.min(0.48, side / 36) }), label);
    }));
    toggles.forEach((one, frame) => {
      one.disabled = !cells[frame];
      one.setAttribute("aria-pressed", Boolean(cells[frame]) && seen[frame]);
    });
    slider.value = ahead;
    asked.textContent = String(ahead);
    said.textContent = describe();
  }

  /** Cell as text -> the frames in which the dot is there: a dot that turned may be where it was before. */
  function sharing() {
    const there = new Map();
    cells.forEach((cell, frame) => cell && there.set(cell.join(), [...(there.get(cell.join()) ?? []), frame]));
    return there;
  }

  function describe() {
    if (!cells.length) return "Draw a stroke: it becomes the nearest even motion.";
    if (!motion) return "No even motion goes through these cells.";
    const parts = [["down", "up"], ["right", "left"]].flatMap((names, axis) => {
      const speed = motion.speed[axis], first = cells[1][axis] - cells[0][axis] || speed; // at a wall it turns at once
      return speed ? [`${Math.abs(speed)} ${names[first < 0 ? 1 : 0]}`] : [];
    });
    return `From row ${motion.start[0]}, column ${motion.start[1]}: ${parts.join(" and ")} a frame.`;
  }

  // --- drawing by hand

  const place = (event) => within(field, event).map((at) => clamp(at * side - 0.5, 0, side - 1));
  const apart = ([row, column], other) => Math.hypot(row - other[0], column - other[1]);

  /** As many places as there are frames, evenly along a stroke. */
  function spread(stroke) {
    const reached = [0];
    for (let at = 1; at < stroke.length; at++) reached.push(reached[at - 1] + apart(stroke[at], stroke[at - 1]));
    return every.map((frame) => {
      const goal = (frame / (frames - 1)) * reached.at(-1), after = Math.max(1, reached.findIndex((far) => far >= goal));
      const part = (goal - reached[after - 1]) / (reached[after] - reached[after - 1] || 1);
      return [0, 1].map((axis) => stroke[after - 1][axis] + part * (stroke[after][axis] - stroke[after - 1][axis]));
    });
  }

  let pressed = null; // the frames of the dot that a pointer went down on
  field.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    field.setPointerCapture(event.pointerId);
    pressed = event.target.closest("[data-frames]")?.dataset.frames.split(",").map(Number) ?? null;
    drawn = [place(event)];
  });
  field.addEventListener("pointermove", (event) => {
    if (!drawn) return;
    drawn.push(place(event));
    draw();
  });
  field.addEventListener("pointerup", () => {
    const stroke = drawn;
    drawn = null;
    if (!stroke) return;
    if (stroke.some((at) => apart(at, stroke[0]) > 0.7)) {
      const { start, speed } = nearest(spread(stroke));
      move(start, speed);
    } else if (pressed) toggle(pressed);
    else if (motion) move(stroke[0].map(Math.round), motion.speed);
    else draw();
  });
  field.addEventListener("pointercancel", () => {
    drawn = null;
    draw();
  });
  field.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { start, speed } = motion ?? { start: [Math.floor(side / 2), Math.floor(side / 2)], speed: [0, 1] };
    const faster = speed.map((one, axis) => clamp(one + step[axis], -fastest, fastest));
    if (!motion) move(start, speed);
    else if (!event.shiftKey) move(start.map((at, axis) => at + step[axis]), speed);
    else if (faster.some(Boolean)) move(start, faster);
    else move(start, step);
  });

  draw();
  return {
    show(made) {
      const words = made.trim().split(/\s+/).slice(0, frames + 1), question = words.at(-1).match(/^\+(\d{1,2})$/);
      const told = every.map((frame) => words[frame]?.match(/^(\d{1,2}),(\d{1,2})$/)?.slice(1).map(Number) ?? null);
      const typed = told.map((cell) => (cell && Math.max(...cell) < side ? cell : null));
      if (question) ahead = Number(question[1]);
      const fit = typed.filter(Boolean).length > 1 ? nearest(typed) : null;
      [cells, motion, seen] = [typed.some(Boolean) ? typed : [], null, typed.map(Boolean)];
      if (fit && !fit.off) { // what is not seen is known all the same
        motion = fit;
        const [rows, columns] = [0, 1].map((axis) => along(fit.start[axis], fit.speed[axis]));
        cells = every.map((frame) => [rows[frame], columns[frame]]);
      }
      draw();
    },
  };
}
