/** Equations in MathML, which all current browsers draw without a library. */

const NAMESPACE = "http://www.w3.org/1998/Math/MathML";

/**
 * Create an element of an equation. Texts become identifiers, numbers or operators.
 *
 * @param {string} tag - Name of the element, without the leading "m": "row", "frac", "sub", "sup", "sqrt", "underover".
 * @param {...(Node | string | number)} children - Its parts.
 * @returns {Element} The element.
 */
export function math(tag, ...children) {
  const element = document.createElementNS(NAMESPACE, tag === "math" ? tag : `m${tag}`);
  element.append(...children.map((child) => (typeof child === "object" ? child : createToken(String(child)))));
  return element;
}

function createToken(text) {
  const isNumber = /^[−-]?[\d.,…]+(e[−-]?\d+)?$/.test(text);
  const isName = /^[\p{L}]+$/u.test(text);
  const element = document.createElementNS(NAMESPACE, isNumber ? "mn" : isName ? "mi" : "mo");
  element.textContent = text;
  return element;
}

/**
 * Create a displayed equation.
 *
 * @param {...(Node | string | number)} children - Its parts.
 * @returns {Element} The equation.
 */
export function equation(...children) {
  const element = math("math", math("row", ...children));
  element.setAttribute("display", "block");
  return element;
}
