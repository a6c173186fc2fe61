/** Image classification. Mirrors the inputs and answers of `training.tasks.images`. */

import { toGrey } from "../images/foreground/channels.js";
import { extractObject } from "../images/foreground/extraction.js";
import { readColours, readRgb } from "../images/pixels.js";
import { fround, roundHalfEven } from "../images/plane.js";
import { computeBackgroundLevel, cropToForeground, fitIntoSquare } from "../images/preprocessing.js";
import { resizeCenterCrop } from "../images/resample.js";
import { buildAnswer, buildInput, Task } from "./task.js";
import { InputError } from "./text.js";

const MAX_SINGLE_STAGE_SIZE = 64; // pixels; larger images need a backbone with more than one stage
const MIN_CONTRAST = 0.15; // of the object; pixels of less than half of it are cropped
const MAX_ASPECT_RATIO = 20; // longer side of an image divided by the shorter one

/** Classification of images. Mirrors `Images`. */
export class Images extends Task {
  name = "images";
  title = "Pictures";
  inputType = "image";
  hasNaturalInputs = true;
  #labels;

  /**
   * @param {Record<string, any>} settings - Settings under their current names.
   * @param {string[]} labels - Names of the classes, those of `task.json`.
   */
  constructor(settings, labels) {
    super(settings);
    this.#labels = Array.isArray(settings.names) ? settings.names : labels;
  }

  get #isOnDark() {
    return this.settings.background === "dark";
  }

  get inputHint() {
    return this.#isOnDark
      ? "one object on a plain background, light or dark; the picture is converted to light on black"
      : "a photograph of one animal or object; the model sees the central square";
  }

  get spec() {
    const backbone = this.settings.crop > MAX_SINGLE_STAGE_SIZE ? "resnet18-4" : "resnet18-1";
    return { backbone, classes: this.#labels.length, positions: 1, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return [...this.#labels];
  }

  parseInput(raw) {
    const { width, height } = readRgb(raw);
    if (Math.max(width, height) > MAX_ASPECT_RATIO * Math.min(width, height)) {
      throw new InputError(`The picture is ${width} x ${height} pixels, too long and thin. Crop it to the object.`);
    }
    const { channels, resize, crop } = this.settings;
    const { image, notes } = this.#isOnDark ? placeObject(readColours(raw), crop) : { image: readRgb(raw), notes: [] };
    const bytes = resizeCenterCrop(convertMode(image, channels), channels, resize, crop);
    const pixels = { data: Float32Array.from(bytes, (value) => value / 255), width: crop, height: crop, channels };
    const inputs = { type: "float32", data: this.#normalise(pixels.data), shape: [1, channels, crop, crop] };
    return buildInput(inputs, { kind: "picture", pixels, notes }, 1);
  }

  /** Return normalised values, channels first. */
  #normalise(values) {
    const { channels, mean, std } = this.settings;
    const size = values.length / channels;
    return Float32Array.from({ length: values.length }, (_, index) => {
      const channel = Math.floor(index / size);
      const [shift, scale] = [mean, std].map((numbers) => fround(numbers[numbers.length > 1 ? channel : 0]));
      return fround(values[(index % size) * channels + channel] - shift) / scale;
    });
  }

  formatAnswer(_input, [choice]) {
    const label = this.#labels[choice];
    return buildAnswer(choice, label, `Prediction: ${label}`);
  }
}

/** Place the object of an image, light on black, in a square that it fills. Mirrors `place_on_black`. */
function placeObject(image, side) {
  const { plane, notes } = extractOnBlack(image, side);
  const bytes = Uint8Array.from(plane.data, (value) => roundHalfEven(fround(value * 255)));
  return { image: { data: bytes, width: plane.width, height: plane.height }, notes };
}

function extractOnBlack(image, side) {
  if (image.width === side && image.height === side) {
    const grey = toGrey(image);
    if (computeBackgroundLevel(grey) < 0.5) return { plane: grey, notes: [] };
  }
  const foreground = extractObject(image);
  if (!foreground) {
    throw new InputError(
      "Nothing stands out from the background. Upload a picture of one object on a plain background.",
    );
  }
  const plane = fitIntoSquare(cropToForeground(foreground.pixels, MIN_CONTRAST / 2), side);
  return { plane, notes: foreground.notes };
}

/** Convert bytes to one or three channels. Mirrors `Image.convert` of Pillow. */
function convertMode({ data, width, height }, channels) {
  const given = data.length / (width * height);
  if (given === channels) return { data, width, height };
  const converted = new Uint8Array(width * height * channels);
  for (let index = 0; index < width * height; index++) {
    if (given === 1) converted.fill(data[index], 3 * index, 3 * index + 3);
    else {
      const [red, green, blue] = data.subarray(3 * index, 3 * index + 3);
      converted[index] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    }
  }
  return { data: converted, width, height };
}
