/** Building and finding elements. Texts are always set as text, never as markup. */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function setUp(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Create an HTML element.
 *
 * @param {string} tag - Name of the element.
 * @param {Record<string, unknown>} [attributes] - Attributes; functions are event listeners.
 * @param {...(Node | string)} children - Elements and texts.
 * @returns {HTMLElement} The element.
 */
export function createElement(tag, attributes = {}, ...children) {
  return setUp(document.createElement(tag), attributes, children);
}

/**
 * Create an SVG element.
 *
 * @param {string} tag - Name of the element.
 * @param {Record<string, unknown>} [attributes] - Attributes; functions are event listeners.
 * @param {...(Node | string)} children - Elements and texts.
 * @returns {SVGElement} The element.
 */
export function createSvgElement(tag, attributes = {}, ...children) {
  return setUp(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

/**
 * Create a button that does not submit a form.
 *
 * @param {Node | string} label - Its content.
 * @param {(event: Event) => void} onClick - Called when it is pressed.
 * @param {Record<string, unknown>} [attributes] - More attributes.
 * @returns {HTMLElement} The button.
 */
export function createButton(label, onClick, attributes = {}) {
  return createElement("button", { type: "button", click: onClick, ...attributes }, label);
}

/**
 * Find the parts of a component that carry a data attribute.
 *
 * @param {Element} root - Root of the component.
 * @param {string} name - Name of the attribute, without "data-".
 * @returns {Record<string, HTMLElement>} The parts by the value of the attribute.
 */
export function findParts(root, name) {
  const parts = {};
  for (const part of root.querySelectorAll(`[data-${name}]`)) parts[part.dataset[name]] = part;
  return parts;
}

/**
 * Set the text of an element if it differs, so that screen readers do not repeat it.
 *
 * @param {Element} element - The element.
 * @param {string} text - Its new text.
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return whether a keyboard event has a modifier that browsers use for shortcuts.
 *
 * @param {KeyboardEvent} event - The event.
 * @returns {boolean} Whether Ctrl, Meta or Alt is down.
 */
export function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey;
}
