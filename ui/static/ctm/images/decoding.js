/** Decoding of image files by the browser, such that equal pixels reach the tasks as in Python; see `pixels.js`. */

const OPTIONS = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };

/**
 * Decode an image file.
 *
 * @param {Blob} file - Its content.
 * @param {number} [maxPixels] - A larger image is reduced to as many pixels.
 * @returns {Promise<ImageData>} Its pixels.
 * @throws {DOMException} The browser cannot decode it.
 */
export async function decodeImage(file, maxPixels = Number.POSITIVE_INFINITY) {
  const bitmap = await createImageBitmap(file, OPTIONS);
  const scale = Math.min(1, Math.sqrt(maxPixels / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.floor(length * scale)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}
