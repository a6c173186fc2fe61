/**
 * Lets the menus of Gradio's dropdowns close when Tab leaves them.
 *
 * Gradio 6.31 opens a menu at every key except Escape, so Tab opens it again, over other controls. Here a Tab becomes an Escape
 * for the dropdown, while the browser moves the focus as usual. It must not move it into the menu, which scrolls and can therefore
 * be focused, because the menu is removed.
 */

/**
 * Return whether an event is a Tab in the text box of a menu.
 *
 * @param {{key: string, target: Element}} event - A keyboard event.
 * @returns {boolean} Whether it is.
 */
export function isLeavingMenu({ key, target }) {
  return key === "Tab" && target.getAttribute?.("role") === "combobox";
}

/**
 * Close menus that Tab leaves.
 *
 * @param {Document} root - The page.
 */
export function closeMenusOnTab(root) {
  const onKeyDown = (event) => {
    if (!isLeavingMenu(event)) return;
    event.stopImmediatePropagation();
    for (const menu of root.querySelectorAll('[role="listbox"]')) menu.tabIndex = -1;
    event.target.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  };
  root.addEventListener("keydown", onKeyDown, { capture: true });
}

if (globalThis.document) closeMenusOnTab(document);
