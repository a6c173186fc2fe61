/** Parser of halting policies, such as `energy<-3|ticks=12`. Mirrors `inference.halting.policy_parser`, error by error. */

import { AllOf, AnyOf, EnergyConverged, FixedTicks, LabelsEmitted, SameAnswer } from "./policies.js";
import { truncateRepr } from "./python-format.js";
import { PerClassThreshold, THRESHOLD_POLICIES } from "./threshold-policies.js";

const DIGIT = /\p{Nd}/u;
const NUMBER = "[+-]?(?:\\p{Nd}+\\.?\\p{Nd}*|\\.\\p{Nd}+)(?:e[+-]?\\p{Nd}+)?";
const THRESHOLD_PATTERN = new RegExp(`^([a-z.]+[<>])(?:(${NUMBER})|\\[(${NUMBER}(?:,${NUMBER})*)\\])$`, "u");
const CONVERGED_PATTERN = new RegExp(`^converged<(${NUMBER})(?:x(\\p{Nd}{1,6}))?$`, "u");
const COUNT_PATTERN = /^(ticks|same|said)=(\p{Nd}{1,6})$/u;
const COUNT_POLICIES = { ticks: FixedTicks, same: SameAnswer, said: LabelsEmitted };
const EXAMPLES =
  "ticks=12, certainty>0.9, certainty.min>0.9, margin>0.5, probability>0.9, change<0.0005, energy<-3, converged<0.01x3, " +
  "same=4, said=10";
const MAX_NESTING_DEPTH = 8;
const MAX_POLICY_LENGTH = 500;

/**
 * Parse a halting policy.
 *
 * @param {string} input - The policy, as printed or as typed; spaces and upper case do not matter.
 * @returns {import("./policy-base.js").HaltingPolicy} The policy.
 * @throws {Error} The text is not a policy; the message says which part, and what is accepted.
 */
export function parsePolicy(input) {
  const text = removeSpaces(String(input)).toLowerCase().replaceAll("\u2212", "-");
  if (!text) throw new Error("A policy is empty; write for example energy<-3, certainty>0.9 or ticks=12.");
  checkLength(text);
  const policy = parseAnyOf(text, 0);
  checkLength(String(policy)); // the printed form may be longer: .5 is printed as 0.5
  return policy;
}

/** Remove the characters that Python counts as spaces: four separators and a line end more than JavaScript, one mark less. */
function removeSpaces(text) {
  const isSpace = (character) =>
    character !== "\ufeff" &&
    (/\s/.test(character) || (character >= "\x1c" && character <= "\x1f") || character === "\x85");
  return Array.from(text)
    .filter((character) => !isSpace(character))
    .join("");
}

function checkLength(text) {
  const length = text.length > MAX_POLICY_LENGTH ? Array.from(text).length : text.length;
  if (length > MAX_POLICY_LENGTH)
    throw new Error(`A policy has at most ${MAX_POLICY_LENGTH} characters, got ${length}.`);
}

/** Parse alternatives separated by `|`. */
function parseAnyOf(text, depth) {
  if (depth > MAX_NESTING_DEPTH)
    throw new Error(`A policy has at most ${MAX_NESTING_DEPTH} brackets inside each other.`);
  const choices = splitOutsideBrackets(text, "|").map((part) => parseAllOf(part, depth));
  return choices.length === 1 ? choices[0] : new AnyOf(choices);
}

/** Parse conditions separated by `&`. */
function parseAllOf(text, depth) {
  const parts = splitOutsideBrackets(text, "&").map((part) => parseSingle(part, depth));
  return parts.length === 1 ? parts[0] : new AllOf(parts);
}

/** Parse a policy in brackets or a single policy. */
function parseSingle(text, depth) {
  if (!text) throw new Error("A rule is missing next to | or &, or inside brackets.");
  if (text.startsWith("(") && text.endsWith(")")) return parseAnyOf(text.slice(1, -1), depth + 1);
  const threshold = THRESHOLD_PATTERN.exec(text);
  if (threshold && Object.hasOwn(THRESHOLD_POLICIES, threshold[1])) {
    const make = THRESHOLD_POLICIES[threshold[1]];
    if (threshold[2]) return make(parseNumber(threshold[2]));
    return new PerClassThreshold(make(0), threshold[3].split(",").map(parseNumber));
  }
  const count = COUNT_PATTERN.exec(text);
  if (count) return new COUNT_POLICIES[count[1]](Number(toAsciiDigits(count[2])));
  const converged = CONVERGED_PATTERN.exec(text);
  if (converged) return new EnergyConverged(parseNumber(converged[1]), Number(toAsciiDigits(converged[2] ?? "1")));
  throw new Error(`${truncateRepr(text)} is not a halting rule; known: ${EXAMPLES}, joined by | (any) and & (all).`);
}

/** Parse a finite number. */
function parseNumber(text) {
  const value = Number(toAsciiDigits(text));
  if (!Number.isFinite(value)) {
    throw new Error(
      `${truncateRepr(text)} is too large a number for a halting rule; energies and certainties are small.`,
    );
  }
  return value;
}

/** Replace the decimal digits of all scripts by those of ASCII. Unicode has them in runs that begin with zero. */
function toAsciiDigits(text) {
  return Array.from(text, (character) => {
    if (!DIGIT.test(character)) return character;
    let first = character.codePointAt(0);
    while (DIGIT.test(String.fromCodePoint(first - 1))) first--;
    return String((character.codePointAt(0) - first) % 10);
  }).join("");
}

/** Split at a separator, but not inside brackets. */
function splitOutsideBrackets(text, separator) {
  const parts = [];
  let depth = 0;
  let start = 0;
  for (let position = 0; position < text.length && depth >= 0; position++) {
    const character = text[position];
    depth += (character === "(" ? 1 : 0) - (character === ")" ? 1 : 0);
    if (character !== separator || depth) continue;
    parts.push(text.slice(start, position));
    start = position + 1;
  }
  if (depth) throw new Error(`Brackets do not match in the policy ${truncateRepr(text)}.`);
  return [...parts, text.slice(start)];
}
