import assert from "node:assert/strict";
import { test } from "node:test";
import { buildRamp, formatColour, formatGradient, getClassColour, parseColour } from "../../ui/static/common/colour.js";
import { findParts, hasModifier, setText } from "../../ui/static/common/dom.js";
import {
  formatAdaptivePercent,
  formatAxisNumber,
  formatAxisPercent,
  formatCompact,
  formatCount,
  formatDecimal,
  formatDuration,
  formatExact,
  formatFixed,
  formatMean,
  formatPercent,
  formatProbability,
  formatSignificant,
  pluralize,
} from "../../ui/static/common/format.js";
import { isLeavingMenu } from "../../ui/static/common/menus.js";
import { groupFramesByCell, reflectPosition } from "../../ui/static/common/motion.js";
import { createMount } from "../../ui/static/common/mount.js";
import { findRoundStep, findTickStep, listRoundNumbers } from "../../ui/static/common/scale.js";
import { CheckpointSelection } from "../../ui/static/common/selection.js";
import {
  clamp,
  decodeBytes,
  isNumber,
  readArray,
  readInteger,
  readObject,
  readSeries,
  readShare,
  readTable,
  readText,
} from "../../ui/static/common/validate.js";

const INVALID_VALUES = [
  undefined,
  null,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  true,
  "5",
  "",
  [],
  [1],
  {},
  () => 1,
  Symbol("x"),
  5n,
];

test("only a Tab in the text box of a menu leaves it", () => {
  const target = { getAttribute: () => "combobox" };
  assert.ok(isLeavingMenu({ key: "Tab", target }));
  assert.ok(!isLeavingMenu({ key: "ArrowDown", target }));
  assert.ok(!isLeavingMenu({ key: "Tab", target: { getAttribute: () => null } }));
  assert.ok(!isLeavingMenu({ key: "Tab", target: {} }), "a document has no attributes");
});

test("a late result of a checkpoint that is no longer selected is ignored", () => {
  const selection = new CheckpointSelection();
  assert.ok(selection.accepts({ checkpoint: "digits" }), "nothing is selected yet");
  assert.ok(selection.accepts({ selected: "parity-16" }));
  assert.ok(!selection.accepts({ checkpoint: "digits", problem: "No." }));
  assert.ok(selection.accepts({ checkpoint: "parity-16" }));
  assert.ok(selection.accepts(null) && selection.accepts({ problem: "No." }));
  assert.ok(selection.accepts({ selected: "digits" }));
  assert.ok(selection.accepts({ checkpoint: "digits" }));
});

test("isNumber accepts finite numbers only", () => {
  for (const value of INVALID_VALUES) assert.equal(isNumber(value), false);
  for (const value of [0, -0, -1.5, 1e300, Number.MIN_VALUE]) assert.equal(isNumber(value), true);
});

test("readers map invalid values to their defaults", () => {
  for (const value of INVALID_VALUES) {
    assert.equal(readInteger(value, 3, 9), 3);
    assert.equal(readShare(value), 0);
    assert.equal(readSeries(value, 2), null);
    assert.equal(readTable(value, 1, 9), null);
  }
  for (const value of [undefined, null, 7, "text", { length: 3 }]) assert.deepEqual(readArray(value), []);
  for (const value of [undefined, null, 7, "text", [], [{}]]) assert.deepEqual(readObject(value), {});
  for (const value of [undefined, null, Number.NaN, {}, [], true]) assert.equal(readText(value), "");
});

test("readers clamp numbers and truncate texts and arrays", () => {
  assert.equal(readInteger(2.5, 0, 9), 3);
  assert.equal(readInteger(-4, 0, 9), 0);
  assert.equal(readInteger(1e300, 0, 9), 9);
  assert.equal(readShare(1.5), 1);
  assert.equal(readShare(0.25), 0.25);
  assert.equal(readText("abcdef", 3), "abc");
  assert.equal(readText(12), "12");
  assert.equal(readText("x".repeat(1000)).length, 600);
  assert.deepEqual(readArray([1, 2, 3], 2), [1, 2]);
  assert.equal(clamp(5, 1, 3), 3);
  assert.equal(clamp(5, 9, 3), 3, "the upper limit takes precedence over a larger lower limit");
});

test("a series has NaN for invalid entries, and is null if it is too short", () => {
  assert.deepEqual(readSeries([1, "2", null, 4], 3), [1, Number.NaN, Number.NaN]);
  assert.equal(readSeries([1, 2], 3), null);
  assert.deepEqual(readSeries([], 0), []);
});

test("a table has the width of its first row", () => {
  assert.deepEqual(
    readTable(
      [
        [1, 2, 3],
        [4, null, 6, 7],
      ],
      2,
      2,
    ),
    [
      [1, 2],
      [4, 0],
    ],
  );
  assert.equal(readTable([[1, 2], [3]], 2, 9), null);
  assert.equal(readTable([[1], [2]], 3, 9), null);
  assert.equal(readTable([[]], 1, 9), null);
  assert.equal(readTable([[1], "x"], 2, 9), null);
});

test("base64 is decoded only if it has enough bytes", () => {
  assert.deepEqual(decodeBytes("AAH/", 3), Uint8Array.from([0, 1, 255]));
  assert.deepEqual(decodeBytes("AAH/", 2), Uint8Array.from([0, 1]));
  assert.equal(decodeBytes("AAH/", 4), null);
  for (const value of [null, 5, "%%%", {}, "AA"]) assert.equal(decodeBytes(value, 2), null);
});

test("numbers are formatted as short as possible", () => {
  const cases = [
    [0, "0"],
    [1000, "1k"],
    [2.5e6, "2.5M"],
    [3e9, "3G"],
    [0.05, "0.05"],
    [1e-4, "1e\u22124"],
    [-1234, "\u22121.234k"],
    [1e12, "1e12"],
    [-2e-7, "\u22122e\u22127"],
    [999.96, "1000"],
    [0.27067, "0.2707"],
  ];
  for (const [value, text] of cases) assert.equal(formatCompact(value), text);
  assert.equal(formatSignificant(-0.05), "\u22120.05");
  assert.equal(formatSignificant(1.23456789, 3), "1.23");
  assert.equal(formatDecimal(-0.5), "\u22120.50");
  assert.equal(formatDecimal(Number.NaN), "unknown");
  assert.equal(formatAxisNumber(1200), "1,200");
  assert.equal(formatAxisNumber(20000), "20k");
  assert.equal(formatAxisNumber(-2.5), "\u22122.5");
  assert.equal(formatExact(12345.5), "12,345.5");
});

test("a number that rounds to zero has no sign, and a whole mean no decimal", () => {
  assert.equal(formatFixed(-0.001, 2), "0.00");
  assert.equal(formatFixed(-0.006, 2), "\u22120.01");
  assert.deepEqual([1, 4.12, 25.96].map(formatMean), ["1", "4.1", "26"]);
});

test("probabilities are never exactly 0% or 100%", () => {
  const cases = [
    [0, "<0.1%"],
    [1, ">99.9%"],
    [0.97, "97.0%"],
    [0.94, "94%"],
    [0.0004, "<0.1%"],
    [0.9996, ">99.9%"],
    [0.005, "0.5%"],
    [0.995, "99.5%"],
    [0.5, "50%"],
  ];
  for (const [value, text] of cases) assert.equal(formatProbability(value), text);
  assert.equal(formatPercent(0.97), "97.0%");
  assert.equal(formatPercent(0.9994), "99.9%");
  assert.equal(formatPercent(0.9995), "99.95%");
  assert.equal(formatPercent(0.99999), "99.99%", "only 1 is 100%");
  assert.equal(formatPercent(1), "100.0%");
  assert.equal(formatPercent(0.9996, 0), "100%");
  assert.equal(formatPercent(0.12345, 2), "12.35%");
  assert.equal(formatAdaptivePercent(0.5), "50%");
  assert.equal(formatAdaptivePercent(0.0025), "0.25%");
  assert.equal(formatAdaptivePercent(0.9995), "99.95%");
  assert.equal(formatAdaptivePercent(-0.25), "\u221225%");
  assert.equal(formatAxisPercent(0.125), "12.5%");
});

test("counts and durations have their units", () => {
  assert.equal(pluralize(1, "tick"), "tick");
  assert.equal(pluralize(0, "tick"), "ticks");
  assert.equal(formatCount(1, "tick"), "1 tick");
  assert.equal(formatCount(1200, "tick"), "1,200 ticks");
  assert.equal(formatDuration(4.25), "4.3 ms");
  assert.equal(formatDuration(120.4), "120 ms");
  assert.equal(formatDuration(1300), "1.3 s");
});

test("round steps are 1, 2 or 5 times a power of ten", () => {
  const cases = [
    [1, 1],
    [1.01, 2],
    [3, 5],
    [7, 10],
    [0.2, 0.2],
    [0.15, 0.2],
    [1e-30, 1e-30],
    [4.9e20, 5e20],
  ];
  for (const [size, step] of cases) assert.ok(Math.abs(findRoundStep(size) / step - 1) < 1e-9, `${size}`);
  assert.equal(findRoundStep(2.001), 2, "a step may be too small by a thousandth");
});

test("round numbers are within their range and limited in number", () => {
  assert.deepEqual(listRoundNumbers(0, 10, 5), { step: 2, values: [0, 2, 4, 6, 8, 10] });
  assert.deepEqual(listRoundNumbers(-1, 1, 4).values, [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(listRoundNumbers(1.2, 1.8, 2, 1).values, []);
  assert.deepEqual(listRoundNumbers(5, 5, 5).values.length <= 50, true);
  assert.ok(listRoundNumbers(0, 1e9, 1e6).values.length <= 50);
  for (const [first, last] of [
    [3, 97],
    [0.001, 0.0042],
    [-7e8, 2e9],
  ]) {
    const { values } = listRoundNumbers(first, last, 6);
    assert.ok(values.length > 1 && values[0] >= first - 1e-9 && values.at(-1) <= last + 1e-9);
  }
});

test("tick steps have no upper limit", () => {
  assert.deepEqual([0, 1, 1.5, 3, 21, 600, 1001].map(findTickStep), [1, 1, 2, 5, 50, 1000, 5000]);
});

test("colours are parsed, formatted and mixed", () => {
  assert.deepEqual(parseColour("#0072B2"), [0, 114, 178]);
  assert.equal(formatColour([1, 2, 3]), "rgb(1 2 3 / 1)");
  const ramp = buildRamp(["#000000", "#ffffff", "#ff0000"]);
  assert.equal(ramp.length, 256);
  assert.deepEqual(
    [ramp[0], ramp[255]],
    [
      [0, 0, 0],
      [255, 0, 0],
    ],
  );
  assert.ok(Math.abs(ramp[127][0] - 254) <= 2);
  assert.match(formatGradient(ramp), /^linear-gradient\(to right, (rgb\(\d+ \d+ \d+ \/ 1\)(, )?){5}\)$/);
});

test("every class has a colour, and consecutive classes have different ones", () => {
  for (let index = 0; index < 200; index++) {
    const colour = getClassColour(index);
    assert.ok(colour.every((channel) => Number.isInteger(channel) && channel >= 0 && channel <= 255));
    assert.notDeepEqual(colour, getClassColour(index + 1));
  }
});

test("a position is reflected at the outer cells", () => {
  assert.deepEqual(
    [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7].map((at) => reflectPosition(at, 4)),
    [2, 1, 0, 1, 2, 3, 2, 1, 0, 1],
  );
  assert.equal(reflectPosition(-1001, 2), 1);
});

test("frames in the same cell are grouped", () => {
  assert.deepEqual(groupFramesByCell([[1, 2], null, [3, 4], [1, 2]]), [
    { cell: [1, 2], frames: [0, 3] },
    { cell: [3, 4], frames: [2] },
  ]);
  assert.deepEqual(groupFramesByCell([]), []);
  assert.equal(
    groupFramesByCell([
      [1, 12],
      [11, 2],
    ]).length,
    2,
    "cells are distinguished by row and column",
  );
});

test("a component is set up once per element and renders the newest value", () => {
  const log = [];
  const props = { value: 1 };
  const mount = createMount((context) => {
    log.push("set up");
    return () => log.push(context.props.value);
  });
  const element = {};
  let change;
  const watch = (name, callback) => {
    log.push(name);
    change = callback;
  };
  mount(element, props, () => {}, watch);
  mount(element, props, () => {}, watch);
  props.value = 2;
  change();
  assert.deepEqual(log, ["set up", "value", 1, 2]);
  mount({}, props, () => {}, watch);
  assert.equal(log.filter((entry) => entry === "set up").length, 2);
});

test("parts are found by their data attribute, and texts change only if they differ", () => {
  const parts = [{ dataset: { thought: "head" } }, { dataset: { thought: "note" } }];
  const selectors = [];
  const root = { querySelectorAll: (selector) => selectors.push(selector) && parts };
  assert.deepEqual(findParts(root, "thought"), { head: parts[0], note: parts[1] });
  assert.deepEqual(selectors, ["[data-thought]"]);
  let writes = 0;
  const element = {
    get textContent() {
      return "a";
    },
    set textContent(_) {
      writes++;
    },
  };
  setText(element, "a");
  setText(element, "b");
  assert.equal(writes, 1);
});

test("Ctrl, Meta and Alt are modifiers, and Shift is not", () => {
  const keys = { ctrlKey: false, metaKey: false, altKey: false, shiftKey: true };
  assert.equal(hasModifier(keys), false);
  for (const name of ["ctrlKey", "metaKey", "altKey"]) assert.equal(hasModifier({ ...keys, [name]: true }), true);
});
