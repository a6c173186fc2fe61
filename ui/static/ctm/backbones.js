/**
 * Backbones: modules that map the input to features once, before the first tick. Mirrors `ctm.modules.backbones`.
 *
 * A backbone has `channels` and `encode(values, shape)`, which returns features of every place: `{data, places}` with `data` of
 * shape (N, channels) and `places` the shape of the N places. `values` is one row of the input, `shape` its shape.
 */

import { parseBackboneType } from "./config.js";
import { Convolution, poolMax, rectify, takeBatchNorm, toFeatureMap } from "./convolutions.js";

const RESNET_BLOCK_COUNTS = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 4, 36, 3], // He et al. have 8 blocks in the second stage; the published CTM backbone has 4
};
const NUM_GRID_WORDS = 32;
const MAX_IN_FEATURES = 1_000_000;
const MAX_PIXELS = 1_000_000;

/**
 * @typedef {object} Features
 * @property {Float32Array} data - Features, (N, channels).
 * @property {number[]} places - Shape of the N places: [N], or [height, width].
 *
 * @typedef {object} Backbone
 * @property {number} channels - Number of channels of the features.
 * @property {(values: Float32Array, shape: number[]) => Features} encode - Computes the features of one row.
 */

/**
 * Build the backbone of a config. Mirrors `make_backbone` and `infer_in_features`.
 *
 * @param {import("./config.js").Config} config - Checked config, without input schedule.
 * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
 * @returns {Backbone} The backbone.
 */
export function makeBackbone(config, weights) {
  const { kind, numbers } = parseBackboneType(config.backbone_type);
  const width = config.d_input;
  if (kind === "tokens") return new TokensBackbone(weights, ...numbers, width);
  if (kind === "grid") return new GridBackbone(weights, ...numbers, width);
  if (kind === "parity_backbone") return new ParityBackbone(weights, width);
  if (kind === "mnist_backbone") return new MnistBackbone(weights, "backbone", width);
  if (kind === "shallow-wide") return new ShallowWide(weights);
  if (kind === "resnet") {
    const [depth, stages] = numbers;
    return new ResNet(weights, RESNET_BLOCK_COUNTS[depth].slice(0, stages), depth >= 50);
  }
  if (kind === "deep-resnet") return new ResNet(weights, numbers, false);
  return new RawInput(weights, config.modelType === "ff" ? "output_projector.3.weight" : "kv_proj.0.weight");
}

/** Read the number of columns of a weight, which is the input size. */
function readInputSize(weights, name) {
  const size = weights.getShape(name)?.[1];
  if (!size) throw new Error(`The weights lack a matrix \`${name}\`, from which the input size is read.`);
  if (size > MAX_IN_FEATURES) {
    throw new Error(`\`${name}\` is for inputs of ${size} features; models take 1 to ${MAX_IN_FEATURES}.`);
  }
  return size;
}

/**
 * Check the shape of one row of the input.
 *
 * @param {Float32Array} values - Values of the row.
 * @param {number[]} shape - Shape of the row.
 * @param {(number | null)[]} expected - Expected sizes; null for any size.
 * @throws {Error} The shape is another one, or does not fit the number of values.
 */
export function checkInputShape(values, shape, expected) {
  const count = shape.reduce((product, size) => product * size, 1);
  const fits =
    shape.length === expected.length && expected.every((size, axis) => size === null || size === shape[axis]);
  if (!fits || count !== values.length || !shape.every((size) => Number.isInteger(size) && size > 0)) {
    const wanted = expected.map((size) => size ?? "any").join(", ");
    throw new Error(`The model needs an input of shape (${wanted}): got (${shape.join(", ")}).`);
  }
  if (count > MAX_PIXELS * Math.max(1, expected[0] ?? 1)) throw new Error("The input is too large for this page.");
}

/** No backbone: the input itself is the only place. */
class RawInput {
  constructor(weights, name) {
    this.channels = readInputSize(weights, name);
  }

  encode(values, shape) {
    if (shape.length === 1) checkInputShape(values, shape, [this.channels]);
    else checkInputShape(values, shape, [this.channels, ...shape.slice(1).map(() => null)]);
    const places = shape.slice(1);
    const count = values.length / this.channels;
    const data = new Float32Array(values.length);
    for (let channel = 0; channel < this.channels; channel++) {
      for (let place = 0; place < count; place++)
        data[place * this.channels + channel] = values[channel * count + place];
    }
    return { data, places };
  }
}

/** Embedding of two signs: +1, and anything else. */
class ParityBackbone {
  constructor(weights, width) {
    this.channels = width;
    this.embedding = weights.take("backbone.embedding.weight", 2, width);
  }

  encode(values, shape) {
    checkInputShape(values, shape, [null]);
    const width = this.channels;
    return embed(values, width, (sign, data, start) => addRow(data, start, width, this.embedding, sign === 1 ? 1 : 0));
  }
}

/** Embedding of symbols, plus a learned positional embedding. */
class TokensBackbone {
  constructor(weights, vocabularySize, maxLength, width) {
    Object.assign(this, { channels: width, vocabularySize, maxLength });
    this.embedding = weights.take("backbone.embedding.weight", vocabularySize, width);
    this.positions = weights.take("backbone.positions", width, maxLength);
  }

  encode(values, shape) {
    checkSequence(values, shape, this.maxLength, this.vocabularySize);
    const width = this.channels;
    return embed(values, width, (token, data, start, place) => {
      addRow(data, start, width, this.embedding, token);
      addColumn(data, start, width, this.positions, place);
    });
  }
}

/** Embedding of the cells of a square grid, as the sum of a row and a column embedding, and of other symbols. */
class GridBackbone {
  constructor(weights, side, maxLength, width) {
    Object.assign(this, { channels: width, side, maxLength });
    this.rows = weights.take("backbone.rows.weight", side, width);
    this.columns = weights.take("backbone.columns.weight", side, width);
    this.words = weights.take("backbone.words.weight", NUM_GRID_WORDS, width);
    this.positions = weights.take("backbone.positions", width, maxLength);
  }

  encode(values, shape) {
    const cells = this.side ** 2;
    checkSequence(values, shape, this.maxLength, cells + NUM_GRID_WORDS);
    const width = this.channels;
    return embed(values, width, (token, data, start, place) => {
      if (token < cells) {
        addRow(data, start, width, this.rows, Math.floor(token / this.side));
        addRow(data, start, width, this.columns, token % this.side);
      } else addRow(data, start, width, this.words, token - cells);
      addColumn(data, start, width, this.positions, place);
    });
  }
}

/** Check that a sequence is not too long and holds known symbols only. */
function checkSequence(values, shape, maxLength, numSymbols) {
  checkInputShape(values, shape, [null]);
  if (values.length > maxLength)
    throw new Error(`This model takes at most ${maxLength} symbols, got ${values.length}.`);
  if (!values.every((value) => Number.isInteger(value) && value >= 0 && value < numSymbols)) {
    throw new Error(`This model takes symbols from 0 to ${numSymbols - 1}.`);
  }
}

/** Return features of a sequence, which a function writes place by place. */
function embed(values, channels, write) {
  const data = new Float32Array(values.length * channels);
  values.forEach((value, place) => {
    write(value, data, place * channels, place);
  });
  return { data, places: [values.length] };
}

/** Add a row of a table, (rows, width), to the features of a place. */
function addRow(data, start, width, table, row) {
  for (let index = 0; index < width; index++) data[start + index] += table[row * width + index];
}

/** Add a column of a table, (width, columns), to the features of a place. */
function addColumn(data, start, width, table, column) {
  const columns = table.length / width;
  for (let index = 0; index < width; index++) data[start + index] += table[index * columns + column];
}

/** Two wide gated convolutions, each followed by a batch norm. */
class ShallowWide {
  constructor(weights) {
    this.channels = 2048;
    this.input = readInputSize(weights, "backbone.layers.0.weight");
    this.first = new Convolution(weights, "backbone.layers.0", {
      input: this.input,
      output: 4096,
      kernel: 3,
      stride: 2,
      hasBias: true,
    });
    this.firstNorm = takeBatchNorm(weights, "backbone.layers.2", 2048);
    this.second = new Convolution(weights, "backbone.layers.3", {
      input: 2048,
      output: 4096,
      kernel: 3,
      groups: 32,
      hasBias: true,
    });
    this.secondNorm = takeBatchNorm(weights, "backbone.layers.5", 2048);
  }

  encode(values, shape) {
    checkInputShape(values, shape, [this.input, null, null]);
    const hidden = applyGatedNorm(this.first.apply(toFeatureMap(values, shape)), this.firstNorm);
    const { data, height, width } = applyGatedNorm(this.second.apply(hidden), this.secondNorm);
    return { data, places: [height, width] };
  }
}

/** Apply a gated linear unit over the channels, then a batch norm. */
function applyGatedNorm({ data, height, width, channels }, { scale, shift }) {
  const half = channels / 2;
  const out = new Float32Array(data.length / 2);
  for (let index = 0; index < out.length; index++) {
    const channel = index % half;
    const source = Math.floor(index / half) * channels + channel;
    out[index] = (data[source] / (1 + Math.exp(-data[source + half]))) * scale[channel] + shift[channel];
  }
  return { data: out, height, width, channels: half };
}

/** Two small convolutions over greyscale images, each followed by 2 x 2 pooling. Also encodes images of an input schedule. */
export class MnistBackbone {
  constructor(weights, name, width) {
    this.channels = width;
    const convolve = (input, layer) =>
      new Convolution(weights, `${name}.layers.${layer}`, {
        input,
        output: width,
        kernel: 3,
        hasBias: true,
      }).foldBatchNorm(weights, `${name}.layers.${layer + 1}`);
    this.layers = [convolve(1, 0), convolve(width, 4)];
  }

  encode(values, shape) {
    checkInputShape(values, shape, [1, null, null]);
    let image = toFeatureMap(values, shape);
    for (const layer of this.layers) image = poolMax(rectify(layer.apply(image)), 2, 0);
    return { data: image.data, places: [image.height, image.width] };
  }
}

/** First stages of a ResNet (He et al. 2015) with a 3 x 3 stem of stride 1, behind a map of the input to three channels. */
class ResNet {
  /**
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {number[]} blockCounts - Blocks of every stage.
   * @param {boolean} isBottleneck - Whether the blocks are bottlenecks.
   */
  constructor(weights, blockCounts, isBottleneck) {
    this.input = readInputSize(weights, "initial_rgb.weight");
    this.toRgb = new Convolution(weights, "initial_rgb", { input: this.input, output: 3, kernel: 1, hasBias: true });
    const add = (name, norm, options) =>
      new Convolution(weights, `backbone.${name}`, options).foldBatchNorm(weights, `backbone.${norm}`);
    this.stem = add("conv1", "bn1", { input: 3, output: 64, kernel: 3 });
    this.channels = 64;
    this.blocks = [];
    for (const [stage, count] of blockCounts.entries()) {
      for (let index = 0; index < count; index++) {
        const stride = stage > 0 && index === 0 ? 2 : 1;
        this.blocks.push(this.#makeBlock(add, `layer${stage + 1}.${index}`, isBottleneck, 64 * 2 ** stage, stride));
      }
    }
  }

  /** Build a block: two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3 and 1 x 1, and its shortcut. */
  #makeBlock(add, name, isBottleneck, planes, stride) {
    const input = this.channels;
    const output = isBottleneck ? planes * 4 : planes;
    const sizes = isBottleneck
      ? [
          [input, planes, 1, 1],
          [planes, planes, 3, stride],
          [planes, output, 1, 1],
        ]
      : [
          [input, planes, 3, stride],
          [planes, planes, 3, 1],
        ];
    const layers = sizes.map(([from, to, kernel, step], index) =>
      add(`${name}.conv${index + 1}`, `${name}.bn${index + 1}`, { input: from, output: to, kernel, stride: step }),
    );
    const hasShortcut = stride !== 1 || input !== output;
    const options = { input, output, kernel: 1, stride };
    this.channels = output;
    return { layers, shortcut: hasShortcut ? add(`${name}.downsample.0`, `${name}.downsample.1`, options) : null };
  }

  encode(values, shape) {
    checkInputShape(values, shape, [this.input, null, null]);
    let image = poolMax(rectify(this.stem.apply(this.toRgb.apply(toFeatureMap(values, shape)))), 3, 1);
    for (const { layers, shortcut } of this.blocks) {
      const skipped = shortcut ? shortcut.apply(image) : image;
      layers.forEach((layer, index) => {
        image = layer.apply(image);
        if (index < layers.length - 1) rectify(image);
      });
      for (let index = 0; index < image.data.length; index++) image.data[index] += skipped.data[index];
      rectify(image);
    }
    return { data: image.data, places: [image.height, image.width] };
  }
}
