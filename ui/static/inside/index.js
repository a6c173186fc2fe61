/** Component: "Look inside" of the unroll that the page shows. Its data is fetched when the view is opened. */

import { createMount } from "../common/mount.js";
import { watchSize } from "../common/observe.js";
import { followShownUnroll } from "../common/shown-unroll.js";
import { readObject } from "../common/validate.js";
import { mountInside } from "./component.js";
import { createSource, ServerRequests } from "./sources.js";

export const mount = createMount(({ element, props, trigger }) => {
  const requests = new ServerRequests((message) => {
    props.value = message;
    trigger("input");
  });
  const view = mountInside(element.querySelector("[data-inside=root]"), null, {});
  let shown = null; // what the page shows
  let loaded = null; // what the view shows
  let tick = 1;
  const load = () => {
    if (loaded?.id === shown?.id || !element.clientWidth) return;
    loaded = shown;
    const ask = shown?.isFromBrowser
      ? (request) => globalThis.ctm.inspect(loaded.id, request)
      : (request) => requests.ask(loaded.id, request);
    view.setSource(shown && createSource(ask), tick);
  };
  const unfollow = followShownUnroll((unroll, shownTick) => {
    if (!element.isConnected && shown) {
      unfollow();
      view.destroy();
      return;
    }
    shown = unroll;
    tick = shownTick;
    if (loaded?.id === shown?.id) view.setTick(tick);
    else load();
  });
  watchSize(element, () => element.clientWidth > 0, load);
  return () => requests.receive(readObject(props.value));
});
