/** What a prediction can be compared with, and the choices that one button makes. */

import { readArray, readObject, readText } from "../common/validate.js";

const MAX_CHOICES = 60;
const MODEL_NAMES = { ctm: "CTM", lstm: "LSTM", ff: "feed-forward model" };

/** Most choices that are compared with a prediction at once. */
export const MAX_CHOSEN = 3;

/**
 * @typedef {object} Choice
 * @property {string} value - Its value for the server.
 * @property {string} name - Its name for the visitor.
 * @property {string} policy - Halting policy of another rule; empty for a model, which uses its default.
 * @property {string} model - Type of another model: "ctm", "lstm" or "ff"; empty for another rule.
 * @property {boolean} isBaseline - Whether the model answers the same task with the same settings.
 */

/**
 * Parse the choices of a checkpoint.
 *
 * @param {unknown} value - Choices as the server lists them.
 * @returns {Choice[]} The choices.
 */
export function parseChoices(value) {
  return readArray(value, MAX_CHOICES).map((item) => {
    const choice = readObject(item);
    return {
      value: readText(choice.value, 600),
      name: readText(choice.name, 300),
      policy: readText(choice.policy, 500),
      model: readText(choice.model, 20),
      isBaseline: choice.is_baseline === true,
    };
  });
}

/**
 * Select the models that one button compares with: one of each type.
 *
 * @param {Choice[]} choices - All choices.
 * @returns {Choice[]} The models.
 */
export function selectBaselines(choices) {
  const types = Object.keys(MODEL_NAMES);
  return types.flatMap((type) => choices.find(({ model, isBaseline }) => isBaseline && model === type) ?? []);
}

/**
 * Select the rules that one button compares with, among those that the prediction did not use: the first ones and the last one, which
 * differs most from the default.
 *
 * @param {Choice[]} choices - All choices.
 * @param {string} policy - Policy of the prediction.
 * @returns {Choice[]} The rules.
 */
export function selectRules(choices, policy) {
  const others = choices.filter((choice) => choice.policy && choice.policy !== policy);
  return others.length <= MAX_CHOSEN ? others : [...others.slice(0, MAX_CHOSEN - 1), others.at(-1)];
}

/**
 * Name models for a button.
 *
 * @param {Choice[]} models - The models.
 * @returns {string} Such as "with the LSTM and the feed-forward model".
 */
export function describeBaselines(models) {
  const names = models.map(({ model }) => `the ${MODEL_NAMES[model]}`);
  const last = names.pop();
  return names.length ? `with ${names.join(", ")} and ${last}` : `with ${last}`;
}
