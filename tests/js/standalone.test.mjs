import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeBase64 } from "../../ui/static/standalone/page-data.js";
import { convertToBytes } from "../../ui/static/standalone/pictures.js";
import { Slot } from "../../ui/static/standalone/slot.js";
import { describeVerification } from "../../ui/static/standalone/verify.js";

test("base64 is decoded to bytes", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
  assert.deepEqual(decodeBase64(Buffer.from(bytes).toString("base64")), bytes);
});

test("grey and RGB displays become opaque RGBA bytes", () => {
  const grey = convertToBytes({ width: 2, height: 1, channels: 1, data: [0, 1] });
  assert.deepEqual([...grey.data], [0, 0, 0, 255, 255, 255, 255, 255]);
  const colour = convertToBytes({ width: 1, height: 1, channels: 3, data: [1, 0.5, 0] });
  assert.deepEqual([...colour.data], [255, 128, 0, 255]);
});

test("a slot shows values to its component and reports those that the component writes", () => {
  const [shown, written] = [[], []];
  let context;
  const mount = (element, props, trigger, watch) => {
    context = { element, props, trigger };
    watch("value", () => shown.push(props.value));
  };
  const slot = new Slot(mount, "element", (value) => written.push(value));
  slot.show({ content: "a" });
  context.props.value = { content: "b" };
  context.trigger("input");
  assert.deepEqual([shown, written, slot.value], [[{ content: "a" }], [{ content: "b" }], { content: "b" }]);
  assert.equal(context.element, "element");
});

test("a verification says how many inputs agree and the largest difference", () => {
  const agreeing = describeVerification({ samples: 16, agreeing: 16, difference: 4.2e-7 });
  assert.match(agreeing, /^All 16 inputs agree with PyTorch: .* logit: 4\.2e-7 of the largest one\.$/);
  assert.match(
    describeVerification({ samples: 16, agreeing: 15, difference: 0.3 }),
    /^15 of 16 inputs agree .* 3\.0e-1 of/,
  );
  assert.match(describeVerification({ samples: 1, agreeing: 1, difference: 0 }), /^1 of 1 input agrees/);
  assert.equal(
    describeVerification({ samples: 0, agreeing: 0, difference: 0 }),
    "This page holds no inputs to compare.",
  );
});
