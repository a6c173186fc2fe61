import assert from "node:assert/strict";
import { test } from "node:test";
import { getValue, isApplicable, isFound, parseSettings, readInput } from "../../ui/static/run-settings/parse.js";
import { parseTaskCards } from "../../ui/static/task-cards/parse.js";

const FIELDS = [
  { name: "model.kind", title: "Architecture", kind: "choice", choices: ["ctm", "lstm"], group: "primary" },
  { name: "model.num_layers", title: "LSTM layers", kind: "whole", kinds: ["lstm"], defaults: { lstm: 1 } },
  { name: "model.iterations_per_digit", title: "Ticks per image", kind: "whole", kinds: ["ctm"], is_scheduled: true },
  { name: "optim.lr", title: "Learning rate", help: "highest learning rate", kind: "number" },
];
const VALUES = {
  "model.kind": "ctm",
  "model.num_layers": null,
  "model.backbone_type": "tokens-3x8",
  "optim.lr": 0.001,
};

function getFields(changes) {
  const view = parseSettings({ fields: FIELDS, values: VALUES, changes });
  return [view, Object.fromEntries(view.fields.map((field) => [field.name, field]))];
}

test("only settings of the chosen architecture apply, with its defaults", () => {
  const [ctm, fields] = getFields({});
  assert.equal(isApplicable(ctm, fields["model.num_layers"]), false);
  assert.equal(isApplicable(ctm, fields["optim.lr"]), true);
  assert.equal(isApplicable(ctm, fields["model.iterations_per_digit"]), false, "the backbone has no input schedule");
  const [lstm] = getFields({ "model.kind": "lstm" });
  assert.equal(isApplicable(lstm, fields["model.num_layers"]), true);
  assert.equal(getValue(lstm, fields["model.num_layers"]), 1);
  const [scheduled] = getFields({ "model.backbone_type": "qamnist_backbone" });
  assert.equal(isApplicable(scheduled, fields["model.iterations_per_digit"]), true);
});

test("a changed value comes before that of the source", () => {
  const [view, fields] = getFields({ "optim.lr": 0.5 });
  assert.equal(getValue(view, fields["optim.lr"]), 0.5);
  assert.equal(getValue(getFields({})[0], fields["optim.lr"]), 0.001);
});

test("a search finds settings by all its words, in name, title and help", () => {
  const [, fields] = getFields({});
  for (const search of ["", "LEARNING", "lr", "rate highest", " optim.lr "]) {
    assert.ok(isFound(fields["optim.lr"], search.trim()), search);
  }
  assert.equal(isFound(fields["optim.lr"], "learning layers"), false);
});

test("typed values become numbers, and what is no number stays a text for the server to reject", () => {
  const [, fields] = getFields({});
  const read = (text) => readInput(fields["optim.lr"], text);
  assert.deepEqual(["1e-3", " 7 ", "", "many", "Infinity"].map(read), [0.001, 7, null, "many", "Infinity"]);
  assert.equal(readInput({ kind: "text", isOptional: true }, " "), null);
  assert.equal(readInput({ kind: "text", isOptional: false }, " a "), "a");
  assert.equal(readInput({ kind: "switch" }, false), false);
});

test("malformed values are harmless", () => {
  for (const value of [null, 3, [], { fields: "x", values: 3, changes: null, errors: [null] }]) {
    const view = parseSettings(value);
    assert.equal(view.fields, null);
    assert.deepEqual([view.values, view.changes], [{}, {}]);
  }
  assert.deepEqual(parseSettings({ fields: [null, {}, { name: "a", kind: "secret" }] }).fields, []);
  for (const value of [null, 3, { cards: [null, { title: "no name" }], presets: "x", sliders: [{ texts: [] }] }]) {
    const view = parseTaskCards(value);
    assert.deepEqual([view.cards, view.sliders, view.presets], [[], [], []]);
  }
});

test("cards keep what they show, and drop addresses of other places", () => {
  const card = {
    name: "digits",
    title: "Digits",
    learns: "Learns.",
    accuracy: 0.98,
    times: ["Quick look: about 2 min"],
  };
  const cards = [
    card,
    { ...card, thumbnail: "https://example.com/x.json" },
    { ...card, thumbnail: "thumbnails/0123456789abcdef.json" },
  ];
  const view = parseTaskCards({
    cards,
    selected: "digits",
    preset: "quick",
    sliders: [{ name: "size", texts: ["a"], selected: 9 }],
  });
  assert.deepEqual(
    view.cards.map(({ thumbnail }) => thumbnail),
    ["", "", "thumbnails/0123456789abcdef.json"],
  );
  assert.equal(view.cards[0].learns, "Learns.");
  assert.equal(view.sliders[0].selected, 0, "a position beyond the last one becomes the last one");
  assert.equal(parseTaskCards({ sliders: [{ name: "size", texts: ["a"], selected: null }] }).sliders[0].selected, -1);
});
