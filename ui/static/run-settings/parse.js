/** Parsing the settings of a run, and which of them apply to the chosen architecture. */

import { readArray, readObject, readText } from "../common/validate.js";

const MAX_FIELDS = 500;
const FIELD_KINDS = ["whole", "number", "switch", "choice", "text"];
const SCHEDULED_BACKBONE = "qamnist_backbone"; // the only one with an input schedule, as in ctm/config.py

/**
 * @typedef {object} Field
 * @property {string} name - Dotted name of the setting.
 * @property {string} title - Name for users.
 * @property {string} help - Help text with the bounds.
 * @property {string} kind - "whole", "number", "switch", "choice" or "text".
 * @property {string[]} choices - Values of a choice.
 * @property {boolean} isOptional - Whether it may be empty.
 * @property {string} group - Name of its group.
 * @property {string[]} kinds - Architectures that have it; empty for all of them.
 * @property {boolean} isScheduled - Whether only the backbone with an input schedule has it.
 * @property {Record<string, unknown>} defaults - Default by architecture.
 *
 * @typedef {object} SettingsView
 * @property {string} source - Source of the settings.
 * @property {{name: string, title: string}[]} groups - Groups in order.
 * @property {Field[] | null} fields - Settings; null until they are asked for.
 * @property {Record<string, unknown>} values - Value of the source by name.
 * @property {Record<string, unknown>} changes - Changed values by name.
 * @property {{name: string, message: string}[]} errors - Errors of fields.
 * @property {string} problem - An error that no field caused.
 */

/**
 * Parse the value of the component.
 *
 * @param {unknown} value - The component's value.
 * @returns {SettingsView} What it shows.
 */
export function parseSettings(value) {
  const data = readObject(value);
  return {
    source: readText(data.source, 400),
    groups: readArray(data.groups, 20).map((group) => {
      const { name, title } = readObject(group);
      return { name: readText(name, 40), title: readText(title, 80) };
    }),
    fields: Array.isArray(data.fields) ? readArray(data.fields, MAX_FIELDS).map(parseField).filter(Boolean) : null,
    values: { ...readObject(data.values) },
    changes: { ...readObject(data.changes) },
    errors: readArray(data.errors, 50).map((error) => {
      const { name, message } = readObject(error);
      return { name: readText(name, 100), message: readText(message) };
    }),
    problem: readText(data.problem),
  };
}

function parseField(value) {
  const field = readObject(value);
  const name = readText(field.name, 100);
  if (!name || !FIELD_KINDS.includes(field.kind)) return null;
  return {
    name,
    title: readText(field.title, 100) || name,
    help: readText(field.help),
    kind: field.kind,
    choices: readArray(field.choices, 200).map((choice) => readText(choice, 100)),
    isOptional: field.is_optional === true,
    group: readText(field.group, 40),
    kinds: readArray(field.kinds, 10).map((kind) => readText(kind, 20)),
    isScheduled: field.is_scheduled === true,
    defaults: readObject(field.defaults),
  };
}

/**
 * Return the present value of a setting.
 *
 * @param {SettingsView} view - The settings.
 * @param {Field} field - The setting.
 * @returns {unknown} Its changed value, or that of the source, or the default of the chosen architecture.
 */
export function getValue(view, field) {
  if (field.name in view.changes) return view.changes[field.name];
  return view.values[field.name] ?? field.defaults[getModelKind(view)] ?? null;
}

function getModelKind({ values, changes }) {
  return readText(changes["model.kind"] ?? values["model.kind"], 20);
}

/**
 * Return whether a setting applies to the chosen architecture.
 *
 * @param {SettingsView} view - The settings.
 * @param {Field} field - The setting.
 * @returns {boolean} Whether models of this kind, with this backbone, have it.
 */
export function isApplicable(view, { kinds, isScheduled }) {
  const { values, changes } = view;
  if (kinds.length && !kinds.includes(getModelKind(view))) return false;
  return !isScheduled || (changes["model.backbone_type"] ?? values["model.backbone_type"]) === SCHEDULED_BACKBONE;
}

/**
 * Return whether a search finds a setting: every word occurs in its name, title or help.
 *
 * @param {Field} field - The setting.
 * @param {string} search - Words.
 * @returns {boolean} Whether it is found.
 */
export function isFound({ name, title, help }, search) {
  const text = `${name} ${title} ${help}`.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/**
 * Read a value from what was typed.
 *
 * @param {Field} field - The setting.
 * @param {string | boolean} input - Text of the control, or state of a checkbox.
 * @returns {unknown} A number, a text, a boolean, or null for an empty number; a text that is no number stays a text.
 */
export function readInput({ kind, isOptional }, input) {
  if (typeof input === "boolean") return input;
  const text = input.trim();
  if (kind === "choice" || kind === "text") return text || !isOptional ? text : null;
  if (!text) return null;
  return Number.isFinite(Number(text)) ? Number(text) : text;
}
