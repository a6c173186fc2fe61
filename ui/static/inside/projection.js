/**
 * Projection of the overview: one plane per tick, one behind the other, seen by a camera that turns around the plane of the tick that
 * is shown. Both renderers and the pointer use it; `renderer-gl.js` repeats `projectPoint` in its shader.
 */

export const CAMERA_DISTANCE = 4.5;
const RADIUS_SHARE = 0.4; // of the smaller side of the canvas
const MAX_SPACING = 0.35;
const MAX_LENGTH = 1.8;
const MAX_PITCH = 1.4;
export const DEFAULT_CAMERA = { yaw: -0.55, pitch: 0.28, zoom: 1 };

/**
 * @typedef {object} Camera
 * @property {number} yaw - Turn around the vertical axis, in radians.
 * @property {number} pitch - Turn around the horizontal axis, in radians.
 * @property {number} zoom - Enlargement.
 *
 * @typedef {object} View
 * @property {number} width - Width of the canvas in CSS pixels.
 * @property {number} height - Height of the canvas in CSS pixels.
 * @property {number} radius - Radius of a plane in pixels.
 * @property {number} spacing - Distance of two planes, in radii.
 * @property {number} tick - Index of the tick that is shown, from 0.
 * @property {number[]} rotation - Cosine and sine of yaw, then of pitch.
 */

/**
 * Build the view of a camera.
 *
 * @param {Camera} camera - The camera.
 * @param {{width: number, height: number}} size - Size of the canvas in CSS pixels.
 * @param {number} tick - Index of the tick that is shown, from 0.
 * @param {number} ticks - Number of ticks.
 * @returns {View} The view.
 */
export function buildView({ yaw, pitch, zoom }, { width, height }, tick, ticks) {
  return {
    width,
    height,
    radius: RADIUS_SHARE * Math.min(width, height) * zoom,
    spacing: Math.min(MAX_SPACING, MAX_LENGTH / ticks),
    tick,
    rotation: [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)],
  };
}

/**
 * Turn a camera.
 *
 * @param {Camera} camera - The camera.
 * @param {number} yaw - Further turn around the vertical axis.
 * @param {number} pitch - Further turn around the horizontal axis.
 * @returns {Camera} The turned camera.
 */
export function turnCamera(camera, yaw, pitch) {
  return { ...camera, yaw: camera.yaw + yaw, pitch: Math.max(-MAX_PITCH, Math.min(MAX_PITCH, camera.pitch + pitch)) };
}

/**
 * Project a point.
 *
 * @param {View} view - The view.
 * @param {number} x - First coordinate in its plane, -1 to 1.
 * @param {number} y - Second coordinate in its plane, -1 to 1.
 * @param {number} tick - Index of its plane.
 * @returns {{x: number, y: number, scale: number, depth: number}} Place in CSS pixels, enlargement by perspective, and distance from the
 *   middle, larger if it is farther away.
 */
export function projectPoint({ width, height, radius, spacing, tick: shown, rotation }, x, y, tick) {
  const [cosYaw, sinYaw, cosPitch, sinPitch] = rotation;
  const z = (tick - shown) * spacing;
  const turnedX = x * cosYaw + z * sinYaw;
  const turnedZ = z * cosYaw - x * sinYaw;
  const turnedY = y * cosPitch + turnedZ * sinPitch;
  const depth = turnedZ * cosPitch - y * sinPitch;
  const scale = CAMERA_DISTANCE / Math.max(0.5, CAMERA_DISTANCE + depth);
  return { x: width / 2 + turnedX * scale * radius, y: height / 2 - turnedY * scale * radius, scale, depth };
}

/**
 * Return the diameter of a neuron in pixels.
 *
 * @param {number} neurons - Number of neurons.
 * @param {number} radius - Radius of a plane in pixels.
 * @returns {number} Diameter of the largest activation.
 */
export function getDotSize(neurons, radius) {
  return Math.max(4, Math.min(22, (1.9 * radius) / Math.sqrt(neurons)));
}

/**
 * Find the neuron nearest to a point of the screen, in the plane of the tick that is shown.
 *
 * @param {View} view - The view.
 * @param {Float32Array} places - Places of the neurons, (D, 2).
 * @param {{x: number, y: number}} point - The point, in CSS pixels.
 * @param {number} maxDistance - Largest distance in pixels.
 * @returns {number} The neuron; -1 if none is near.
 */
export function findNeuronAt(view, places, point, maxDistance) {
  let best = -1;
  let bestDistance = maxDistance;
  for (let neuron = 0; neuron < places.length / 2; neuron++) {
    const { x, y } = projectPoint(view, places[2 * neuron], places[2 * neuron + 1], view.tick);
    const distance = Math.hypot(x - point.x, y - point.y);
    if (distance >= bestDistance) continue;
    best = neuron;
    bestDistance = distance;
  }
  return best;
}

/**
 * Find the line nearest to a point of the screen.
 *
 * @param {View} view - The view.
 * @param {Float32Array} places - Places of the neurons, (D, 2).
 * @param {{left: number, right: number, pair: number}[]} lines - The lines.
 * @param {{x: number, y: number}} point - The point, in CSS pixels.
 * @param {number} maxDistance - Largest distance in pixels.
 * @returns {number} The pair of the line; -1 if none is near.
 */
export function findLineAt(view, places, lines, point, maxDistance) {
  let best = -1;
  let bestDistance = maxDistance;
  for (const { left, right, pair } of lines) {
    const a = projectPoint(view, places[2 * left], places[2 * left + 1], view.tick);
    const b = projectPoint(view, places[2 * right], places[2 * right + 1], view.tick);
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const along = ((point.x - a.x) * dx + (point.y - a.y) * dy) / Math.max(1e-9, dx * dx + dy * dy);
    const share = Math.max(0, Math.min(1, along));
    const distance = Math.hypot(a.x + share * dx - point.x, a.y + share * dy - point.y);
    if (distance >= bestDistance) continue;
    best = pair;
    bestDistance = distance;
  }
  return best;
}
