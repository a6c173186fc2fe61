"""Brackets of two kinds (Dyck-2 language): is every bracket closed by one of its kind, in the right order?

For every position the answer states the top of the stack of open brackets, or that the sequence can no longer become balanced.
The top of the stack at the end is the result, and it alone decides whether an answer is correct. Half of all sequences are
balanced. The others are balanced sequences with one fault: a closing bracket of the other kind, two neighbours swapped, an
opening bracket replaced by the closing one, or a truncated end.
"""

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field, field_validator
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import MAX_DRAWN_SAMPLES, Task, check_alphabet
from training.tasks.samples import Batch, DistributionShift, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, TRAIN, assign_split, make_generator

DEEPER = "deeper"  # out-of-distribution split: deeper nesting than in training
SYMBOLS = "([)]"  # a symbol below 2 opens; 2 more is its closing bracket
PAD_TOKEN = len(SYMBOLS)
STACK_EMPTY, STACK_ROUND, STACK_SQUARE, STACK_INVALID = range(4)  # classes: top of the stack
NUM_FAULT_TYPES = 4
# Attempts per length and fault. A split may have no short sequence of this kind.
MAX_SAMPLING_ATTEMPTS = 200


class BracketsSettings(Settings):
    """Settings of the task `brackets`."""

    length: int = Field(
        16, ge=2, le=256, title="Brackets", description="brackets of the longest sequence, an even number"
    )
    max_depth: int = Field(4, ge=1, le=128, title="Nesting depth", description="deepest nesting in training")
    ood_max_depth: int = Field(
        6,
        ge=2,
        le=128,
        title="Nesting depth of the harder test",
        description="deepest nesting of the split `deeper`, which is not used in training",
    )

    @field_validator("length")
    @classmethod
    def _check_even(cls, length: int) -> int:
        if length % 2:
            raise ValueError("must be even: brackets come in pairs")
        return length


class Brackets(Task):
    """Balanced brackets of two kinds. Difficulty is the deepest nesting."""

    name = "brackets"
    title = "Brackets"
    input_type = "text"
    supports_generation = True
    difficulty_name = "levels of nesting"
    position_noun = "brackets"
    sentence_positions = 1
    splits = (*Task.splits, DEEPER)
    shift_splits = (DEEPER,)
    Settings = BracketsSettings
    settings: BracketsSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        return f"up to {self.settings.length} brackets of two kinds, such as ([])[]"

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: four classes per position, and one scored position."""
        length = self.settings.length
        return TaskSpec(f"tokens-{PAD_TOKEN + 1}x{length}", classes=4, positions=length, scored_positions=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample sequences, alternately balanced and with a fault, uniform over the number of pairs.

        For training the number of pairs is the larger of two uniform draws, because long sequences take longest to learn.

        Args:
            split: One of `splits`; `deeper` has deeper nesting than training and consists of test samples.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, L), int64 tokens; targets of shape (B, L), where padding repeats the last class.
        """
        rng = make_python_rng(generator)
        return self._build_batch([self._sample_sequence(split, index % 2 == 0, rng) for index in range(count)])

    def _sample_sequence(self, split: str, is_balanced: bool, rng: Random) -> list[int]:
        """Sample a sequence of a split by rejection.

        Length and fault stay fixed while the brackets are sampled again. Otherwise a split that contains few of the short
        sequences would consist mostly of those.
        """
        max_pairs = self.settings.length // 2
        min_depth, max_depth = self._get_depth_range(split)
        source_split = self.get_source_split(split)
        while True:
            sizes = [rng.randint(min_depth, max_pairs) for _ in range(2)]
            num_pairs = max(sizes) if split == TRAIN else sizes[0]
            fault = rng.randrange(NUM_FAULT_TYPES)
            cut = rng.random()
            for _ in range(MAX_SAMPLING_ATTEMPTS):
                sequence = sample_balanced_sequence(num_pairs, min_depth, max_depth, rng)
                if not is_balanced:
                    sequence = apply_fault(sequence, fault, cut, rng.random())
                tops, depths = compute_stack(sequence)
                if (tops[-1] == STACK_EMPTY) is not is_balanced or not min_depth <= max(depths) <= max_depth:
                    continue
                if assign_split(b"brackets" + bytes(sequence)) == source_split:
                    return sequence

    def _get_depth_range(self, split: str) -> tuple[int, int]:
        """Return the smallest and the largest nesting depth of a split."""
        max_depth = self.settings.max_depth
        return (max_depth + 1, self.settings.ood_max_depth) if split == DEEPER else (1, max_depth)

    def _build_batch(self, sequences: Sequence[list[int]]) -> Batch:
        length = self.settings.length
        stacks = [compute_stack(sequence) for sequence in sequences]
        inputs = torch.tensor([sequence + [PAD_TOKEN] * (length - len(sequence)) for sequence in sequences])
        targets = torch.tensor([tops + [tops[-1]] * (length - len(tops)) for tops, _ in stacks])
        return Batch(inputs, targets, torch.tensor([max(depths) for _, depths in stacks]))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of answers with the right decision "balanced or not", and with the whole stack right.

        The decision, `verdict`, ignores which bracket is open at the end. `whole` needs every position to be correct.
        """
        is_decision_correct = (choices[:, -1] == STACK_EMPTY) == (targets[:, -1] == STACK_EMPTY)
        return {
            "verdict": is_decision_correct.float().mean().item(),
            "whole": (choices == targets).all(1).float().mean().item(),
        }

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of brackets; spaces are ignored.

        Raises:
            ValueError: The text is empty, has another character, or is too long.
        """
        text = "".join(str(raw_input or "").split())
        max_length = self.settings.length
        if not text:
            raise ValueError(f"Type some brackets: {self.input_hint}.")
        check_alphabet(text, SYMBOLS, "Brackets are ( ) [ ] only", self.input_hint)
        if len(text) > max_length:
            raise ValueError(f"This checkpoint reads at most {max_length} brackets, got {len(text)}.")
        sequence = [SYMBOLS.index(symbol) for symbol in text]
        tops, depths = compute_stack(sequence)
        display = {"kind": "sequence", "items": list(text), "stack": {"depths": depths, "tops": tops}}
        inputs = self._build_batch([sequence]).inputs
        return TaskInput(inputs, display, len(sequence), sequence, tuple(tops), self._find_shift(max(depths)))

    def _find_shift(self, depth: int) -> DistributionShift | None:
        """Return the difference between an input of a nesting depth and the training samples."""
        max_depth = self.settings.max_depth
        if depth <= max_depth:
            return None
        return DistributionShift(
            f"The brackets are nested {depth} deep; the model was trained up to {max_depth}.", DEEPER
        )

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return whether the brackets are balanced, and why they are not."""
        result = choices[-1]
        is_balanced = result == STACK_EMPTY
        label = "balanced" if is_balanced else "not balanced"
        reason = ""
        if result == STACK_INVALID:
            # Another position than the true one would be a false reason, so it is not named.
            position = choices.index(STACK_INVALID)
            true_choices = task_input.true_choices or ()
            is_first_fault = STACK_INVALID in true_choices and position == true_choices.index(STACK_INVALID)
            reason = (
                f": {f'bracket {position + 1}' if is_first_fault else 'one'} closes a bracket that was never opened"
            )
        elif not is_balanced:
            reason = f": a {SYMBOLS[result - 1]} is left open"
        return TaskAnswer({"balanced": is_balanced, "stack": choices}, label, f"The brackets are {label}{reason}")

    def get_labels(self) -> list[str]:
        """Return the names of the classes."""
        return ["nothing open", "( open", "[ open", "broken"]

    def get_examples(self) -> list[str]:
        """Return the examples that the task can read."""
        return [text for text in ("([])[]", "([)]", "[(())]([])", "((())") if len(text) <= self.settings.length]

    def format_sample(self, sample: Batch) -> str:
        """Return the brackets of a sample."""
        return "".join(SYMBOLS[token] for token in sample.inputs[0].tolist() if token != PAD_TOKEN)

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate a sequence from the test split, balanced for even seeds."""
        rng = make_python_rng(make_generator("invent", seed))
        for _ in range(MAX_DRAWN_SAMPLES):
            sequence = self._sample_sequence(TEST, seed % 2 == 0, rng)
            if difficulty in (None, max(compute_stack(sequence)[1])):
                return "".join(SYMBOLS[symbol] for symbol in sequence)
        raise self.build_difficulty_error(difficulty or 0)


def make_python_rng(generator: torch.Generator) -> Random:
    """Create a Python random generator seeded by a torch generator; it is faster for single numbers."""
    return Random(int(torch.randint(2**62, (), generator=generator)))


def sample_balanced_sequence(num_pairs: int, min_depth: int, max_depth: int, rng: Random) -> list[int]:
    """Sample a balanced sequence, uniform over the shapes within the depth range; kinds of brackets are independent.

    Args:
        num_pairs: Number of bracket pairs.
        min_depth: Nesting depth that the sequence must reach.
        max_depth: Nesting depth that it must not exceed.
        rng: Source of all randomness.
    """
    sequence: list[int] = []
    stack: list[int] = []
    for remaining in range(2 * num_pairs - 1, -1, -1):
        min_depth = 0 if len(stack) >= min_depth else min_depth  # the minimum is met and no longer restricts
        num_if_opened = count_completions(remaining, len(stack) + 1, min_depth, max_depth)
        num_if_closed = count_completions(remaining, len(stack) - 1, min_depth, max_depth)
        if rng.random() * (num_if_opened + num_if_closed) < num_if_opened:
            stack.append(rng.randrange(2))
            sequence.append(stack[-1])
        else:
            sequence.append(stack.pop() + 2)
    return sequence


@cache
def count_completions(remaining: int, depth: int, min_depth: int, max_depth: int) -> int:
    """Count the shapes in which a sequence can end balanced within the depth range.

    Args:
        remaining: Number of brackets to come.
        depth: Number of open brackets.
        min_depth: Nesting depth that must still be reached; 0 if it was reached.
        max_depth: Nesting depth that must not be exceeded.
    """
    if not 0 <= depth <= max_depth or depth > remaining:
        return 0
    min_depth = 0 if depth >= min_depth else min_depth
    if remaining == 0:
        return int(not min_depth)
    return sum(count_completions(remaining - 1, depth + step, min_depth, max_depth) for step in (1, -1))


def apply_fault(sequence: list[int], fault: int, cut: float, location: float) -> list[int]:
    """Return a copy of a balanced sequence with one fault; it may happen to be balanced still.

    Args:
        sequence: Balanced sequence.
        fault: Type of the fault, 0 to `NUM_FAULT_TYPES` - 1; the last one truncates the sequence.
        cut: Fraction of the sequence in [0, 1) that remains after truncation.
        location: Fraction in [0, 1) that selects the bracket of any other fault.
    """
    sequence = list(sequence)
    if fault == 0:  # a closing bracket of the other kind
        closing = [index for index, symbol in enumerate(sequence) if symbol >= 2]
        sequence[closing[int(location * len(closing))]] ^= 1
    elif fault == 1:  # two neighbours swapped
        index = int(location * (len(sequence) - 1))
        sequence[index : index + 2] = sequence[index + 1], sequence[index]
    elif fault == 2:  # an opening bracket replaced by the closing one
        opening = [index for index, symbol in enumerate(sequence) if symbol < 2]
        sequence[opening[int(location * len(opening))]] += 2
    else:
        sequence = sequence[: max(1, int(cut * len(sequence)))]
    return sequence


def compute_stack(sequence: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the top of the stack (a class) and its depth after every bracket; both stay fixed once it is invalid."""
    tops: list[int] = []
    depths: list[int] = []
    stack: list[int] = []
    is_invalid = False
    for symbol in sequence:
        if symbol < 2 and not is_invalid:
            stack.append(symbol)
        elif not is_invalid and not (stack and stack.pop() == symbol - 2):
            is_invalid = True
        tops.append(STACK_INVALID if is_invalid else STACK_ROUND + stack[-1] if stack else STACK_EMPTY)
        depths.append(len(stack))
    return tops, depths
