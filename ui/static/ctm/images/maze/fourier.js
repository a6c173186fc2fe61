/** Discrete Fourier transform of real values. */

/**
 * Return the magnitudes of the transform at the frequencies from 0 to one half. Mirrors `abs(np.fft.rfft(values, size))`.
 *
 * @param {ArrayLike<number>} values - At most `size` values; zeros follow them.
 * @param {number} size - Length of the transform, a power of two.
 * @returns {Float64Array} `size` / 2 + 1 magnitudes.
 */
export function computeSpectrum(values, size) {
  const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
  const bits = Math.log2(size);
  for (let index = 0; index < values.length; index++) real[reverseBits(index, bits)] = values[index];
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const angle = (-Math.PI * k) / half;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let even = k; even < size; even += 2 * half) {
        const odd = even + half;
        const x = real[odd] * cos - imaginary[odd] * sin;
        const y = real[odd] * sin + imaginary[odd] * cos;
        real[odd] = real[even] - x;
        imaginary[odd] = imaginary[even] - y;
        real[even] += x;
        imaginary[even] += y;
      }
    }
  }
  return Float64Array.from({ length: size / 2 + 1 }, (_, index) => Math.hypot(real[index], imaginary[index]));
}

function reverseBits(index, bits) {
  let reversed = 0;
  for (let bit = 0; bit < bits; bit++) reversed = (reversed << 1) | ((index >> bit) & 1);
  return reversed;
}
