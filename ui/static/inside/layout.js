/**
 * Places of neurons computed from one unroll, for a checkpoint without a layout. Mirrors `ctm.neuron_layout`, except that the
 * principal components come from power iteration.
 */

const NUM_POWER_STEPS = 200;
const NUM_RELAXATION_STEPS = 40;
const MIN_DISTANCE = 1.5;
const RELAXATION_RATE = 0.5;
const MAX_RELAXED = 1024; // more neurons would take seconds

/**
 * Compute the layout.
 *
 * @param {Float32Array} activations - Activations, (ticks, D).
 * @param {number} neurons - Number of neurons D.
 * @param {number} ticks - Number of ticks.
 * @returns {{order: number[], places: Float32Array}} Neurons along a circle, and their places in the unit disc, (D, 2).
 */
export function computeLayout(activations, neurons, ticks) {
  const rows = normaliseRows(activations, neurons, ticks);
  const components = findComponents(rows, neurons, ticks);
  const angles = Array.from({ length: neurons }, (_, neuron) =>
    Math.atan2(components[1][neuron], components[0][neuron]),
  );
  const radii = Array.from({ length: neurons }, (_, neuron) =>
    Math.hypot(components[0][neuron], components[1][neuron]),
  );
  const order = sortIndices(angles);
  const places = new Float32Array(2 * neurons);
  order.forEach((neuron, rank) => {
    places[2 * neuron] = (2 * Math.PI * rank) / neurons;
  });
  sortIndices(radii).forEach((neuron, rank) => {
    const radius = Math.sqrt((rank + 0.5) / neurons);
    const angle = places[2 * neuron];
    places.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * neuron);
  });
  if (neurons <= MAX_RELAXED) for (let step = 0; step < NUM_RELAXATION_STEPS; step++) relax(places, neurons);
  return { order, places };
}

function sortIndices(values) {
  return Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
}

/** Return the activations of every neuron with mean 0 and length 1, (D, ticks); zeros for a constant neuron. */
function normaliseRows(activations, neurons, ticks) {
  const rows = new Float64Array(neurons * ticks);
  for (let neuron = 0; neuron < neurons; neuron++) {
    let mean = 0;
    for (let tick = 0; tick < ticks; tick++) mean += activations[tick * neurons + neuron] / ticks;
    let length = 0;
    for (let tick = 0; tick < ticks; tick++) length += (activations[tick * neurons + neuron] - mean) ** 2;
    length = Math.sqrt(length);
    if (length <= 1e-9) continue;
    for (let tick = 0; tick < ticks; tick++) {
      rows[neuron * ticks + tick] = (activations[tick * neurons + neuron] - mean) / length;
    }
  }
  return rows;
}

/** Return the two largest principal components of the neurons; the largest entry of each is positive. */
function findComponents(rows, neurons, ticks) {
  const components = [];
  for (let index = 0; index < 2; index++) {
    let vector = Float64Array.from({ length: neurons }, (_, neuron) => Math.cos((index + 1) * neuron + 0.5));
    let size = 0;
    for (let step = 0; step < NUM_POWER_STEPS; step++) {
      for (const other of components) removeComponent(vector, other);
      vector = multiplyByCovariance(rows, vector, neurons, ticks);
      size = Math.hypot(...vector);
      if (size < 1e-12) break;
      vector = vector.map((value) => value / size);
    }
    for (const other of components) removeComponent(vector, other);
    const largest = vector.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    components.push({ vector: vector.map((value) => (largest < 0 ? -value : value)), size });
  }
  return components.map(({ vector, size }) => vector.map((value) => value * Math.sqrt(size)));
}

function removeComponent(vector, { vector: other }) {
  const share = vector.reduce((sum, value, index) => sum + value * other[index], 0);
  for (let index = 0; index < vector.length; index++) vector[index] -= share * other[index];
}

function multiplyByCovariance(rows, vector, neurons, ticks) {
  const byTick = new Float64Array(ticks);
  for (let neuron = 0; neuron < neurons; neuron++) {
    for (let tick = 0; tick < ticks; tick++) byTick[tick] += rows[neuron * ticks + tick] * vector[neuron];
  }
  return Float64Array.from(vector, (_, neuron) => {
    let sum = 0;
    for (let tick = 0; tick < ticks; tick++) sum += rows[neuron * ticks + tick] * byTick[tick];
    return sum;
  });
}

/** Move neurons apart that are too close, within the unit disc. */
function relax(places, neurons) {
  const minDistance = MIN_DISTANCE / Math.sqrt(neurons);
  const moves = new Float64Array(2 * neurons);
  for (let a = 0; a < neurons; a++) {
    for (let b = 0; b < a; b++) {
      const [x, y] = [places[2 * a] - places[2 * b], places[2 * a + 1] - places[2 * b + 1]];
      if (Math.abs(x) >= minDistance || Math.abs(y) >= minDistance) continue;
      const distance = Math.sqrt(x * x + y * y);
      const push = ((RELAXATION_RATE / 2) * Math.max(0, minDistance - distance)) / Math.max(distance, 1e-6);
      moves[2 * a] += push * x;
      moves[2 * a + 1] += push * y;
      moves[2 * b] -= push * x;
      moves[2 * b + 1] -= push * y;
    }
  }
  for (let neuron = 0; neuron < neurons; neuron++) {
    const [x, y] = [places[2 * neuron] + moves[2 * neuron], places[2 * neuron + 1] + moves[2 * neuron + 1]];
    const scale = Math.max(1, Math.hypot(x, y));
    places.set([x / scale, y / scale], 2 * neuron);
  }
}
