/**
 * Completes parts of Gradio for screen readers and the keyboard.
 *
 * Gradio 6.31 renders an example picture as a button without a name, the search of a table as a field without a label, and code
 * that scrolls but cannot be focused. It renders them anew when their values change, so the page is observed.
 */

const EXAMPLE_LISTS = ".gallery";
const EXAMPLES = ":scope > button.gallery-item";
const TABLE_SEARCHES = "input.search-input";
const CODE = ".prose pre";

/**
 * Complete the parts of a page.
 *
 * @param {ParentNode} root - The page, or a part of it.
 */
export function completeParts(root) {
  for (const list of root.querySelectorAll(EXAMPLE_LISTS)) {
    const examples = [...list.querySelectorAll(EXAMPLES)];
    for (const [index, example] of examples.entries()) {
      if (!example.textContent.trim()) setLabel(example, `Example ${index + 1} of ${examples.length}`);
    }
  }
  for (const search of root.querySelectorAll(TABLE_SEARCHES)) setLabel(search, "Search in the table");
  for (const code of root.querySelectorAll(CODE)) code.tabIndex = 0;
}

function setLabel(element, label) {
  if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
}

/** Complete the parts now and whenever elements are added, at most once per frame. */
function observeParts() {
  let isScheduled = false;
  const update = () => {
    isScheduled = false;
    completeParts(document);
  };
  new MutationObserver(() => {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(update);
  }).observe(document.body, { childList: true, subtree: true });
  update();
}

if (globalThis.document) observeParts();
