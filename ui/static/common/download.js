/** Saving a file that the page has made. */

import { createElement } from "./dom.js";

const URL_LIFETIME_MS = 1000; // browsers begin a download within it

/**
 * Save a file.
 *
 * @param {Blob} content - Its content.
 * @param {string} name - Its name.
 */
export function saveFile(content, name) {
  const url = URL.createObjectURL(content);
  createElement("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), URL_LIFETIME_MS);
}

/**
 * Build the name of a file from texts that may hold any characters.
 *
 * @param {unknown[]} parts - Its parts; empty ones are left out.
 * @param {string} extension - Its extension.
 * @returns {string} Such as "ctm-digits-tick-3.png".
 */
export function buildFileName(parts, extension) {
  const words = parts
    .map((part) => String(part ?? "").replace(/[^\w-]+/g, "-"))
    .map((word) => word.replace(/^-|-$/g, ""));
  return `${words.filter(Boolean).join("-").slice(0, 100)}.${extension}`;
}
