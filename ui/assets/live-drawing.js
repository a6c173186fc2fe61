// --- colours (Okabe-Ito, and ramps that start at the page's own background) ---------------------------------------------

const HUES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#7B4FB5", "#8C564B"];
const RAMPS = {
  light: { more: ["#f4f6f8", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"], sign: ["#0072B2", "#f4f6f8", "#D55E00"] },
  dark: { more: ["#20222f", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"], sign: ["#56B4E9", "#20222f", "#E69F00"] },
};
const WARM = ["#D55E00", "#E69F00", "#F0E442"];

function readLook() {
  const page = getComputedStyle(element.querySelector(".live")), panel = getComputedStyle(parts["chart-panel"]);
  const dark = element.closest(".dark") !== null;
  const variable = (name, otherwise) => page.getPropertyValue(name).trim() || otherwise;
  return {
    text: variable("--body-text-color", dark ? "#f3f4f6" : "#1f2937"),
    faint: getComputedStyle(parts.note).color,
    line: variable("--border-color-primary", dark ? "#374151" : "#e5e7eb"),
    back: panel.backgroundColor,
    font: page.fontFamily,
    energy: dark ? "#E69F00" : "#D55E00",
    certainty: dark ? "#56B4E9" : "#0072B2",
    right: "#009E73",
    more: ramp(RAMPS[dark ? "dark" : "light"].more),
    sign: ramp(RAMPS[dark ? "dark" : "light"].sign),
    warm: ramp(WARM),
  };
}

/** 256 colours from a few, as [red, green, blue]. */
function ramp(stops) {
  const colours = stops.map(numbers);
  return Array.from({ length: 256 }, (_, value) => {
    const at = (value / 255) * (colours.length - 1), left = Math.min(Math.floor(at), colours.length - 2);
    return colours[left].map((x, channel) => Math.round(x + (colours[left + 1][channel] - x) * (at - left)));
  });
}

/** The colour of a class, as [red, green, blue]: beyond the named ones, round the colour wheel by the golden angle. */
function hue(index) {
  if (HUES[index]) return numbers(HUES[index]);
  const channel = (offset) => Math.round(140 + 90 * Math.cos(((index * 137.5 - offset) * Math.PI) / 180));
  return [channel(0), channel(120), channel(240)];
}

const numbers = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const css = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;
const band = (colours) => `linear-gradient(to right, ${[0, 64, 128, 191, 255].map((at) => css(colours[at])).join(", ")})`;

// --- canvases --------------------------------------------------------------------------------------------------------

/** A pen for a cleared canvas as wide as its panel, in CSS pixels; the canvas is kept, so nothing flickers. */
function penFor(canvas, height) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.imageSmoothingEnabled = false;
  return pen;
}

function write(pen, words, x, y, { size = 12, align = "left", colour = look.text, weight = 400, room = Infinity, halo = false } = {}) {
  pen.font = `${weight} ${size}px ${look.font}`;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  if (room < Infinity && pen.measureText(words).width > room) {
    while (words && pen.measureText(`${words}\u2026`).width > room) words = words.slice(0, -1);
    words += "\u2026";
  }
  if (halo) {
    pen.strokeStyle = look.back;
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.globalAlpha = 0.75;
    pen.strokeText(words, x, y);
    pen.globalAlpha = 1;
  }
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
}

/** An image of one pixel a cell, made once a record; `colour(column, row)` gives [red, green, blue, alpha 0..1]. */
function image(name, columns, rows, colour) {
  if (!images.has(name)) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const pen = canvas.getContext("2d"), pixels = pen.createImageData(columns, rows);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += 4) {
        const [red, green, blue, alpha = 1] = colour(column, row);
        pixels.data.set([red, green, blue, alpha * 255], at);
      }
    }
    pen.putImageData(pixels, 0, 0);
    images.set(name, canvas);
  }
  return images.get(name);
}

/** A heat map with ticks to the right: as far as the thought has been played, with the tick now drawn framed. */
function drawByTick(pen, picture, box) {
  const step = box.width / thought.ticks, until = clock ? tick : thought.ticks;
  pen.drawImage(picture, 0, 0, until, picture.height, box.left, box.top, step * until, box.height);
  pen.strokeStyle = look.line;
  pen.lineWidth = 1;
  pen.strokeRect(box.left, box.top, box.width, box.height);
  pen.strokeStyle = look.text;
  pen.lineWidth = 1.5;
  pen.strokeRect(box.left + step * (tick - 1), box.top - 1, Math.max(step, 2), box.height + 2);
}

function drawCell(pen, left, top, width, height, colour, alpha) {
  pen.fillStyle = css(colour, alpha);
  pen.fillRect(left, top, width, height);
  pen.strokeStyle = look.line;
  pen.lineWidth = 1;
  pen.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
}

/** Where cells in reading order go: rows of about equal length, broken between groups where a group fits in a row. */
function layOut(size, group, cell, width) {
  const gap = group > 1 ? 12 : 0, unit = group * cell + gap <= width + gap ? group : 1;
  const fitting = Math.max(1, Math.floor((width + gap) / (unit * cell + (unit > 1 ? gap : 0)))), units = Math.ceil(size / unit);
  const each = Math.ceil(units / Math.ceil(units / fitting)) * unit;
  const places = Array.from({ length: size }, (_, index) => {
    const column = index % each;
    return { x: column * cell + (unit > 1 ? Math.floor(column / unit) * gap : 0), row: Math.floor(index / each) };
  });
  return { places, rows: Math.ceil(size / each) };
}
