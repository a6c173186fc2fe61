/**
 * How a component starts.
 *
 * Gradio runs one line per rendered component, which imports the component's `index.js` and calls its `mount`. A new value may
 * arrive before the module does: `props` always has the newest one, so drawing once after setup is enough.
 */

/**
 * What Gradio passes to a component.
 *
 * @typedef {object} ComponentContext
 * @property {HTMLElement} element - Root of the component.
 * @property {{value: unknown}} props - Its properties; writing `value` sends it back to Gradio.
 * @property {(event: string, data?: unknown) => void} trigger - Raises an event of the component.
 */

/**
 * Create the `mount` function of a component. It sets up an element at most once, whatever happens around it.
 *
 * @param {(context: ComponentContext) => () => void} setUp - Adds listeners; returns a function that shows `props.value`.
 * @returns {(element: HTMLElement, props: object, trigger: Function, watch: Function) => void} The function that Gradio's line calls.
 */
export function createMount(setUp) {
  const mounted = new WeakSet();
  return function mount(element, props, trigger, watch) {
    if (mounted.has(element)) return;
    mounted.add(element);
    const update = setUp({ element, props, trigger });
    watch("value", update);
    update();
  };
}
