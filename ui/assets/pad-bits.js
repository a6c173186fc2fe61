// --- bits: a row of 0 and 1, eight a line ------------------------------------------------------------------------------

function bitsPad(root, spec, tell) {
  const most = whole(spec.length, 1, 64), fixed = spec.fixed === true, across = 8;
  let bits = "";
  let pressed = null; // the cell that a pointer went down on, until it comes up
  let dragged = null; // the bit that it paints since it went over others: then the click at its end is none

  const cells = Array.from({ length: most }, (_, at) =>
    button("", (event) => (dragged && event.detail) || set(at, other(at)), { class: "pad-bit", tabindex: at ? -1 : 0, focus: () => stand(at) }));
  const grid = make("div", { class: "pad-bits", role: "group", "aria-label": "Bits, in the order of reading" }, ...cells);
  const said = note();
  const shorter = button("\u2212", () => change(bits.slice(0, -1)), { "aria-label": "One bit fewer", title: "One bit fewer" });
  const longer = button("+", () => change(`${bits}0`), { "aria-label": "One bit more", title: "One bit more" });
  root.append(grid, bar(button("Random", scatter), button("Clear", () => change("")), ...(fixed ? [] : [shorter, longer]), said));

  const other = (at) => (bits[at] === "1" ? "0" : "1");

  /** Set a bit; a row that does not reach that far is filled up with 0. */
  function set(at, bit) {
    const row = [...bits.padEnd(at, "0")];
    row[at] = bit;
    change(row.join(""));
  }

  function scatter() {
    change(Array.from({ length: fixed ? most : bits.length || most }, () => among(2)).join(""));
  }

  function change(row) {
    bits = fixed ? row.padEnd(most, "0") : row;
    draw();
    tell(bits);
  }

  function draw(strange = "", over = 0) {
    cells.forEach((cell, at) => {
      cell.textContent = bits[at] ?? "";
      cell.setAttribute("aria-pressed", bits[at] === "1");
      cell.setAttribute("aria-label", `Bit ${at + 1}: ${bits[at] ?? "not there"}`);
    });
    shorter.disabled = !bits;
    longer.disabled = bits.length >= most;
    said.textContent = strange ? `Bits are 0 and 1 only, not ${strange}`
      : over ? `${over} more than the ${most} that fit`
      : bits ? `${bits.length} of ${fixed ? "" : "at most "}${counted(most, "bit")}`
      : `Click, drag or type: ${fixed ? "" : "at most "}${counted(most, "bit")}`;
  }

  /** Only one cell is reached by Tab; arrows go on from there. */
  function stand(at) {
    cells.forEach((cell, index) => (cell.tabIndex = index === at ? 0 : -1));
  }

  grid.addEventListener("keydown", (event) => {
    const at = cells.indexOf(event.target), way = arrow(event);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "0" || event.key === "1") set(at, event.key);
    else if (!way) return;
    event.preventDefault();
    cells[clamp(at + (way ? way[0] * across + way[1] : 1), 0, most - 1)].focus();
  });
  grid.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 ? cells.indexOf(event.target) : null;
    dragged = null;
  });
  grid.addEventListener("pointermove", (event) => {
    if (pressed === null || pressed < 0 || !event.buttons) return;
    const at = cells.indexOf(document.elementFromPoint(event.clientX, event.clientY));
    if (at < 0 || (at === pressed && !dragged)) return;
    if (!dragged) {
      dragged = other(pressed);
      set(pressed, dragged);
    }
    if (bits[at] !== dragged) set(at, dragged);
  });
  for (const end of ["pointercancel", "pointerleave"]) grid.addEventListener(end, () => (pressed = null));

  draw();
  return {
    show(made) {
      const row = made.replace(/[\s,]/g, ""), strange = row.match(/[^01]/);
      bits = row.replace(/[^01].*/, "").slice(0, most);
      draw(strange?.[0], Math.max(0, row.length - most));
    },
  };
}
