/** Heat maps and pictures: one pixel a cell, drawn scaled. */

const PALE_COVER = 0.62; // opacity of the cover over ticks after the halting tick

/** Images of one record in one theme, built once. */
export class ImageCache {
  #images = new Map();

  /**
   * Return an image, built on first use.
   *
   * @param {string} name - Its name.
   * @param {number} columns - Its width in cells.
   * @param {number} rows - Its height in cells.
   * @param {(column: number, row: number) => ArrayLike<number>} getColour - [red, green, blue] from 0 to 255, and perhaps an opacity from 0 to 1.
   * @returns {HTMLCanvasElement} The image.
   */
  get(name, columns, rows, getColour) {
    if (!this.#images.has(name)) this.#images.set(name, buildImage(columns, rows, getColour));
    return this.#images.get(name);
  }
}

/**
 * Fill the pixels of an image.
 *
 * @param {Uint8ClampedArray} pixels - Red, green, blue and opacity of each cell, row by row; written to.
 * @param {number} columns - Its width in cells.
 * @param {number} rows - Its height in cells.
 * @param {(column: number, row: number) => ArrayLike<number>} getColour - See `ImageCache.get`.
 */
export function fillPixels(pixels, columns, rows, getColour) {
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at += 4) {
      const [red, green, blue, alpha = 1] = getColour(column, row);
      pixels.set([red, green, blue, alpha * 255], at);
    }
  }
}

/**
 * Build an image.
 *
 * @param {number} columns - Its width in cells.
 * @param {number} rows - Its height in cells.
 * @param {(column: number, row: number) => ArrayLike<number>} getColour - See `ImageCache.get`.
 * @returns {HTMLCanvasElement} The image.
 */
export function buildImage(columns, rows, getColour) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  fillPixels(image.data, columns, rows, getColour);
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw a heat map with ticks to the right, as far as the thought has been played, and frame the tick that is shown. Ticks after the
 * halting tick are pale.
 *
 * @param {import("../common/canvas.js").Painter} painter - Draws.
 * @param {import("./panel.js").ThoughtView} view - What is shown.
 * @param {HTMLCanvasElement} image - The heat map, one column a tick.
 * @param {{left: number, top: number, width: number, height: number}} box - Where it goes.
 */
export function drawHeatMap(painter, { thought, tick, isPlaying, theme }, image, box) {
  const { ticks, computedTicks } = thought;
  const step = box.width / computedTicks;
  const until = isPlaying ? tick : computedTicks;
  painter.context.drawImage(image, 0, 0, until, image.height, box.left, box.top, step * until, box.height);
  if (until > ticks) {
    const left = box.left + step * ticks;
    painter.fillRect(left, box.top, step * (until - ticks), box.height, theme.background, PALE_COVER);
    const edge = [
      [left, box.top],
      [left, box.top + box.height],
    ];
    painter.strokeLine(edge, theme.text, 1.5, [2, 3]);
  }
  painter.strokeRect(box.left, box.top, box.width, box.height, theme.line);
  painter.strokeRect(box.left + step * (tick - 1), box.top - 1, Math.max(step, 2), box.height + 2, theme.text, 1.5);
}

/**
 * Draw the input picture: with hard edges where its pixels are large, blended where they are tiny.
 *
 * @param {import("../common/canvas.js").Painter} painter - Draws.
 * @param {import("./panel.js").ThoughtView} view - What is shown; its input is a picture.
 * @param {number} left - Left edge.
 * @param {number} top - Upper edge.
 * @param {number} width - Its width.
 * @param {number | null} [square] - Number of the square to draw, where the picture is a strip of squares; null draws all of it.
 */
export function drawPicture(painter, { thought, images }, left, top, width, square = null) {
  const { width: columns, height: rows, channels, pixels } = thought.input;
  const image = images.get("picture", columns, rows, (column, row) => {
    const at = (row * columns + column) * channels;
    return channels === 3 ? pixels.subarray(at, at + 3) : [pixels[at], pixels[at], pixels[at]];
  });
  const from = square === null ? 0 : square * rows;
  const shownColumns = square === null ? columns : rows;
  painter.context.imageSmoothingEnabled = shownColumns * 3 > width;
  painter.context.drawImage(image, from, 0, shownColumns, rows, left, top, width, (width * rows) / shownColumns);
}
