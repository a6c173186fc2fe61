/** Marking the panels of the result that a step or a term is about. */

const MARK = "thought-explained";

/** Marks panels of the result. */
export class PanelMarks {
  #marked = [];

  /**
   * Mark the first panel that is shown; the mark before it goes.
   *
   * @param {string[]} names - Names of panels, the best one first; empty for no mark.
   * @returns {Element | null} The marked panel.
   */
  mark(names) {
    for (const panel of this.#marked) panel.classList.remove(MARK);
    const panel = findPanel(names);
    this.#marked = panel ? [panel] : [];
    panel?.classList.add(MARK);
    return panel;
  }
}

/**
 * Find the first panel that is shown.
 *
 * @param {string[]} names - Names of panels, the best one first.
 * @returns {Element | null} The panel.
 */
export function findPanel(names) {
  const panels = names.map((name) => document.querySelector(`#thought [data-thought="${name}-panel"]`));
  return panels.find((panel) => panel && !panel.hidden) ?? null;
}
