/** Buttons that share what the page shows: a link, a film, a picture, and code for another page. */

import { createElement, createSvgElement, findParts, setText } from "../common/dom.js";
import { buildFileName, saveFile } from "../common/download.js";
import { followShownUnroll } from "../common/shown-unroll.js";
import { readObject, readText } from "../common/validate.js";
import { parseRecord } from "../thought/parse-record.js";
import { buildEmbedCode, buildLink, describeReach } from "./embed.js";
import { AddressSync } from "./sync.js";

const NOTHING_TO_SHARE = "Run the model first: there is nothing to save yet.";
const LEFT_OUT = "The picture is not part of the link.";
const KINDS = ["text", "maze", "picture"];
const ARROW_DOWN = "M7 2h2v6h3l-4 4.5L4 8h3zM3 13h10v1.5H3z";

/** One mounted component. Its value names the selected checkpoint; what it asks the page for is in `request`. */
export class ShareComponent {
  #props;
  #trigger;
  #parts;
  #sync;
  #title = "";
  #model = "";
  #serial = 0;
  #recording = null; // controller of the film that is being recorded

  /** @param {import("../common/mount.js").ComponentContext} context - What Gradio passes. */
  constructor({ element, props, trigger }) {
    this.#props = props;
    this.#trigger = trigger;
    this.#parts = findParts(element, "share");
    const send = (request, events) => this.#send(request, events);
    this.#sync = new AddressSync({ element, send, report: (sentence) => this.#report(sentence) });
    this.#listen();
    followShownUnroll((unroll) => this.#place(element, unroll));
  }

  #listen() {
    const { copy, film, picture, embed, cancel, close, full, "copy-snippet": copySnippet, snippet } = this.#parts;
    copy.addEventListener("click", () => this.#copyLink());
    film.addEventListener("click", () => this.#saveFilm());
    picture.addEventListener("click", () => this.#saveStage());
    embed.addEventListener("click", () => this.#openDialog());
    cancel.addEventListener("click", () => this.#recording?.abort());
    close.addEventListener("click", () => this.#parts.dialog.close());
    copySnippet.addEventListener("click", async () => {
      const isCopied = await copyText(snippet.value);
      if (!isCopied) snippet.select();
      setText(this.#parts["dialog-status"], isCopied ? "Code copied." : "Copy the selected code.");
    });
    for (const event of ["focus", "pointerdown"]) {
      full.addEventListener(event, () => full.setAttribute("href", this.#buildLink()));
    }
  }

  /** Show the current value. */
  receive() {
    const value = readObject(this.#props.value);
    const selected = readText(value.selected, 400);
    if (!selected) return;
    const kind = KINDS.includes(value.kind) ? value.kind : "picture";
    const [first, defaultPolicy] = [readText(value.first, 400), readText(value.default_policy, 500)];
    this.#title = readText(value.title, 100);
    this.#model = selected;
    this.#sync.receive({ selected, first, kind, defaultPolicy });
    if (!value.problem) return;
    this.#report(`The link cannot be opened: ${readText(value.problem)}`);
    this.#sync.reject();
  }

  /** Ask the page for something. Each event has its own handler. */
  #send(request, events) {
    this.#serial += 1;
    const { problem: _, ...value } = readObject(this.#props.value);
    this.#props.value = { ...value, request: { ...request, serial: this.#serial } };
    for (const event of events) this.#trigger(event);
  }

  #report(sentence) {
    this.#parts["link-row"].hidden = true;
    setText(this.#parts.status, sentence);
  }

  /** @returns {import("../thought/parse-record.js").Thought | null} The complete thought that is shown; null for none. */
  #readThought() {
    const { record } = this.#sync;
    const thought = record && parseRecord(record);
    if (!thought || thought.isGrowing) {
      this.#report(thought ? "Wait until the model has stopped." : NOTHING_TO_SHARE);
      return null;
    }
    return thought;
  }

  // --- link and embed ---

  #buildLink(view = null) {
    return buildLink(location, this.#sync.describe().state, view);
  }

  async #copyLink() {
    const { isLeftOut } = this.#sync.describe();
    const link = this.#buildLink();
    const more = isLeftOut ? ` ${LEFT_OUT}` : "";
    if (await copyText(link)) {
      this.#report(`Link copied.${more}`);
      return;
    }
    this.#report(`This browser does not let the page copy. Copy the link below.${more}`);
    this.#parts["link-row"].hidden = false;
    this.#parts.link.value = link;
    this.#parts.link.select();
  }

  #openDialog() {
    const { dialog, snippet, reach, "dialog-status": status } = this.#parts;
    snippet.value = buildEmbedCode(this.#buildLink("stage"), this.#title || "Continuous Thought Machine");
    reach.textContent = [describeReach(location), this.#sync.describe().isLeftOut ? LEFT_OUT : ""].join(" ").trim();
    setText(status, "");
    dialog.showModal();
    dialog.addEventListener("close", () => this.#parts.embed.focus(), { once: true });
  }

  // --- films and pictures ---

  #getThoughtElement() {
    return document.querySelector("#thought");
  }

  #buildTitle() {
    return [this.#title, this.#model].filter(Boolean).join(" \u00b7 ");
  }

  async #saveFilm() {
    const thought = this.#recording ? null : this.#readThought();
    if (!thought) return;
    this.#recording = new AbortController();
    const { progress, bar, film: button } = this.#parts;
    progress.hidden = false;
    bar.value = 0;
    this.#report("Recording the film. Keep this tab in front.");
    const onProgress = (share) => {
      bar.value = share;
    };
    try {
      const { createFilm } = await import("./film/index.js");
      const options = { title: this.#buildTitle(), onProgress, signal: this.#recording.signal };
      const result = await createFilm(this.#getThoughtElement(), thought, options);
      if (result) saveFile(result.film, buildFileName(["ctm", this.#model], result.extension));
      this.#report(result ? "Film saved." : "Film cancelled.");
    } catch (error) {
      this.#report(error.message);
    }
    const hadFocus = document.activeElement === this.#parts.cancel;
    progress.hidden = true;
    if (hadFocus) button.focus();
    this.#recording = null;
  }

  async #saveStage() {
    const thought = this.#readThought();
    if (!thought) return;
    const { tick } = this.#sync;
    const { createStagePicture } = await import("./film/index.js");
    const options = { title: this.#buildTitle(), tick };
    const picture = await createStagePicture(this.#getThoughtElement(), thought, options);
    saveFile(picture, buildFileName(["ctm", this.#model, "tick", tick], "png"));
    this.#report("Picture saved.");
  }

  async #savePanel(panel) {
    const { createPanelPicture } = await import("./film/index.js");
    const picture = await createPanelPicture(this.#getThoughtElement(), panel);
    const title = panel.querySelector("h3").textContent.toLowerCase();
    saveFile(picture, buildFileName(["ctm", this.#model, title, "tick", this.#sync.tick], "png"));
    this.#report("Picture saved.");
  }

  /** Stand below the stage while there is one, and give each panel a button. */
  #place(element, unroll) {
    const { root } = this.#parts;
    const place = (unroll && this.#getThoughtElement()?.querySelector(".thought-controls")) || element;
    if (root.parentElement !== place) place.append(root);
    if (unroll) this.#addPanelButtons();
  }

  #addPanelButtons() {
    for (const panel of document.querySelectorAll("#thought .thought-panel")) {
      const heading = panel.querySelector("h3");
      let button = panel.querySelector(".share-panel-button");
      if (!button) {
        const icon = createSvgElement("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
        icon.append(createSvgElement("path", { d: ARROW_DOWN }));
        const attributes = { type: "button", class: "share-panel-button", title: "Save picture" };
        button = createElement("button", { ...attributes, click: () => this.#savePanel(panel) }, icon);
        heading.after(button);
      }
      button.setAttribute("aria-label", `Save picture: ${heading.textContent}`); // the heading follows the model
    }
  }
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // the page is not served over HTTPS, or the frame around it forbids it
  }
}
