/** Page without a server: models, inputs and views of the Think tab in one file. The engine runs in a Web Worker. */

import { findParts } from "../common/dom.js";
import { readPackedObject } from "../common/validate.js";
import { BrowserPipeline } from "../ctm/pipeline.js";
import { readDigitImages } from "../ctm/tasks/qamnist.js";
import { buildTask } from "../ctm/tasks/registry.js";
import { mount as mountHalting } from "../halting/offline.js";
import { mount as mountInside } from "../inside/index.js";
import { mount as mountProblem } from "../problem/index.js";
import { mount as mountTeleport } from "../teleport/index.js";
import { mount as mountThought } from "../thought/index.js";
import { InputArea } from "./inputs.js";
import { createWorkerFactory, readCheckpoints, readDigits, readFiles } from "./page-data.js";
import { PolicyChoice } from "./policies.js";
import { Slot } from "./slot.js";
import { describeVerification, verify } from "./verify.js";

/** The page. */
class Page {
  #parts = findParts(document.body, "page");
  #checkpoints = readCheckpoints();
  #createWorker = createWorkerFactory();
  #pipeline = null;
  #selections = 0; // selected checkpoints so far: one that loads late is dropped
  #abort = null; // controller of the prediction that runs
  #input;
  #policies;
  #thought;
  #halting;
  #problem;

  constructor() {
    const parts = this.#parts;
    this.#thought = new Slot(mountThought, parts.thought, (value) => {
      const { requested_policy: policy } = readPackedObject(value);
      if (!policy) return;
      this.#policies.select(policy); // a threshold was dragged
      this.#run();
    });
    globalThis.ctm = { inspect: (recordId, request) => this.#inspect(recordId, request) }; // the inside view asks here
    new Slot(mountInside, parts.inside);
    new Slot(mountTeleport, parts.teleport, ({ content }) => this.#runEdit(content));
    this.#problem = new Slot(mountProblem, parts.problem);
    this.#halting = new Slot(mountHalting, parts.halting, ({ policy }) => this.#policies.select(policy));
    this.#policies = new PolicyChoice(parts);
    this.#input = new InputArea(parts, { run: () => this.#run(), report: (error) => this.#report(error) });
    parts.checkpoint.addEventListener("change", () => this.#select());
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    parts.stop.addEventListener("click", () => this.#abort?.abort());
    parts.verify.addEventListener("click", () => this.#verify());
  }

  /** @returns {number} Index of the selected checkpoint. */
  get #index() {
    return this.#parts.checkpoint.selectedIndex;
  }

  /** @returns {import("./page-data.js").PageCheckpoint} The selected checkpoint. */
  get #checkpoint() {
    return this.#checkpoints[this.#index];
  }

  /** Show the first checkpoint. */
  start() {
    const { checkpoint, "checkpoint-field": field, main, loading } = this.#parts;
    checkpoint.replaceChildren(...this.#checkpoints.map(({ name }) => new Option(name)));
    field.hidden = this.#checkpoints.length === 1;
    loading.hidden = true;
    main.hidden = false;
    return this.#select();
  }

  /** Load the selected checkpoint and show what it needs. */
  async #select() {
    const [checkpoint, index] = [this.#checkpoint, this.#index];
    const { summary, verification, status } = this.#parts;
    this.#selections += 1;
    const selection = this.#selections;
    this.#abort?.abort();
    this.#pipeline?.close();
    this.#pipeline = null;
    this.#enable(false);
    status.textContent = "Loading the model …";
    summary.textContent = checkpoint.summary;
    verification.textContent = "";
    this.#thought.show({ selected: checkpoint.name });
    this.#problem.show({ selected: checkpoint.name });
    try {
      const pipeline = await this.#load(checkpoint, index);
      if (selection !== this.#selections) {
        pipeline.close();
        return;
      }
      this.#pipeline = pipeline;
      this.#halting.show(checkpoint.halting);
      this.#parts["halting-section"].hidden = pipeline.iterations === 1;
      this.#policies.offer(checkpoint, pipeline.iterations);
      await this.#input.accept(pipeline.task, checkpoint.examples);
      this.#enable(true);
    } catch (error) {
      this.#report(error);
    }
    if (selection === this.#selections) status.textContent = "";
  }

  async #load(checkpoint, index) {
    const digits = checkpoint.needs_digits ? await readDigits() : null;
    const digitImages = digits ? readDigitImages(digits) : null;
    return BrowserPipeline.load({
      name: checkpoint.name,
      files: readFiles(checkpoint, index),
      createWorker: this.#createWorker,
      digitImages: digits,
      accuracies: checkpoint.accuracies,
      guarantees: checkpoint.guarantees,
      buildTask: (metadata) => buildTask(metadata, { digitImages }),
    });
  }

  /** Run the model on the current input; a prediction that runs ends. */
  async #run() {
    this.#abort?.abort();
    if (!this.#pipeline) return;
    const controller = new AbortController();
    this.#abort = controller;
    this.#parts.stop.hidden = false;
    try {
      const onTick = ({ tick, budget, label }) => {
        if (this.#abort === controller) this.#parts.status.textContent = `Tick ${tick} of up to ${budget}: ${label}`;
      };
      const { signal } = controller;
      const options = { onTick, signal, continuesAfterHalt: true };
      const record = await this.#pipeline.run(await this.#input.read(), this.#policies.text, options);
      this.#problem.show({});
      this.#thought.show({ ...record, computed_by: "browser" });
    } catch (error) {
      if (!controller.signal.aborted) this.#report(error);
    } finally {
      if (this.#abort === controller) this.#finishRun();
    }
  }

  /** Run the model on a maze whose start was moved. */
  #runEdit(content) {
    this.#input.showEdit(content);
    this.#run();
  }

  /** Answer a request of the inside view about the last prediction. */
  async #inspect(recordId, request) {
    if (!this.#pipeline) throw new Error("The model is loading: run it again to look inside.");
    return this.#pipeline.inspect(recordId, request);
  }

  #finishRun() {
    this.#abort = null;
    this.#parts.stop.hidden = true;
    this.#parts.status.textContent = "";
  }

  /** Compare the engine of this browser with what Python computed. */
  async #verify() {
    const { verification, verify: button } = this.#parts;
    const [checkpoint, pipeline] = [this.#checkpoint, this.#pipeline];
    const files = readFiles(checkpoint, this.#index);
    const show = (text) => {
      if (pipeline === this.#pipeline) verification.textContent = text;
    };
    button.disabled = true;
    try {
      const result = await verify(pipeline, checkpoint.golden, files, this.#createWorker, (count) =>
        show(`${count} of ${checkpoint.golden.length} inputs …`),
      );
      show(describeVerification(result));
    } catch (error) {
      show(error.message);
    }
    button.disabled = !this.#pipeline;
  }

  #enable(isReady) {
    const { run, generate, verify: button } = this.#parts;
    for (const control of [run, generate, button]) control.disabled = !isReady;
  }

  #report(error) {
    this.#problem.show({ problem: error.message, checkpoint: this.#checkpoint.name });
  }
}

/** Follow the colour scheme of the system; components read the class that Gradio sets. */
function followColourScheme() {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark", query.matches);
  query.addEventListener("change", apply);
  apply();
}

followColourScheme();
new Page().start();
