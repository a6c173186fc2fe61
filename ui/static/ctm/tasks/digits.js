/** Handwritten digits, in the format of MNIST. Mirrors `training.tasks.digits`. */

import { toGrey } from "../images/foreground/channels.js";
import { extractStrokes } from "../images/foreground/extraction.js";
import { readColours } from "../images/pixels.js";
import { clip, findMax, fround, mapPlane, roundHalfEven } from "../images/plane.js";
import { computeBackgroundLevel, cropToForeground, placeOnBlack } from "../images/preprocessing.js";
import { resizePlane } from "../images/resample.js";
import { sumFloat32 } from "../images/statistics.js";
import { buildAnswer, buildFloats, buildInput, Task } from "./task.js";
import { InputError } from "./text.js";

const IMAGE_SIZE = 28;
const DIGIT_SIZE = 20; // longer side of the digit in an MNIST image, pixels
const MIN_CONTRAST = 0.15; // brightness of the strongest stroke above the background in an image in the format of MNIST
const STROKE_THRESHOLD = 0.3; // brightness of a pixel that belongs to the digit, relative to the strongest stroke
const MIN_DRAWING_SIZE = 8; // pixels

/** Mean of the MNIST training images in [0, 1]. Mirrors `MNIST_MEAN`. */
export const MNIST_MEAN = fround(0.1307);
/** Standard deviation of the MNIST training images. Mirrors `MNIST_STD`. */
export const MNIST_STD = fround(0.3081);

/** Classification of handwritten digits. Mirrors `Digits`. */
export class Digits extends Task {
  name = "digits";
  title = "Handwritten digits";
  inputType = "image";
  hasNaturalInputs = true;
  supportsDrawing = true;

  get inputHint() {
    return "draw a digit from 0 to 9, or upload a picture of one";
  }

  get spec() {
    return { backbone: "resnet18-1", classes: 10, positions: 1, scoredPositions: null, ctcLength: null };
  }

  get labels() {
    return Array.from({ length: 10 }, (_, digit) => String(digit));
  }

  parseInput(raw) {
    const { pixels, notes } = readDigit(readColours(raw));
    const inputs = buildFloats(pixels.data.map(normaliseMnist), [1, 1, IMAGE_SIZE, IMAGE_SIZE]);
    return buildInput(inputs, { kind: "picture", pixels: { ...pixels, channels: 1 }, notes }, 1);
  }

  formatAnswer(_input, [digit]) {
    return buildAnswer(digit, String(digit), `It is ${digit === 8 ? "an" : "a"} ${digit}`);
  }
}

/**
 * Normalise a value as the model was trained.
 *
 * @param {number} value - A value in [0, 1].
 * @returns {number} The model input, float32.
 */
export function normaliseMnist(value) {
  return fround(fround(value - MNIST_MEAN) / MNIST_STD);
}

/**
 * Crop, resize and centre a digit in the way of MNIST. Mirrors `read_digit`.
 *
 * @param {import("../images/plane.js").ColourImage} image - The image, from 0 (black) to 1 (white).
 * @returns {{pixels: import("../images/plane.js").Plane, notes: string[]}} Image of 28 x 28 pixels, light on black, and
 *   sentences about what is doubtful.
 * @throws {InputError} The image is too small, or nothing stands out from its background.
 */
export function readDigit(image) {
  const { width, height } = image;
  if (Math.min(width, height) < MIN_DRAWING_SIZE) {
    throw new InputError(`The picture is too small to show a digit: got ${width} x ${height} pixels.`);
  }
  const given = width === IMAGE_SIZE && height === IMAGE_SIZE ? readMnistFormat(image) : null;
  if (given) return { pixels: given, notes: [] };
  const foreground = extractStrokes(image);
  if (!foreground) {
    throw new InputError(
      "The picture is empty: nothing stands out from the background. Draw a digit with thick strokes.",
    );
  }
  const digit = cropToForeground(foreground.pixels, STROKE_THRESHOLD);
  const scale = DIGIT_SIZE / Math.max(digit.width, digit.height);
  const [newWidth, newHeight] = [digit.width, digit.height].map((length) => Math.max(1, roundHalfEven(length * scale)));
  const small = resizePlane(digit, newWidth, newHeight, scale < 1 ? "box" : "bilinear");
  const largest = fround(Math.max(findMax(small.data), 1e-6));
  return { pixels: centerByMass(mapPlane(small, (value) => value / largest)), notes: foreground.notes };
}

/** Return an image that is in the format of MNIST already, scaled to the range from 0 to 1; else null. */
function readMnistFormat(image) {
  const grey = toGrey(image);
  const ground = computeBackgroundLevel(grey);
  const strokes = mapPlane(grey, (value) => clip(fround(value - ground), 0, 1));
  const largest = findMax(strokes.data);
  return ground < 0.5 && largest >= fround(MIN_CONTRAST) ? mapPlane(strokes, (value) => value / largest) : null;
}

/** Place a digit of at most 20 x 20 pixels with its centre of mass in the middle. Mirrors `center_by_mass`. */
function centerByMass(small) {
  const { data, width, height } = small;
  const mass = sumFloat32(data);
  const rowSums = Array.from({ length: height }, (_, row) => sumFloat32(data.subarray(row * width, (row + 1) * width)));
  const columnSums = new Float32Array(width);
  for (let index = 0; index < data.length; index++) columnSums[index % width] += data[index];
  const [row, column] = [rowSums, columnSums].map((sums) => sumProducts(sums) / mass);
  const [top, left] = [row, column].map((center, axis) => {
    return clip(roundHalfEven(IMAGE_SIZE / 2 - 0.5 - center), 0, IMAGE_SIZE - (axis ? width : height));
  });
  return placeOnBlack(small, IMAGE_SIZE, top, left);
}

/** Return the sum of numbers times their indices, in the order of NumPy: in eight interleaved parts. */
function sumProducts(sums) {
  const values = Array.from(sums, (sum, index) => sum * index);
  if (values.length < 8) return values.reduce((total, value) => total + value, 0);
  const parts = values.slice(0, 8);
  const whole = values.length - (values.length % 8);
  for (let index = 8; index < whole; index++) parts[index % 8] += values[index];
  const [a, b, c, d] = [0, 2, 4, 6].map((part) => parts[part] + parts[part + 1]);
  return values.slice(whole).reduce((total, value) => total + value, a + b + (c + d));
}
