/** Renderer of the overview with WebGL 2: neurons and lines are instanced quads. */

import { CAMERA_DISTANCE, getDotSize } from "./projection.js";
import { toUnitColour } from "./theme.js";

const PROJECT = `#version 300 es
precision highp float;
uniform vec4 rotation;
uniform vec2 size;
uniform float shown, spacing, radius, distance_;
vec4 project(vec2 place, float tick, out float scale) {
  float z = (tick - shown) * spacing;
  float x = place.x * rotation.x + z * rotation.y;
  float turned = z * rotation.x - place.x * rotation.y;
  float y = place.y * rotation.z + turned * rotation.w;
  float depth = turned * rotation.z - place.y * rotation.w;
  scale = distance_ / max(0.5, distance_ + depth);
  return vec4(2.0 * x * scale * radius / size.x, 2.0 * y * scale * radius / size.y, 0.0, 1.0);
}
`;
const DOT_VERTEX = `${PROJECT}
layout(location = 0) in vec2 corner;
layout(location = 1) in vec2 place;
layout(location = 2) in float value;
uniform float tick, dot_, largest;
out vec2 at;
out float share;
void main() {
  float scale;
  vec4 middle = project(place, tick, scale);
  share = clamp(value / largest, -1.0, 1.0);
  float diameter = max(2.0, dot_ * scale * sqrt(0.12 + 0.88 * abs(share)));
  at = corner;
  gl_Position = middle + vec4(corner * diameter / size, 0.0, 0.0);
}`;
const DOT_FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
in float share;
uniform vec3 negative, zero, positive, edge;
uniform float opacity;
out vec4 colour;
void main() {
  float radius = length(at);
  if (radius > 1.0) discard;
  vec3 end = share < 0.0 ? negative : positive;
  vec3 fill = mix(zero, end, abs(share));
  if (opacity < 1.0) colour = vec4(fill, 1.0) * opacity * (0.15 + 0.85 * abs(share));
  else colour = vec4(radius > 0.82 ? mix(fill, edge, 0.45) : fill, 1.0);
}`;
const LINE_VERTEX = `${PROJECT}
layout(location = 0) in vec2 corner;
layout(location = 1) in vec4 ends;
layout(location = 2) in float value;
uniform float tick, lineWidth;
out float share;
void main() {
  float scaleA, scaleB;
  vec2 a = project(ends.xy, tick, scaleA).xy * size;
  vec2 b = project(ends.zw, tick, scaleB).xy * size;
  vec2 along = b - a;
  vec2 across = length(along) > 0.0 ? vec2(-along.y, along.x) / length(along) : vec2(0.0);
  share = value;
  vec2 place = mix(a, b, corner.x * 0.5 + 0.5) + across * corner.y * max(1.0, lineWidth * abs(value));
  gl_Position = vec4(place / size, 0.0, 1.0);
}`;
const LINE_FRAGMENT = `#version 300 es
precision highp float;
in float share;
uniform vec3 negative, positive;
out vec4 colour;
void main() {
  colour = vec4(share < 0.0 ? negative : positive, 1.0) * (0.3 + 0.6 * abs(share));
}`;
const CORNERS = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);
const LINE_WIDTH = 5;
const OTHER_OPACITY = 0.25; // of the nearest plane besides the one that is shown
const FADING_TICKS = 5;

/** Draws with WebGL 2. */
export class GlRenderer {
  #gl;
  #programs;
  #buffers = {};
  #overview = null;

  /**
   * @param {HTMLCanvasElement} canvas - The canvas.
   * @throws {Error} The browser has no WebGL 2.
   */
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true });
    if (!gl) throw new Error("This browser has no WebGL 2.");
    this.canvas = canvas;
    this.#gl = gl;
    this.#programs = {
      dots: buildProgram(gl, DOT_VERTEX, DOT_FRAGMENT),
      lines: buildProgram(gl, LINE_VERTEX, LINE_FRAGMENT),
    };
    for (const name of ["corners", "places", "values", "ends", "shares"]) this.#buffers[name] = gl.createBuffer();
    this.#upload("corners", CORNERS);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /**
   * Take the activations of an unroll.
   *
   * @param {import("./data.js").Overview} overview - The overview.
   * @param {Float32Array} places - Places of the neurons, (D, 2).
   */
  setOverview(overview, places) {
    this.#overview = overview;
    this.#upload("places", places);
    this.#upload("values", Float32Array.from(overview.activations));
  }

  /**
   * Draw.
   *
   * @param {import("./projection.js").View} view - The view.
   * @param {import("./theme.js").InsideTheme} theme - The colours.
   * @param {{ends: Float32Array, shares: Float32Array}} lines - Ends (count, 4) and signed widths, -1 to 1, of the lines.
   * @param {number[]} order - Planes from the farthest to the nearest, without the one that is shown.
   */
  draw(view, theme, lines, order) {
    const gl = this.#gl;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(view.width * scale), Math.round(view.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const setDots = this.#use("dots", view, theme);
    gl.uniform1f(setDots("dot_"), getDotSize(this.#overview.neurons, view.radius));
    gl.uniform1f(setDots("largest"), this.#overview.largest);
    for (const tick of order) {
      const nearness = Math.exp(-Math.abs(tick - view.tick) / FADING_TICKS);
      gl.uniform1f(setDots("opacity"), OTHER_OPACITY * (0.2 + 0.8 * nearness));
      this.#drawPlane(setDots, tick);
    }
    this.#drawLines(view, theme, lines);
    const setShown = this.#use("dots", view, theme);
    gl.uniform1f(setShown("opacity"), 1);
    this.#drawPlane(setShown, view.tick);
  }

  #drawPlane(getUniform, tick) {
    const gl = this.#gl;
    const { neurons } = this.#overview;
    this.#bind("corners", 0, 2, 0);
    this.#bind("places", 1, 2, 1);
    this.#bind("values", 2, 1, 1, tick * neurons * Float32Array.BYTES_PER_ELEMENT);
    gl.uniform1f(getUniform("tick"), tick);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, neurons);
  }

  #drawLines(view, theme, { ends, shares }) {
    const gl = this.#gl;
    if (!shares.length) return;
    const getUniform = this.#use("lines", view, theme);
    this.#upload("ends", ends);
    this.#upload("shares", shares);
    this.#bind("corners", 0, 2, 0);
    this.#bind("ends", 1, 4, 1);
    this.#bind("shares", 2, 1, 1);
    gl.uniform1f(getUniform("tick"), view.tick);
    gl.uniform1f(getUniform("lineWidth"), LINE_WIDTH);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, shares.length);
  }

  /** Use a program with the uniforms of the view; returns a function that finds its other uniforms. */
  #use(name, view, theme) {
    const gl = this.#gl;
    const { program, locations } = this.#programs[name];
    gl.useProgram(program);
    const getUniform = (uniform) => {
      if (!locations.has(uniform)) locations.set(uniform, gl.getUniformLocation(program, uniform));
      return locations.get(uniform);
    };
    gl.uniform4fv(getUniform("rotation"), view.rotation);
    gl.uniform2f(getUniform("size"), view.width, view.height);
    for (const [uniform, value] of Object.entries({
      shown: view.tick,
      spacing: view.spacing,
      radius: view.radius,
      distance_: CAMERA_DISTANCE,
    })) {
      gl.uniform1f(getUniform(uniform), value);
    }
    for (const colour of ["negative", "zero", "positive"])
      gl.uniform3fv(getUniform(colour), toUnitColour(theme[colour]));
    gl.uniform3fv(getUniform("edge"), theme.isDark ? [0.85, 0.87, 0.9] : [0.3, 0.33, 0.38]);
    return getUniform;
  }

  #upload(name, values) {
    const gl = this.#gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  }

  #bind(name, location, size, divisor, offset = 0) {
    const gl = this.#gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#buffers[name]);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, gl.FLOAT, false, 0, offset);
    gl.vertexAttribDivisor(location, divisor);
  }

  /** Free the memory of the graphics card. */
  destroy() {
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function buildProgram(gl, vertexSource, fragmentSource) {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertexSource],
    [gl.FRAGMENT_SHADER, fragmentSource],
  ]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("The shaders of the view cannot be compiled.");
  return { program, locations: new Map() };
}
