/** Side sheet with the details of a model: a column of the page that is shown above it as a dialog. */

const SHEET_ID = "model-sheet";
const LABEL = "Details of the model";
const FOCUSABLE = "button, [href], input, select, textarea, summary, [tabindex]:not([tabindex='-1'])";

function listFocusable(sheet) {
  return [...sheet.querySelectorAll(FOCUSABLE)].filter((element) => !element.disabled && element.offsetParent !== null);
}

/**
 * Return where Tab goes at the ends of a dialog.
 *
 * @param {unknown[]} elements - What can have the focus, in order.
 * @param {unknown} active - What has it.
 * @param {boolean} isBackward - Whether Shift is down.
 * @returns {unknown} The element at the other end; null where the browser moves the focus itself.
 */
export function findWrapTarget(elements, active, isBackward) {
  const [first, last] = [elements[0], elements.at(-1)];
  if (isBackward) return active === first ? (last ?? null) : null;
  return active === last ? (first ?? null) : null;
}

function keepFocus(event) {
  if (event.key !== "Tab") return;
  const target = findWrapTarget(listFocusable(event.currentTarget), document.activeElement, event.shiftKey);
  if (!target) return;
  event.preventDefault();
  target.focus();
}

/** Show the sheet and move the focus into it. Esc and a click beside it close it, and the focus returns. */
export function openSheet() {
  const sheet = document.getElementById(SHEET_ID);
  if (!sheet?.showPopover) return; // without popovers the column is part of the page
  if (!sheet.popover) {
    for (const [name, value] of [
      ["popover", "auto"],
      ["role", "dialog"],
      ["aria-modal", "true"],
      ["aria-label", LABEL],
    ]) {
      sheet.setAttribute(name, value);
    }
    sheet.addEventListener("keydown", keepFocus);
  }
  if (!sheet.matches(":popover-open")) sheet.showPopover();
  sheet.scrollTop = 0;
  listFocusable(sheet)[0]?.focus();
}
