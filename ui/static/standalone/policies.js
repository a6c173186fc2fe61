/** Choice of the halting policy: those of the checkpoint, or any as text. */

import { createElement } from "../common/dom.js";

const CUSTOM = "";
const CUSTOM_LABEL = "Custom rule";
const CUSTOM_DESCRIPTION = "Type a rule below. No accuracy estimate available.";

/** Dropdown of policies, the text of the chosen one, and what is known of it. */
export class PolicyChoice {
  #parts;
  #policies = [];

  /** @param {Record<string, HTMLElement>} parts - Elements `policy`, `rule` and `evidence`, and `policies` around them. */
  constructor(parts) {
    this.#parts = parts;
    parts.policy.addEventListener("change", () => this.#choose());
    parts.rule.addEventListener("input", () => this.#describe());
  }

  /** @returns {string} The policy as text. */
  get text() {
    return this.#parts.rule.value.trim();
  }

  /**
   * Offer the policies of a checkpoint, and select its default.
   *
   * @param {import("./page-data.js").PageCheckpoint} checkpoint - The checkpoint.
   * @param {number} iterations - Its maximum number of ticks; a model with one tick has no choice.
   */
  offer({ policies }, iterations) {
    const { policy, policies: section } = this.#parts;
    this.#policies = policies;
    const choices = [...policies, { policy: CUSTOM, name: CUSTOM_LABEL }];
    policy.replaceChildren(...choices.map(({ policy: value, name }) => createElement("option", { value }, name)));
    section.hidden = iterations === 1;
    this.select(policies[0].policy);
  }

  /**
   * Select a policy.
   *
   * @param {string} text - The policy as text.
   */
  select(text) {
    this.#parts.rule.value = text;
    this.#describe();
  }

  #choose() {
    const { policy, rule } = this.#parts;
    if (policy.value !== CUSTOM) this.select(policy.value);
    else {
      this.#parts.evidence.textContent = CUSTOM_DESCRIPTION;
      rule.focus();
    }
  }

  #describe() {
    const { policy, evidence } = this.#parts;
    const chosen = this.#policies.find((option) => option.policy === this.text);
    policy.value = chosen?.policy ?? CUSTOM;
    evidence.textContent = chosen?.description ?? CUSTOM_DESCRIPTION;
  }
}
