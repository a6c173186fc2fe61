// --- digits: a few of them, and a chain of sums over their places ----------------------------------------------------------

function digitsPad(root, spec, tell) {
  const most = whole(spec.most, 1, 16), operations = whole(spec.operations, 0, 16), SIGNS = { "+": "+", "-": "\u2212" };

  const boxes = Array.from({ length: most }, (_, at) => make("input", {
    class: "pad-digit", inputmode: "numeric", autocomplete: "off", maxlength: 1, "aria-label": `Digit ${at + 1}`, input: () => typed(at),
    focus: () => boxes[at].select(), keydown: (event) => walk(event, at),
  }));
  const places = Array.from({ length: operations + 1 }, (_, at) => make("select", { "aria-label": at ? `Place ${at + 1} of the question` : "First place of the question", change: write }));
  const signs = places.slice(1).map((_, at) => make("select", { "aria-label": `Plus or minus, number ${at + 1}`, change: write }));
  const said = note();
  root.append(
    make("p", { class: "pad-title" }, `Up to ${counted(most, "digit")}, shown one after the other`),
    make("div", { class: "pad-digits", role: "group", "aria-label": "Digits" }, ...boxes),
    make("p", { class: "pad-title" }, "The question: which places to add or subtract"),
    make("div", { class: "pad-question", role: "group", "aria-label": "Question" }, places[0], ...signs.flatMap((sign, at) => [sign, places[at + 1]])),
    bar(button("Random", scatter), button("Clear", () => change([], [])), said),
  );
  signs.forEach((sign, at) => { // a question has one operation at least
    if (at) sign.append(new Option("\u2026", ""));
    sign.append(...Object.entries(SIGNS).map(([value, words]) => new Option(words, value)));
  });

  const digits = () => boxes.map((box) => box.value).filter(Boolean);

  /** The question as it stands: place, sign, place, ... up to the first that is missing. */
  function question() {
    const parts = [places[0].value];
    for (let at = 0; at < operations && signs[at].value; at++) parts.push(signs[at].value, places[at + 1].value);
    return parts[0] ? parts : [];
  }

  function typed(at) {
    boxes[at].value = boxes[at].value.replace(/\D/g, "").slice(-1);
    if (boxes[at].value) boxes[at + 1]?.focus();
    write();
  }

  function walk(event, at) {
    const way = { ArrowLeft: -1, ArrowRight: 1, Backspace: boxes[at].value ? 0 : -1 }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    boxes[at + way]?.focus();
  }

  function scatter() {
    const length = operations && 1 + among(operations), some = () => String(1 + among(most));
    change(boxes.map(() => String(among(10))), [some(), ...Array.from({ length }, () => [among(2) ? "+" : "-", some()]).flat()]);
  }

  function change(row, parts) {
    fill(row, parts);
    write();
  }

  function fill(row, parts) {
    boxes.forEach((box, at) => (box.value = row[at] ?? ""));
    draw(parts);
  }

  function write() {
    draw(question());
    const row = digits(), parts = question();
    tell(row.length ? [...row, ":", ...parts].join(" ") : "");
  }

  /** Offer the places that there are, and one operation more than are chosen. */
  function draw(parts) {
    const row = digits(), here = (place) => Number(place) >= 1 && Number(place) <= row.length;
    places.forEach((place, at) => {
      const options = row.map((digit, index) => new Option(`place ${index + 1}`, index + 1));
      place.replaceChildren(...(row.length ? options : [new Option("no digit yet", "")]));
      place.value = here(parts[2 * at]) ? parts[2 * at] : row.length ? "1" : "";
      place.disabled = !row.length;
    });
    signs.forEach((sign, at) => {
      const before = at === 0 ? row.length > 0 : Boolean(signs[at - 1].value), chosen = parts[2 * at + 1] ?? "";
      sign.value = !before ? "" : Object.hasOwn(SIGNS, chosen) ? chosen : at ? "" : "+";
      sign.hidden = !before;
      places[at + 1].hidden = !sign.value;
    });
    const asked = question().map((part, at) => (at % 2 ? SIGNS[part] : row[Number(part) - 1]));
    said.textContent = row.length ? `It asks for ${asked.join(" ")}.` : "Type the digits first.";
  }

  fill([], []);
  return {
    show(made) {
      const [row, ...rest] = made.split(":");
      fill((row.match(/\d/g) ?? []).slice(0, most), (rest.join(" ").match(/[+-]|\d+/g) ?? []).slice(0, 2 * operations + 1));
    },
  };
}
