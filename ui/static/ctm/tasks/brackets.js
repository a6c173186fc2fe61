/** Brackets of two kinds (Dyck-2 language): is every bracket closed by one of its kind? Mirrors `training.tasks.brackets`. */

import { assignSplit, joinBytes, RandomSource, TEST } from "./splits.js";
import { buildAnswer, buildInput, buildTokens, Task } from "./task.js";
import { checkAlphabet, InputError, readRawText, splitWords } from "./text.js";

const DEEPER = "deeper";
const SYMBOLS = "([)]"; // a symbol below 2 opens; 2 more is its closing bracket
const PAD_TOKEN = SYMBOLS.length;
const [STACK_EMPTY, STACK_ROUND, , STACK_INVALID] = [0, 1, 2, 3]; // classes: top of the stack
const NUM_FAULT_TYPES = 4;
const MAX_SAMPLING_ATTEMPTS = 200; // per length and fault
const MAX_SHAPES = 1000; // lengths and faults until a sequence is found

/** Balanced brackets of two kinds. Mirrors `Brackets`. */
export class Brackets extends Task {
  name = "brackets";
  title = "Brackets";
  supportsGeneration = true;
  difficultyName = "levels of nesting";
  sentencePositions = 1;

  get inputHint() {
    return `up to ${this.settings.length} brackets of two kinds, such as ([])[]`;
  }

  get spec() {
    const { length } = this.settings;
    const backbone = `tokens-${PAD_TOKEN + 1}x${length}`;
    return { backbone, classes: 4, positions: length, scoredPositions: 1, ctcLength: null };
  }

  get labels() {
    return ["nothing open", "( open", "[ open", "broken"];
  }

  get examples() {
    return ["([])[]", "([)]", "[(())]([])", "((())"].filter((text) => text.length <= this.settings.length);
  }

  parseInput(raw) {
    const text = splitWords(readRawText(raw)).join("");
    const { length } = this.settings;
    if (!text) throw new InputError(`Type some brackets: ${this.inputHint}.`);
    checkAlphabet(text, SYMBOLS, "Brackets are ( ) [ ] only", this.inputHint);
    if (text.length > length) {
      throw new InputError(`This checkpoint reads at most ${length} brackets, got ${text.length}.`);
    }
    const sequence = Array.from(text, (symbol) => SYMBOLS.indexOf(symbol));
    const { tops, depths } = computeStack(sequence);
    const inputs = buildTokens([...sequence, ...Array(length - sequence.length).fill(PAD_TOKEN)]);
    return buildInput(inputs, { kind: "sequence", items: [...text], stack: { depths, tops } }, sequence.length, {
      context: sequence,
      trueChoices: tops,
      shift: this.#findShift(Math.max(...depths)),
    });
  }

  #findShift(depth) {
    const { max_depth: maxDepth } = this.settings;
    if (depth <= maxDepth) return null;
    const sentence = `The brackets are nested ${depth} deep; the model was trained up to ${maxDepth}.`;
    return { sentence, split: DEEPER };
  }

  formatAnswer(input, choices) {
    const result = choices.at(-1);
    const isBalanced = result === STACK_EMPTY;
    const label = isBalanced ? "balanced" : "not balanced";
    let reason = "";
    if (result === STACK_INVALID) {
      // Another position than the true one would be a false reason, so it is not named.
      const position = choices.indexOf(STACK_INVALID);
      const isFirstFault = position === (input.trueChoices ?? []).indexOf(STACK_INVALID);
      reason = `: ${isFirstFault ? `bracket ${position + 1}` : "one"} closes a bracket that was never opened`;
    } else if (!isBalanced) reason = `: a ${SYMBOLS[result - 1]} is left open`;
    return buildAnswer({ balanced: isBalanced, stack: choices }, label, `The brackets are ${label}${reason}`);
  }

  generateInput(seed, difficulty = null) {
    const random = new RandomSource(seed);
    return this.#sampleSequence(Math.abs(seed) % 2 === 0, difficulty, random)
      .map((symbol) => SYMBOLS[symbol])
      .join("");
  }

  /** Sample a sequence of the test split by rejection; length and fault stay fixed while the brackets are sampled again. */
  #sampleSequence(isBalanced, difficulty, random) {
    const { length, max_depth: maxDepth } = this.settings;
    for (let shape = 0; shape < MAX_SHAPES; shape++) {
      const pairs = random.drawInteger(1, length / 2);
      const fault = random.drawInteger(0, NUM_FAULT_TYPES - 1);
      const cut = random.next();
      for (let attempt = 0; attempt < MAX_SAMPLING_ATTEMPTS; attempt++) {
        const balanced = sampleBalancedSequence(pairs, maxDepth, random);
        const sequence = isBalanced ? balanced : applyFault(balanced, fault, cut, random.next());
        const { tops, depths } = computeStack(sequence);
        const depth = Math.max(...depths);
        if ((tops.at(-1) === STACK_EMPTY) !== isBalanced || depth < 1 || depth > maxDepth) continue;
        if (difficulty !== null && depth !== difficulty) continue;
        if (assignSplit(joinBytes("brackets", Uint8Array.from(sequence))) === TEST) return sequence;
      }
    }
    throw new InputError(`There is no new input with ${difficulty} levels of nesting: choose another number.`);
  }
}

/** Sample a balanced sequence, uniform over the shapes up to a depth. Mirrors `sample_balanced_sequence`. */
function sampleBalancedSequence(pairs, maxDepth, random) {
  const counts = countCompletions(2 * pairs, maxDepth);
  const sequence = [];
  const stack = [];
  for (let remaining = 2 * pairs - 1; remaining >= 0; remaining--) {
    const ifOpened = counts[remaining][stack.length + 1] ?? 0;
    const ifClosed = counts[remaining][stack.length - 1] ?? 0;
    if (random.next() * (ifOpened + ifClosed) < ifOpened) {
      stack.push(random.drawInteger(0, 1));
      sequence.push(stack.at(-1));
    } else sequence.push(stack.pop() + 2);
  }
  return sequence;
}

/** Return the number of shapes in which a sequence can end balanced, by remaining brackets and depth. */
function countCompletions(longest, maxDepth) {
  const counts = [Array.from({ length: maxDepth + 1 }, (_, depth) => Number(depth === 0))];
  for (let remaining = 1; remaining <= longest; remaining++) {
    const before = counts[remaining - 1];
    counts.push(before.map((_, depth) => (before[depth + 1] ?? 0) + (before[depth - 1] ?? 0)));
  }
  return counts;
}

/** Return a copy of a balanced sequence with one fault; it may happen to be balanced still. Mirrors `apply_fault`. */
function applyFault(balanced, fault, cut, location) {
  const sequence = [...balanced];
  const select = (isWanted) => {
    const indices = sequence.flatMap((symbol, index) => (isWanted(symbol) ? [index] : []));
    return indices[Math.floor(location * indices.length)];
  };
  if (fault === 0) sequence[select((symbol) => symbol >= 2)] ^= 1;
  else if (fault === 1) {
    const index = Math.floor(location * (sequence.length - 1));
    [sequence[index], sequence[index + 1]] = [sequence[index + 1], sequence[index]];
  } else if (fault === 2) sequence[select((symbol) => symbol < 2)] += 2;
  else return sequence.slice(0, Math.max(1, Math.floor(cut * sequence.length)));
  return sequence;
}

/** Return the top of the stack (a class) and its depth after every bracket; both stay fixed once it is invalid. */
function computeStack(sequence) {
  const [tops, depths, stack] = [[], [], []];
  let isInvalid = false;
  for (const symbol of sequence) {
    if (!isInvalid) {
      if (symbol < 2) stack.push(symbol);
      else isInvalid = !(stack.length && stack.pop() === symbol - 2);
    }
    tops.push(isInvalid ? STACK_INVALID : stack.length ? STACK_ROUND + stack.at(-1) : STACK_EMPTY);
    depths.push(stack.length);
  }
  return { tops, depths };
}
