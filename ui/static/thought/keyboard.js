/** Keys that move through the ticks, wherever the focus is, except in fields that need them. */

import { hasModifier } from "../common/dom.js";

/** Actions by key. @type {Record<string, string>} */
const ACTIONS = {
  ArrowLeft: "back",
  ArrowRight: "forward",
  Home: "first",
  End: "last",
  " ": "play",
  p: "certain",
  h: "halt",
};
const FIELDS =
  "input, textarea, select, [contenteditable], [role=listbox], [role=tab], [role=slider], [role=grid], canvas[tabindex]";
const LETTERS = /^[a-z]$/;

/**
 * Return what a key does to the thought.
 *
 * @param {KeyboardEvent} event - The event.
 * @param {Element} root - The component.
 * @returns {string | null} The action; null if the key belongs to what has the focus.
 */
export function findKeyAction(event, root) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = Object.hasOwn(ACTIONS, key) ? ACTIONS[key] : null;
  const { target } = event;
  if (!action || event.defaultPrevented || hasModifier(event)) return null;
  if (target.matches?.("input[type=range]") && root.contains(target))
    return LETTERS.test(key) || key === " " ? action : null;
  if (target.closest?.(FIELDS)) return null;
  if (key === " " && target.closest?.("button, a, summary")) return null;
  return action;
}
