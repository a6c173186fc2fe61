/** Convolutions and pooling over images, position-major: (height, width, channels). */

import { multiplyTransposed } from "./linear-algebra.js";

const NORM_EPSILON = 1e-5;

/**
 * @typedef {object} FeatureMap
 * @property {Float32Array} data - Features, (height, width, channels).
 * @property {number} height - Height.
 * @property {number} width - Width.
 * @property {number} channels - Channels.
 */

/**
 * Convert an image from channels first to channels last.
 *
 * @param {Float32Array} pixels - Image, (channels, height, width).
 * @param {number[]} shape - Channels, height, width.
 * @returns {FeatureMap} The image.
 */
export function toFeatureMap(pixels, [channels, height, width]) {
  const places = height * width;
  const data = new Float32Array(pixels.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let place = 0; place < places; place++) data[place * channels + channel] = pixels[channel * places + place];
  }
  return { data, height, width, channels };
}

/** Convolution with a square kernel, computed as a matrix product over patches (im2col). Mirrors `torch.nn.Conv2d`. */
export class Convolution {
  /**
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {string} name - Name of the layer.
   * @param {{input: number, output: number, kernel: number, stride?: number, groups?: number, hasBias?: boolean}} options -
   *   Channels, kernel size, stride, groups, and whether there is a bias. The padding keeps the size at stride 1.
   */
  constructor(weights, name, { input, output, kernel, stride = 1, groups = 1, hasBias = false }) {
    Object.assign(this, { input, output, kernel, stride, groups });
    const groupInput = input / groups;
    const stored = weights.take(`${name}.weight`, output, groupInput, kernel, kernel);
    this.bias = hasBias ? weights.take(`${name}.bias`, output).slice() : new Float32Array(output);
    const places = kernel * kernel;
    this.weight = new Float32Array(stored.length); // (output, kernel, kernel, input of the group), as patches are
    for (let row = 0; row < output; row++) {
      for (let channel = 0; channel < groupInput; channel++) {
        for (let place = 0; place < places; place++) {
          const source = (row * groupInput + channel) * places + place;
          this.weight[(row * places + place) * groupInput + channel] = stored[source];
        }
      }
    }
  }

  /**
   * Fold the batch norm that follows this convolution into its weights. Mirrors `ctm.modules.backbones.convolve`.
   *
   * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
   * @param {string} name - Name of the norm.
   * @returns {Convolution} This convolution.
   */
  foldBatchNorm(weights, name) {
    const { scale, shift } = takeBatchNorm(weights, name, this.output);
    const columns = this.weight.length / this.output;
    for (let index = 0; index < this.weight.length; index++) this.weight[index] *= scale[Math.floor(index / columns)];
    for (let row = 0; row < this.output; row++) this.bias[row] = this.bias[row] * scale[row] + shift[row];
    return this;
  }

  /**
   * Apply the convolution.
   *
   * @param {FeatureMap} image - Input.
   * @returns {FeatureMap} Output.
   */
  apply(image) {
    const padding = (this.kernel - 1) >> 1;
    const height = Math.floor((image.height + 2 * padding - this.kernel) / this.stride) + 1;
    const width = Math.floor((image.width + 2 * padding - this.kernel) / this.stride) + 1;
    const size = this.weight.length / this.output;
    const groupOutput = this.output / this.groups;
    const data = new Float32Array(height * width * this.output);
    for (let group = 0; group < this.groups; group++) {
      const patches = this.#gatherPatches(image, group, height, width, padding);
      const first = group * groupOutput;
      const weight = this.weight.subarray(first * size, (first + groupOutput) * size);
      const bias = this.bias.subarray(first, first + groupOutput);
      const part = multiplyTransposed(patches, weight, bias, height * width, groupOutput, size);
      if (this.groups === 1) return { data: part, height, width, channels: this.output };
      for (let place = 0; place < height * width; place++) {
        data.set(part.subarray(place * groupOutput, (place + 1) * groupOutput), place * this.output + first);
      }
    }
    return { data, height, width, channels: this.output };
  }

  /** Return the patches that the kernel covers, (height * width, kernel * kernel * channels of the group). */
  #gatherPatches(image, group, height, width, padding) {
    const channels = this.input / this.groups;
    if (this.kernel === 1 && this.stride === 1 && this.groups === 1) return image.data;
    const size = this.kernel * this.kernel * channels;
    const patches = new Float32Array(height * width * size);
    for (let place = 0; place < height * width; place++) {
      const top = Math.floor(place / width) * this.stride - padding;
      const left = (place % width) * this.stride - padding;
      for (let cell = 0; cell < this.kernel * this.kernel; cell++) {
        const y = top + Math.floor(cell / this.kernel);
        const x = left + (cell % this.kernel);
        if (y < 0 || x < 0 || y >= image.height || x >= image.width) continue;
        const source = (y * image.width + x) * image.channels + group * channels;
        const target = place * size + cell * channels;
        for (let channel = 0; channel < channels; channel++) patches[target + channel] = image.data[source + channel];
      }
    }
    return patches;
  }
}

/**
 * Take a batch norm as a scale and a shift of every channel.
 *
 * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
 * @param {string} name - Name of the norm.
 * @param {number} channels - Number of channels.
 * @returns {{scale: Float64Array, shift: Float64Array}} Both, (channels).
 */
export function takeBatchNorm(weights, name, channels) {
  const { weight, bias } = weights.takeLayer(name, channels);
  const mean = weights.take(`${name}.running_mean`, channels);
  const variance = weights.take(`${name}.running_var`, channels);
  weights.takeIntegers(`${name}.num_batches_tracked`);
  const scale = Float64Array.from(weight, (value, channel) => value / Math.sqrt(variance[channel] + NORM_EPSILON));
  return { scale, shift: Float64Array.from(bias, (value, channel) => value - mean[channel] * scale[channel]) };
}

/**
 * Apply max pooling. Mirrors `torch.nn.MaxPool2d`.
 *
 * @param {FeatureMap} image - Input.
 * @param {number} kernel - Size of the window.
 * @param {number} padding - Padding, which no maximum counts.
 * @returns {FeatureMap} Output at stride 2.
 */
export function poolMax(image, kernel, padding) {
  const { channels } = image;
  const height = Math.floor((image.height + 2 * padding - kernel) / 2) + 1;
  const width = Math.floor((image.width + 2 * padding - kernel) / 2) + 1;
  const data = new Float32Array(height * width * channels).fill(Number.NEGATIVE_INFINITY);
  for (let place = 0; place < height * width; place++) {
    const top = Math.floor(place / width) * 2 - padding;
    const left = (place % width) * 2 - padding;
    for (let y = Math.max(0, top); y < Math.min(image.height, top + kernel); y++) {
      for (let x = Math.max(0, left); x < Math.min(image.width, left + kernel); x++) {
        const source = (y * image.width + x) * channels;
        for (let channel = 0; channel < channels; channel++) {
          const value = image.data[source + channel];
          if (value > data[place * channels + channel]) data[place * channels + channel] = value;
        }
      }
    }
  }
  return { data, height, width, channels };
}

/**
 * Replace negative features by 0, in place.
 *
 * @param {FeatureMap} image - Features.
 * @returns {FeatureMap} The same object.
 */
export function rectify(image) {
  for (let index = 0; index < image.data.length; index++) if (image.data[index] < 0) image.data[index] = 0;
  return image;
}
