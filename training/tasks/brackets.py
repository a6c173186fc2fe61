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
from training.tasks.base import (
    TEST,
    TRAIN,
    Answer,
    Batch,
    Given,
    Task,
    TaskShape,
    generator_for,
    refuse_other_signs,
    split_of,
)

DEEPER = "deeper"
SYMBOLS = "([)]"
PAD = len(SYMBOLS)
NOTHING, ROUND, SQUARE, BROKEN = range(4)  # what lies on top of the stack
FAULTS = 4
TRIES = 200  # rows of one length and fault; a split may have none of a short one


class BracketsSettings(Settings):
    length: int = Field(16, ge=2, le=256, description="longest row of brackets")
    deepest: int = Field(4, ge=1, le=128, description="deepest nesting that is trained on")
    deeper: int = Field(6, ge=2, le=128, description="deepest nesting of the split `deeper`, which is never trained on")

    @field_validator("length")
    @classmethod
    def _even(cls, length: int) -> int:
        if length % 2:
            raise ValueError("must be even: brackets come in pairs")
        return length


class Brackets(Task):
    name = "brackets"
    title = "Brackets"
    takes = "text"
    invents = True
    splits = (*Task.splits, DEEPER)
    Settings = BracketsSettings

    @property
    def hint(self) -> str:
        return f"up to {self.settings.length} brackets of two kinds, such as ([])[]"

    def shape(self) -> TaskShape:
        length = self.settings.length
        return TaskShape(f"tokens-{PAD + 1}x{length}", classes=4, positions=length, judged=1)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers of pairs are drawn evenly; to train on, the larger of two: short rows are learned soon."""
        draws = draws_of(generator)
        return self._batch([self._draw_one(split, index % 2 == 0, draws) for index in range(count)])

    def _draw_one(self, split: str, balanced: bool, draws: Random) -> list[int]:
        """Of what is drawn, the brackets alone are drawn again until the row belongs to the split: were its length drawn
        again, too, a split that happens to have some of the few short rows would consist of them."""
        length, deepest = self.settings.length, self.settings.deepest
        least, most = (deepest + 1, self.settings.deeper) if split == DEEPER else (1, deepest)
        wanted = TEST if split == DEEPER else split
        while True:
            sizes = [draws.randint(least, length // 2) for _ in range(2)]
            pairs, fault, where = max(sizes) if split == TRAIN else sizes[0], draws.randrange(FAULTS), draws.random()
            for _ in range(TRIES):
                row = balanced_row(pairs, least, most, draws)
                row = row if balanced else faulty(row, fault, where, draws.random())
                tops, depths = stack_of(row)
                fits = (tops[-1] == NOTHING) is balanced and least <= max(depths) <= most
                if fits and split_of(b"brackets" + bytes(row)) == wanted:
                    return row

    def _batch(self, rows: Sequence[list[int]]) -> Batch:
        length = self.settings.length
        read = [stack_of(row) for row in rows]
        inputs = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
        targets = torch.tensor([tops + [tops[-1]] * (length - len(tops)) for tops, _ in read])
        return Batch(inputs, targets, torch.tensor([max(depths) for _, depths in read]))

    def figures(self, chosen: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How often the verdict is right, whatever may be left open; and how often all that is said of the stack is right."""
        verdict = (chosen[:, -1] == NOTHING) == (targets[:, -1] == NOTHING)
        return {"verdict": verdict.float().mean().item(), "whole": (chosen == targets).all(1).float().mean().item()}

    def read(self, given: Any) -> Given:
        text = "".join(str(given or "").split())
        longest = self.settings.length
        if not text:
            raise ValueError(f"Type some brackets: {self.hint}.")
        refuse_other_signs(text, SYMBOLS, "Only ( ) [ ] are read here", self.hint)
        if len(text) > longest:
            raise ValueError(f"This checkpoint reads at most {longest} brackets, got {len(text)}.")
        row = [SYMBOLS.index(letter) for letter in text]
        tops, depths = stack_of(row)
        shown = {"kind": "sequence", "items": list(text), "stack": {"depths": depths, "tops": tops}}
        return Given(self._batch([row]).inputs, shown, len(row))

    def present(self, given: Given, choices: list[int]) -> Answer:
        balanced = choices[-1] == NOTHING
        label = "balanced" if balanced else "not balanced"
        why = ""
        if choices[-1] == BROKEN:
            place = choices.index(BROKEN) + 1
            why = f": bracket {place} closes what is not open"
        elif not balanced:
            why = f": a {SYMBOLS[choices[-1] - 1]} is left open"
        return Answer({"balanced": balanced, "stack": choices}, label, f"The brackets are {label}{why}")

    def labels(self) -> list[str]:
        return ["nothing open", "( open", "[ open", "broken"]

    def examples(self) -> list[str]:
        return [text for text in ("([])[]", "([)]", "[(())]([])", "((())") if len(text) <= self.settings.length]

    def invent(self, seed: int) -> str:
        """A row that was never trained on."""
        row = self._draw_one(TEST, seed % 2 == 0, draws_of(generator_for("invent", seed)))
        return "".join(SYMBOLS[symbol] for symbol in row)


def draws_of(generator: torch.Generator) -> Random:
    """The same source of randomness for single numbers, of which torch's takes its time."""
    return Random(int(torch.randint(2**62, (), generator=generator)))


def balanced_row(pairs: int, least: int, deepest: int, draws: Random) -> list[int]:
    """A balanced row, every shape whose depth lies between `least` and `deepest` being as likely; kinds are independent."""
    row: list[int] = []
    stack: list[int] = []
    for left in range(2 * pairs, 0, -1):
        least = 0 if len(stack) >= least else least  # once reached it asks for no more
        opened, closed = (endings(left - 1, len(stack) + step, least, deepest) for step in (1, -1))
        if draws.random() * (opened + closed) < opened:
            stack.append(draws.randrange(2))
            row.append(stack[-1])
        else:
            row.append(stack.pop() + 2)
    return row


@cache
def endings(left: int, depth: int, least: int, deepest: int) -> int:
    """In how many ways a row with so many brackets left, and so many open, can end balanced within the depths."""
    if not 0 <= depth <= deepest or depth > left:
        return 0
    least = 0 if depth >= least else least
    return int(not least) if left == 0 else sum(endings(left - 1, depth + step, least, deepest) for step in (1, -1))


def faulty(row: list[int], fault: int, where: float, which: float) -> list[int]:
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


def stack_of(row: Sequence[int]) -> tuple[list[int], list[int]]:
    """What lies on top of the stack after every bracket, and how deep the stack is, which stays as it is once broken."""
    tops, depths, stack, broken = [], [], [], False
    for symbol in row:
        if symbol < 2 and not broken:
            stack.append(symbol)
        elif not broken and not (stack and stack.pop() == symbol - 2):
            broken = True
        tops.append(BROKEN if broken else ROUND + stack[-1] if stack else NOTHING)
        depths.append(len(stack))
    return tops, depths
