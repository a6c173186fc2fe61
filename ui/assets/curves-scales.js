// --- numbers as text -------------------------------------------------------------------------------------------------

const minus = (words) => words.replaceAll("-", "\u2212");

/** 1k, 2.5M, 0.05, 1e-4: as short as it can be. */
function short(x, digits = 4) {
  const size = Math.abs(x), trimmed = (y) => String(Number(y.toPrecision(digits)));
  if (size === 0) return "0";
  if (size >= 1e12 || size < 1e-3) return minus(Number(x.toPrecision(Math.min(digits, 3))).toExponential().replace("e+", "e"));
  for (const [unit, word] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (size >= unit) return minus(trimmed(x / unit) + word);
  return minus(trimmed(x));
}

const percent = (x) => minus(`${Number((x * 100).toFixed(Math.abs(x) < 0.1 || (x > 0.99 && x < 1) ? 2 : 1))}\u00a0%`);
const axisNumber = (x) => (Number.isInteger(x) && Math.abs(x) < 1e4 ? minus(x.toLocaleString("en")) : short(x, 6));
const exact = (x) => minus(Number(x.toPrecision(9)).toLocaleString("en"));

function valueText(chart, x) {
  if (!isNumber(x)) return "\u2013";
  return chart.percent ? percent(x) : `${short(x)}${chart.unit ? `\u00a0${chart.unit}` : ""}`;
}
const tickText = (chart, x) => (chart.percent ? minus(`${Number((x * 100).toPrecision(4))}\u00a0%`) : short(x));

// --- scales ----------------------------------------------------------------------------------------------------------

/** Round numbers from `first` to `last`, about `count` of them: 1, 2 or 5 times a power of ten apart. */
function roundNumbers(first, last, count, least = 0) {
  const rough = Math.max((last - first) / count, least, 1e-30), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough * 0.999) ?? rough;
  const start = Math.ceil(first / step - 1e-9), size = clamp(Math.floor(last / step + 1e-9) - start + 1, 0, 50);
  return { step, at: Array.from({ length: size }, (_, index) => (start + index) * step) };
}

/** Least and largest value of the lines that are shown, within sight; null if there is none. */
function extent(lines, [first, last]) {
  let [least, most] = [Infinity, -Infinity];
  for (const line of lines) {
    if (!line.shown) continue;
    const inside = line.at.flatMap((at, index) => (at >= first && at <= last ? [index] : []));
    const seen = inside.length ? inside : [nearest(line, (first + last) / 2)].filter((index) => index >= 0);
    for (const index of seen) [least, most] = [Math.min(least, line.value[index]), Math.max(most, line.value[index])];
  }
  return least <= most ? [least, most] : null;
}

/** How a chart's values become heights: `place(value)` is 0 at the bottom and 1 at the top, `at` are the labelled values. */
function scaleOf(chart, lines, range) {
  const found = extent(lines, range) ?? [0, 1];
  if (chart.log && found[0] > 0) return logScale(...found);
  return linearScale(chart, ...found);
}

function linearScale(chart, least, most) {
  if (chart.percent && least >= 0 && most <= 1 && !(view && chart.axis === "step")) [least, most] = [0, 1];
  if (chart.zero) [least, most] = [Math.min(0, least), Math.max(0, most)];
  const close = Math.max(Math.abs(least), Math.abs(most), chart.percent ? 0.01 : 1e-12) * 0.02; // nearly equal must not look far apart
  if (most - least < close) [least, most] = [least - close / 2, most + close / 2];
  const { step } = roundNumbers(least, most, 5);
  let [bottom, top] = [Math.floor(least / step + 1e-9) * step, Math.ceil(most / step - 1e-9) * step];
  if (chart.percent && least >= 0 && most <= 1) [bottom, top] = [Math.max(0, bottom), Math.min(1, top)];
  return { place: (value) => (value - bottom) / (top - bottom), at: roundNumbers(bottom, top, 5).at, least: bottom, most: top };
}

function logScale(least, most) {
  const middle = (Math.log10(least) + Math.log10(most)) / 2, half = Math.max((Math.log10(most) - Math.log10(least)) * 0.53, 0.02);
  const [bottom, top] = [10 ** (middle - half), 10 ** (middle + half)];
  return { place: (value) => (Math.log10(value) - middle + half) / (2 * half), at: logNumbers(bottom, top), least: bottom, most: top };
}

/** Powers of ten, with as many numbers between them as it takes to label at least three; round numbers in a narrow range. */
function logNumbers(bottom, top) {
  const first = Math.floor(Math.log10(bottom)), last = Math.ceil(Math.log10(top)), stride = Math.max(1, Math.ceil((last - first) / 6));
  for (const digits of [[1], [1, 3], [1, 2, 5]]) {
    const at = [];
    for (let power = first; power <= last; power += stride) at.push(...digits.map((digit) => digit * 10 ** power));
    const inside = at.filter((value) => value >= bottom && value <= top);
    if (inside.length >= 3) return inside;
  }
  return roundNumbers(bottom, top, 4).at;
}
