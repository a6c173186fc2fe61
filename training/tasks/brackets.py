"""Brackets of two kinds (Dyck-2): is every one closed, by its like, in the right order?

For every place the answer says what lies open on top of the stack there, or that the row can no longer become balanced. What
lies there at the end is the verdict, which alone makes an answer right. Half of all rows are balanced. The others are balanced
rows with one fault: a bracket of the other kind, two neighbours swapped, one turned round, or an end cut off.
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
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec, check_alphabet
from training.tasks.splits import TEST, TRAIN, assign_split, make_generator

DEEPER = "deeper"
SYMBOLS = "([)]"
PAD_TOKEN = len(SYMBOLS)
STACK_EMPTY, STACK_ROUND, STACK_SQUARE, STACK_INVALID = range(4)  # what lies on top of the stack
NUM_FAULT_TYPES = 4
MAX_TRIES = 200  # rows of one length and fault; a split may have none of a short one


class BracketsSettings(Settings):
    length: int = Field(16, ge=2, le=256, description="longest row of brackets")
    max_depth: int = Field(4, ge=1, le=128, description="deepest nesting that is trained on")
    ood_max_depth: int = Field(
        6, ge=2, le=128, description="deepest nesting of the split `deeper`, which is never trained on"
    )

    @field_validator("length")
    @classmethod
    def _check_even(cls, length: int) -> int:
        if length % 2:
            raise ValueError("must be even: brackets come in pairs")
        return length


class Brackets(Task):
    name = "brackets"
    title = "Brackets"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, DEEPER)
    Settings = BracketsSettings

    @property
    def input_hint(self) -> str:
        return f"up to {self.settings.length} brackets of two kinds, such as ([])[]"

    def get_spec(self) -> TaskSpec:
        length = self.settings.length
        return TaskSpec(f"tokens-{PAD_TOKEN + 1}x{length}", classes=4, positions=length, scored_positions=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers of pairs are drawn evenly; to train on, the larger of two: short rows are learned soon."""
        draws = make_python_rng(generator)
        return self._build_batch([self._sample_row(split, index % 2 == 0, draws) for index in range(count)])

    def _sample_row(self, split: str, balanced: bool, rng: Random) -> list[int]:
        """Of what is drawn, the brackets alone are drawn again until the row belongs to the split: were its length drawn
        again, too, a split that happens to have some of the few short rows would consist of them."""
        length, deepest = self.settings.length, self.settings.max_depth
        least, most = (deepest + 1, self.settings.ood_max_depth) if split == DEEPER else (1, deepest)
        wanted = TEST if split == DEEPER else split
        while True:
            sizes = [rng.randint(least, length // 2) for _ in range(2)]
            pairs, fault, where = (
                max(sizes) if split == TRAIN else sizes[0],
                rng.randrange(NUM_FAULT_TYPES),
                rng.random(),
            )
            for _ in range(MAX_TRIES):
                row = sample_balanced_row(pairs, least, most, rng)
                row = row if balanced else apply_fault(row, fault, where, rng.random())
                tops, depths = compute_stack(row)
                fits = (tops[-1] == STACK_EMPTY) is balanced and least <= max(depths) <= most
                if fits and assign_split(b"brackets" + bytes(row)) == wanted:
                    return row

    def _build_batch(self, rows: Sequence[list[int]]) -> Batch:
        length = self.settings.length
        read = [compute_stack(row) for row in rows]
        inputs = torch.tensor([row + [PAD_TOKEN] * (length - len(row)) for row in rows])
        targets = torch.tensor([tops + [tops[-1]] * (length - len(tops)) for tops, _ in read])
        return Batch(inputs, targets, torch.tensor([max(depths) for _, depths in read]))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How often the verdict is right, whatever may be left open; and how often all that is said of the stack is right."""
        verdict = (choices[:, -1] == STACK_EMPTY) == (targets[:, -1] == STACK_EMPTY)
        return {"verdict": verdict.float().mean().item(), "whole": (choices == targets).all(1).float().mean().item()}

    def parse_input(self, raw_input: Any) -> TaskInput:
        text = "".join(str(raw_input or "").split())
        longest = self.settings.length
        if not text:
            raise ValueError(f"Type some brackets: {self.input_hint}.")
        check_alphabet(text, SYMBOLS, "Only ( ) [ ] are read here", self.input_hint)
        if len(text) > longest:
            raise ValueError(f"This checkpoint reads at most {longest} brackets, got {len(text)}.")
        row = [SYMBOLS.index(letter) for letter in text]
        tops, depths = compute_stack(row)
        shown = {"kind": "sequence", "items": list(text), "stack": {"depths": depths, "tops": tops}}
        return TaskInput(self._build_batch([row]).inputs, shown, len(row))

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        balanced = choices[-1] == STACK_EMPTY
        label = "balanced" if balanced else "not balanced"
        why = ""
        if choices[-1] == STACK_INVALID:
            place = choices.index(STACK_INVALID) + 1
            why = f": bracket {place} closes what is not open"
        elif not balanced:
            why = f": a {SYMBOLS[choices[-1] - 1]} is left open"
        return TaskAnswer({"balanced": balanced, "stack": choices}, label, f"The brackets are {label}{why}")

    def get_labels(self) -> list[str]:
        return ["nothing open", "( open", "[ open", "broken"]

    def get_examples(self) -> list[str]:
        return [text for text in ("([])[]", "([)]", "[(())]([])", "((())") if len(text) <= self.settings.length]

    def generate_input(self, seed: int) -> str:
        """A row that was never trained on."""
        row = self._sample_row(TEST, seed % 2 == 0, make_python_rng(make_generator("invent", seed)))
        return "".join(SYMBOLS[symbol] for symbol in row)


def make_python_rng(generator: torch.Generator) -> Random:
    """The same source of randomness for single numbers, of which torch's takes its time."""
    return Random(int(torch.randint(2**62, (), generator=generator)))


def sample_balanced_row(num_pairs: int, min_depth: int, max_depth: int, rng: Random) -> list[int]:
    """A balanced row, every shape whose depth lies between `least` and `deepest` being as likely; kinds are independent."""
    row: list[int] = []
    stack: list[int] = []
    for left in range(2 * num_pairs, 0, -1):
        min_depth = 0 if len(stack) >= min_depth else min_depth  # once reached it asks for no more
        opened, closed = (count_completions(left - 1, len(stack) + step, min_depth, max_depth) for step in (1, -1))
        if rng.random() * (opened + closed) < opened:
            stack.append(rng.randrange(2))
            row.append(stack[-1])
        else:
            row.append(stack.pop() + 2)
    return row


@cache
def count_completions(remaining: int, depth: int, min_depth: int, max_depth: int) -> int:
    """In how many ways a row with so many brackets left, and so many open, can end balanced within the depths."""
    if not 0 <= depth <= max_depth or depth > remaining:
        return 0
    min_depth = 0 if depth >= min_depth else min_depth
    return (
        int(not min_depth)
        if remaining == 0
        else sum(count_completions(remaining - 1, depth + step, min_depth, max_depth) for step in (1, -1))
    )


def apply_fault(row: list[int], fault: int, where: float, which: float) -> list[int]:
    """The row with one fault; it may happen to be balanced still.

    Args:
        where: part of the row, from 0 to 1, after which an end is cut off.
        which: the bracket, from 0 to 1, that any other fault is at.
    """
    row = list(row)
    if fault == 0:  # a closing bracket of the other kind
        closing = [index for index, symbol in enumerate(row) if symbol >= 2]
        row[closing[int(which * len(closing))]] ^= 1
    elif fault == 1:  # two neighbours swapped
        place = int(which * (len(row) - 1))
        row[place], row[place + 1] = row[place + 1], row[place]
    elif fault == 2:  # an opening one turned round
        opening = [index for index, symbol in enumerate(row) if symbol < 2]
        row[opening[int(which * len(opening))]] += 2
    else:  # an end cut off
        row = row[: max(1, int(where * len(row)))]
    return row


def compute_stack(row: Sequence[int]) -> tuple[list[int], list[int]]:
    """What lies on top of the stack after every bracket, and how deep the stack is, which stays as it is once broken."""
    tops, depths, stack, broken = [], [], [], False
    for symbol in row:
        if symbol < 2 and not broken:
            stack.append(symbol)
        elif not broken and not (stack and stack.pop() == symbol - 2):
            broken = True
        tops.append(STACK_INVALID if broken else STACK_ROUND + stack[-1] if stack else STACK_EMPTY)
        depths.append(len(stack))
    return tops, depths
