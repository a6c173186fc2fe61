// --- colours (Okabe-Ito, lighter on a dark page) and canvases --------------------------------------------------------

const HUES = {
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7B4FB5", "#666666"],
  dark: ["#56B4E9", "#E69F00", "#2CC49A", "#E39CC5", "#F0E442", "#FF8A4C", "#B79AEA", "#BBBBBB"],
};
const DASHES = [[], [6, 4], [1.5, 3.5], [9, 3, 2, 3]];
const MARGIN = { left: 56, right: 12, top: 10, bottom: 24 };

function readLook() {
  const page = getComputedStyle(element.querySelector(".curves")), dark = element.closest(".dark") !== null;
  const variable = (name, otherwise) => page.getPropertyValue(name).trim() || otherwise;
  return {
    hues: HUES[dark ? "dark" : "light"],
    text: variable("--body-text-color", dark ? "#f3f4f6" : "#1f2937"),
    line: variable("--border-color-primary", dark ? "#374151" : "#e5e7eb"),
    back: variable("--background-fill-primary", dark ? "#111827" : "#ffffff"),
    accent: variable("--color-accent", "#0072b2"),
    faint: getComputedStyle(parts.where).color,
    font: page.fontFamily,
  };
}

/** A pen for a cleared canvas, in CSS pixels; the canvas is kept, so nothing flickers. */
function penFor(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = window.devicePixelRatio || 1;
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = "round";
  return pen;
}

function write(pen, words, x, y, align, colour) {
  pen.font = `11px ${look.font}`;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
}

function dot(pen, [x, y], colour, size, ring = false) {
  pen.beginPath();
  pen.arc(x, y, size, 0, 7);
  pen.fillStyle = colour;
  pen.fill();
  if (!ring) return;
  pen.strokeStyle = look.back;
  pen.lineWidth = 1.5;
  pen.stroke();
}

// --- one chart -------------------------------------------------------------------------------------------------------

/** Lay out a chart for what is in sight: its lines, its scale, and where places and values come to lie on the canvas. */
function layOut(panel) {
  const { chart, canvas } = panel, box = { ...MARGIN, right: canvas.clientWidth - MARGIN.right, bottom: canvas.clientHeight - MARGIN.bottom };
  const [first, last] = inSight(chart.axis), lines = linesOf(chart), scale = scaleOf(chart, lines, [first, last]);
  const wide = Math.max(1, box.right - box.left), high = box.bottom - box.top;
  Object.assign(panel, {
    box, lines, scale, first, last,
    x: (at) => box.left + ((at - first) / (last - first)) * wide,
    y: (value) => box.bottom - clamp(scale.place(value), -9, 9) * high,
    atX: (x) => first + ((x - box.left) / wide) * (last - first),
  });
}

function drawChart(panel) {
  if (!panel.canvas.clientWidth) return; // in a tab that is not open: drawn when it gets a size
  const pen = penFor(panel.canvas), { box } = panel;
  drawAxes(pen, panel);
  pen.save();
  pen.beginPath();
  pen.rect(box.left - 3, box.top - 4, box.right - box.left + 7, box.bottom - box.top + 8);
  pen.clip();
  for (const line of panel.lines) if (line.shown) drawLine(pen, panel, line);
  pen.restore();
}

function drawAxes(pen, panel) {
  const { chart, box, scale, first, last, x, y } = panel;
  for (const value of scale.at) {
    const level = Math.round(y(value)) + 0.5; // half a pixel down, a thin line is crisp
    stroke(pen, [[box.left, level], [box.right, level]], look.line);
    write(pen, tickText(chart, value), box.left - 6, y(value), "right", look.faint);
  }
  const ground = Math.round(box.bottom) + 0.5;
  stroke(pen, [[box.left, ground], [box.right, ground]], look.faint);
  pen.font = `11px ${look.font}`;
  const places = roundNumbers(first, last, Math.max(2, (box.right - box.left) / 56), 1).at;
  panel.labels = [];
  for (const at of places) {
    const words = axisNumber(at), half = pen.measureText(words).width / 2;
    stroke(pen, [[Math.round(x(at)) + 0.5, ground], [Math.round(x(at)) + 0.5, ground + 4]], look.faint);
    const middle = Math.min(x(at), box.right + MARGIN.right - half);
    write(pen, words, middle, box.bottom + 14, "center", look.faint);
    panel.labels.push([middle - half, middle + half]);
  }
  write(pen, chart.axis, 4, box.bottom + 14, "left", look.faint);
  panel.labels.push([4, 4 + pen.measureText(chart.axis).width]);
}

/** The line, with dots where its points lie far apart; noise is faint, under a strong smoothed line. */
function drawLine(pen, { box, x, y }, line) {
  const along = (values) => line.at.map((at, index) => [x(at), y(values[index])]);
  const points = along(line.value), crowded = line.at.length > 1 && (points.at(-1)[0] - points[0][0]) / (line.at.length - 1) < 12;
  if (line.smooth) {
    pen.globalAlpha = 0.3;
    stroke(pen, points, line.colour, 1);
    pen.globalAlpha = 1;
    stroke(pen, along(line.smooth), line.colour, 2, line.dash);
  } else {
    stroke(pen, points, line.colour, 1.75, line.dash);
    if (!crowded) for (const point of points) if (point[0] > box.left - 5) dot(pen, point, line.colour, 2.5);
  }
}

// --- the crosshair, and what is being selected: on a canvas of their own, over the lines ------------------------------

function drawOver(panel) {
  if (!panel.over.clientWidth) return;
  const pen = penFor(panel.over), { box, chart, x } = panel, at = cross[chart.axis];
  if (drag && chart.axis === "step") {
    const [left, right] = [drag.from, drag.to].sort((a, b) => a - b).map((step) => clamp(x(step), box.left, box.right));
    pen.globalAlpha = 0.18;
    pen.fillStyle = look.accent;
    pen.fillRect(left, box.top, right - left, box.bottom - box.top);
    pen.globalAlpha = 1;
    for (const edge of [left, right]) stroke(pen, [[edge, box.top], [edge, box.bottom]], look.accent);
  }
  if (at !== null && at >= panel.first && at <= panel.last) drawCross(pen, panel, at);
}

function drawCross(pen, { box, lines, labels, x, y, canvas }, at) {
  stroke(pen, [[x(at), box.top - 4], [x(at), box.bottom]], look.faint, 1, [3, 3]);
  for (const line of lines) {
    const index = line.shown ? nearest(line, at) : -1;
    if (index < 0) continue;
    const point = [x(line.at[index]), y(line.value[index])];
    if (point[0] >= box.left - 1 && point[0] <= box.right + 1) dot(pen, point, line.colour, 4, true);
  }
  pen.font = `11px ${look.font}`;
  const words = exact(at), half = pen.measureText(words).width / 2 + 5, middle = clamp(x(at), half, canvas.clientWidth - half);
  pen.fillStyle = look.back;
  for (const [left, right] of labels) { // a label half covered reads as another number
    if (right > middle - half - 3 && left < middle + half + 3) pen.fillRect(left - 1, box.bottom + 6, right - left + 2, 17);
  }
  pen.fillStyle = look.text;
  pen.fillRect(middle - half, box.bottom + 5, 2 * half, 18);
  write(pen, words, middle, box.bottom + 14, "center", look.back);
}
