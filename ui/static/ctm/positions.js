/** Positional encodings that are added to the features of a backbone. Mirrors `ctm.modules.positional_encoding`. */

import { applyGlu, applyLayerNorm, applyLinear } from "./linear-algebra.js";

const FOURIER_FEATURES = 256;
const FOURIER_HIDDEN = 128;
const NUM_FOURIER_CODES = 10;

/**
 * Build the positional encoding of a config.
 *
 * @param {string} type - `positional_embedding_type` of the config.
 * @param {number} channels - Channels of the features.
 * @param {import("./weights.js").WeightReader} weights - Weights of the checkpoint.
 * @returns {((features: import("./backbones.js").Features) => void) | null} Adds the encoding to features, in place; null for none.
 */
export function makePositions(type, channels, weights) {
  const name = "positional_embedding";
  if (type === "learnable-fourier") return makeFourier(weights, name, channels);
  if (type === "multi-learnable-fourier") return makeMultiFourier(weights, name, channels);
  if (type === "custom-rotational") {
    const vector = weights.take(`${name}.start_vector`, 2);
    const layer = weights.takeLayer(`${name}.projection.0`, channels, 4);
    return makeRotational(layer, channels, ([height, width]) => {
      const [rows, columns] = [computeRotations(height, vector), computeRotations(width, vector)];
      return (place) => [...rows[Math.floor(place / width)], ...columns[place % width]];
    });
  }
  if (type === "custom-rotational-1d") {
    const layer = weights.takeLayer(`${name}.projection`, channels, 2);
    return makeRotational(layer, channels, ([length]) => {
      const rotations = computeRotations(length, [0, 1]);
      return (place) => rotations[place];
    });
  }
  return null;
}

/** Return a function that adds the projection of the angles of every place. */
function makeRotational({ weight, bias }, channels, prepare) {
  const code = new Float32Array(channels);
  return ({ data, places }) => {
    const getAngles = prepare(places);
    for (let start = 0; start < data.length; start += channels) {
      applyLinear(weight, bias, Float32Array.from(getAngles(start / channels)), code);
      for (let index = 0; index < channels; index++) data[start + index] += code[index];
    }
  };
}

/** Return a vector, rotated by equally spaced angles from 0 to 180 degrees. */
function computeRotations(steps, [x, y]) {
  return Array.from({ length: steps }, (_, index) => {
    const angle = steps > 1 ? (Math.PI * index) / (steps - 1) : 0;
    return [Math.cos(angle) * x - Math.sin(angle) * y, Math.sin(angle) * x + Math.cos(angle) * y];
  });
}

/** Return a function that adds a learned mixture of Fourier encodings. */
function makeMultiFourier(weights, name, channels) {
  const combination = weights.take(`${name}.combination`, NUM_FOURIER_CODES);
  const largest = Math.max(...combination);
  const shares = Array.from(combination, (value) => Math.exp(value - largest));
  const total = shares.reduce((sum, share) => sum + share, 0);
  const codes = shares.map((share, index) =>
    makeFourier(weights, `${name}.embedders.${index}`, channels, share / total),
  );
  return (features) => {
    for (const add of codes) add(features);
  };
}

/** Return a function that adds Fourier features of the coordinates, mapped by a small gated network. */
function makeFourier(weights, name, channels, share = 1) {
  const waves = weights.take(`${name}.Wr.weight`, FOURIER_FEATURES / 2, 2);
  const first = weights.takeLayer(`${name}.mlp.0`, FOURIER_HIDDEN, FOURIER_FEATURES);
  const second = weights.takeLayer(`${name}.mlp.2`, channels, FOURIER_HIDDEN / 2);
  const norm = weights.takeLayer(`${name}.mlp.3`, channels);
  const angles = new Float32Array(FOURIER_FEATURES);
  const hidden = new Float32Array(FOURIER_HIDDEN);
  const code = new Float32Array(channels);
  return ({ data, places: [height, width] }) => {
    for (let place = 0; place < height * width; place++) {
      const x = (place % width) / Math.max(width - 1, 1);
      const y = Math.floor(place / width) / Math.max(height - 1, 1);
      for (let wave = 0; wave < FOURIER_FEATURES / 2; wave++) {
        const angle = waves[2 * wave] * x + waves[2 * wave + 1] * y;
        angles[wave] = Math.cos(angle) / Math.sqrt(FOURIER_FEATURES);
        angles[FOURIER_FEATURES / 2 + wave] = Math.sin(angle) / Math.sqrt(FOURIER_FEATURES);
      }
      applyLinear(first.weight, first.bias, angles, hidden);
      const gated = hidden.subarray(0, FOURIER_HIDDEN / 2);
      applyGlu(hidden, gated);
      applyLinear(second.weight, second.bias, gated, code);
      applyLayerNorm(code, 0, norm, code);
      for (let index = 0; index < channels; index++) data[place * channels + index] += share * code[index];
    }
  };
}
