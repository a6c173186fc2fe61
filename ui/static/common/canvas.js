/** Drawing on a canvas in CSS pixels and in the colours of the page. */

const ELLIPSIS = "\u2026";
const FULL_TURN = 2 * Math.PI;

/**
 * Shorten a text until it fits.
 *
 * @param {string} text - The text.
 * @param {number} maxWidth - The room in pixels.
 * @param {(text: string) => number} measure - Measures a text in pixels.
 * @returns {string} The text, or its beginning and an ellipsis.
 */
export function shortenText(text, maxWidth, measure) {
  if (maxWidth === Number.POSITIVE_INFINITY || measure(text) <= maxWidth) return text;
  let beginning = text;
  while (beginning && measure(beginning + ELLIPSIS) > maxWidth) beginning = beginning.slice(0, -1);
  return beginning + ELLIPSIS;
}

/** A cleared canvas, ready to be drawn on. The canvas element itself is kept, so nothing flickers. */
export class Painter {
  /**
   * Clear a canvas and fit its resolution to its size on screen.
   *
   * @param {HTMLCanvasElement} canvas - The canvas.
   * @param {import("./theme.js").Theme} theme - Colours and font.
   * @param {number} [height] - Its new height in CSS pixels; without, it stays as high as it is.
   */
  constructor(canvas, theme, height) {
    const scale = window.devicePixelRatio || 1;
    this.theme = theme;
    this.width = canvas.clientWidth;
    this.height = height ?? canvas.clientHeight;
    const size = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    if (height !== undefined) canvas.style.height = `${height}px`;
    this.context = canvas.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.clearRect(0, 0, this.width, this.height);
    this.context.imageSmoothingEnabled = false;
  }

  /**
   * Draw with an opacity; opacities multiply where calls are nested.
   *
   * @param {number} alpha - Opacity, 0 to 1.
   * @param {() => void} draw - Draws.
   */
  withAlpha(alpha, draw) {
    const { context } = this;
    const before = context.globalAlpha;
    context.globalAlpha = before * alpha;
    draw();
    context.globalAlpha = before;
  }

  /**
   * Draw a line through points.
   *
   * @param {number[][]} points - [x, y] each.
   * @param {string} colour - Its colour.
   * @param {number} [width] - Its width in pixels.
   * @param {number[]} [dash] - Lengths of dashes and gaps in pixels.
   */
  strokeLine(points, colour, width = 1, dash = []) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.beginPath();
    points.forEach(([x, y], index) => {
      if (index) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
    context.stroke();
    context.setLineDash([]);
  }

  /**
   * Fill a rectangle.
   *
   * @param {number} left - Left edge.
   * @param {number} top - Upper edge.
   * @param {number} width - Its width.
   * @param {number} height - Its height.
   * @param {string} colour - Its colour.
   * @param {number} [alpha] - Opacity, 0 to 1.
   */
  fillRect(left, top, width, height, colour, alpha = 1) {
    this.context.fillStyle = colour;
    this.withAlpha(alpha, () => this.context.fillRect(left, top, width, height));
  }

  /**
   * Draw the edges of a rectangle.
   *
   * @param {number} left - Left edge.
   * @param {number} top - Upper edge.
   * @param {number} width - Its width.
   * @param {number} height - Its height.
   * @param {string} colour - Its colour.
   * @param {number} [lineWidth] - Width of its edges.
   */
  strokeRect(left, top, width, height, colour, lineWidth = 1) {
    this.context.strokeStyle = colour;
    this.context.lineWidth = lineWidth;
    this.context.strokeRect(left, top, width, height);
  }

  /**
   * Draw the cell of a table: filled, with a thin edge inside.
   *
   * @param {number} left - Left edge.
   * @param {number} top - Upper edge.
   * @param {number} width - Its width.
   * @param {number} height - Its height.
   * @param {string} colour - Its colour.
   */
  drawCell(left, top, width, height, colour) {
    this.context.fillStyle = colour;
    this.context.fillRect(left, top, width, height);
    this.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1, this.theme.line);
  }

  /**
   * Fill a disc.
   *
   * @param {number[]} centre - [x, y].
   * @param {number} radius - Its radius.
   * @param {string} colour - Its colour.
   * @param {string | null} [outline] - Colour of a thin edge.
   */
  fillDisc([x, y], radius, colour, outline = null) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, FULL_TURN);
    context.fillStyle = colour;
    context.fill();
    if (!outline) return;
    context.strokeStyle = outline;
    context.lineWidth = 1.5;
    context.stroke();
  }

  /**
   * Draw a circle.
   *
   * @param {number[]} centre - [x, y].
   * @param {number} radius - Its radius.
   * @param {string} colour - Its colour.
   * @param {number} [width] - Width of its line.
   * @param {number[]} [dash] - Lengths of dashes and gaps.
   */
  strokeCircle([x, y], radius, colour, width = 2.5, dash = []) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, FULL_TURN);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  /**
   * Measure a text.
   *
   * @param {string} text - The text.
   * @param {number} [size] - Font size in pixels.
   * @param {number} [weight] - Font weight.
   * @returns {number} Its width in pixels.
   */
  measureText(text, size = 12, weight = 400) {
    return measureText(this.context, this.theme, text, size, weight);
  }

  /**
   * Draw a text, centred at its height.
   *
   * @param {string} text - The text.
   * @param {number} x - Where it is aligned.
   * @param {number} y - Its middle.
   * @param {object} [style] - How it looks.
   * @param {number} [style.size] - Font size in pixels.
   * @param {"left" | "center" | "right"} [style.align] - Where `x` is.
   * @param {string} [style.colour] - Its colour.
   * @param {number} [style.weight] - Font weight.
   * @param {number} [style.maxWidth] - Room in pixels; a longer text is shortened.
   * @param {boolean} [style.halo] - Whether it has a halo in the colour of the background.
   */
  drawText(text, x, y, style = {}) {
    const { size = 12, align = "left", colour = this.theme.text, weight = 400, halo = false } = style;
    const { context } = this;
    context.font = `${weight} ${size}px ${this.theme.font}`;
    context.textAlign = align;
    context.textBaseline = "middle";
    const maxWidth = style.maxWidth ?? Number.POSITIVE_INFINITY;
    const shown = shortenText(text, maxWidth, (part) => context.measureText(part).width);
    if (halo) {
      context.strokeStyle = this.theme.background;
      context.lineWidth = 4;
      context.lineJoin = "round";
      this.withAlpha(0.75, () => context.strokeText(shown, x, y));
    }
    context.fillStyle = colour;
    context.fillText(shown, x, y);
  }
}

/**
 * Measure a text before a canvas is cleared for drawing.
 *
 * @param {CanvasRenderingContext2D} context - Context of any canvas.
 * @param {import("./theme.js").Theme} theme - The font.
 * @param {string} text - The text.
 * @param {number} size - Font size in pixels.
 * @param {number} weight - Font weight.
 * @returns {number} Its width in pixels.
 */
export function measureText(context, theme, text, size, weight) {
  context.font = `${weight} ${size}px ${theme.font}`;
  return context.measureText(text).width;
}
