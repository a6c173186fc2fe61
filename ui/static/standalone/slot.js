/** A component of the page without Gradio: it is mounted as Gradio mounts it, through `mount(element, props, trigger, watch)`. */

/** A mounted component and its value. */
export class Slot {
  #value = null;
  #updates = [];

  /**
   * Mount a component.
   *
   * @param {(element: HTMLElement, props: object, trigger: Function, watch: Function) => void} mount - See `createMount`.
   * @param {HTMLElement} element - Element that holds the template of the component.
   * @param {(value: unknown) => void} [onChange] - Called when the component writes its value.
   */
  constructor(mount, element, onChange = () => {}) {
    const slot = this;
    const props = {
      get value() {
        return slot.#value;
      },
      set value(value) {
        slot.#value = value;
        onChange(value);
      },
    };
    const trigger = () => {}; // events of components follow the value that they write
    const watch = (_, update) => this.#updates.push(update);
    mount(element, props, trigger, watch);
  }

  /** @returns {any} The current value. */
  get value() {
    return this.#value;
  }

  /**
   * Show a value.
   *
   * @param {unknown} value - The value.
   */
  show(value) {
    this.#value = value;
    for (const update of this.#updates) update();
  }
}
