/** Code that shows the stage in another page. */

import { writeAddress } from "../common/address.js";

const SIZE = { width: 900, height: 720 };
const ESCAPES = { "&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;" };
const LOCAL_HOST = /^(localhost|127\.|\[::1\]|192\.168\.|10\.)/;

/**
 * Build the link to a state.
 *
 * @param {{origin: string, pathname: string}} location - Address of the page.
 * @param {import("../common/address.js").AddressState} state - The state.
 * @param {string | null} [view] - "stage" for the stage alone.
 * @returns {string} The address. Parameters of the present address are left out: they may belong to the visitor's session.
 */
export function buildLink({ origin, pathname }, state, view = null) {
  return `${origin}${pathname}${writeAddress("", state, view)}`;
}

/**
 * Build the code that embeds an address.
 *
 * @param {string} link - The address.
 * @param {string} title - Title of the frame, for screen readers.
 * @returns {string} One element.
 */
export function buildEmbedCode(link, title) {
  const escapeText = (text) => text.replace(/[&"<>]/g, (character) => ESCAPES[character]);
  const size = `width="${SIZE.width}" height="${SIZE.height}"`;
  return `<iframe src="${escapeText(link)}" title="${escapeText(title)}" ${size} loading="lazy" style="border: 0; max-width: 100%"></iframe>`;
}

/**
 * Describe who can open an address.
 *
 * @param {{host: string}} location - Address of the page.
 * @returns {string} A sentence; empty for an address of the internet.
 */
export function describeReach({ host }) {
  return LOCAL_HOST.test(host) ? `Only this computer or network can open ${host}: others see an empty frame.` : "";
}
