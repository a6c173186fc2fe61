/**
 * Watching the size of a component and the theme of the page.
 *
 * Gradio does not say when it removes a component, so an observer disconnects itself when it runs for an element that has left
 * the page.
 */

function runWhileConnected(element, act) {
  return (_, observer) => {
    if (element.isConnected) act();
    else observer.disconnect();
  };
}

/**
 * Call a function when the size that matters has changed.
 *
 * @param {Element} element - Root of the component.
 * @param {() => string | number} readSize - Reads what matters. Changes that drawing itself causes must not be part of it.
 * @param {() => void} act - Called after a change.
 */
export function watchSize(element, readSize, act) {
  let lastSize;
  const check = () => {
    const size = readSize();
    if (size === lastSize) return;
    lastSize = size;
    act();
  };
  new ResizeObserver(runWhileConnected(element, check)).observe(element);
}

/**
 * Call a function when the page has changed between light and dark.
 *
 * @param {Element} element - Root of the component.
 * @param {() => void} act - Called after a change.
 */
export function watchTheme(element, act) {
  const observer = new MutationObserver(runWhileConnected(element, act));
  for (const page of [document.documentElement, document.body]) {
    observer.observe(page, { attributes: true, attributeFilter: ["class"] });
  }
}
