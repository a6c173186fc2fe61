"""Chains of sums, from left to right, modulo 10: `3+4*2-1` is ((3 + 4) * 2 - 1) mod 10 = 3.

The answer holds the value after every number; its last place is the result, which alone makes it right. How long the chain is
says how long to think.
"""

import re
from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec, check_alphabet
from training.tasks.splits import LONGER, TEST, is_in_split, make_generator

OPERATORS = "+-*"
BASE = 10
PAD_TOKEN = BASE + len(OPERATORS)


class ChainSettings(Settings):
    max_operations: int = Field(6, ge=1, le=64, description="operations of the longest chain that is trained on")
    ood_max_operations: int = Field(8, ge=2, le=64, description="operations of the longest chain of the split `longer`")

    @model_validator(mode="after")
    def _check_lengths(self) -> "ChainSettings":
        if self.ood_max_operations <= self.max_operations:
            raise ValueError(
                f"task.ood_max_operations must be above task.max_operations: got {self.ood_max_operations}, {self.max_operations}."
            )
        return self


class Chain(Task):
    name = "chain"
    title = "Chains of sums"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, LONGER)
    Settings = ChainSettings

    @property
    def input_hint(self) -> str:
        return f"digits and + - *, reckoned from left to right, such as 3+4*2-1; up to {self.settings.ood_max_operations} operations"

    def get_spec(self) -> TaskSpec:
        longest = self.settings.ood_max_operations
        return TaskSpec(f"tokens-{PAD_TOKEN + 1}x{2 * longest + 1}", BASE, positions=longest + 1, scored_positions=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers of operations are drawn evenly."""
        settings = self.settings
        least, most = (
            (settings.max_operations + 1, settings.ood_max_operations)
            if split == LONGER
            else (1, settings.max_operations)
        )
        wanted = TEST if split == LONGER else split
        kept: list[Tensor] = []
        while sum(map(len, kept)) < count:
            operations = torch.randint(least, most + 1, (2 * count,), generator=generator)
            digits = torch.randint(BASE, (2 * count, settings.ood_max_operations + 1), generator=generator)
            operators = BASE + torch.randint(
                len(OPERATORS), (2 * count, settings.ood_max_operations), generator=generator
            )
            rows = interleave(digits, operators, operations)
            kept.append(rows[is_in_split(wanted, "chain", rows)])
        return self._build_batch(torch.cat(kept)[:count])

    def _build_batch(self, rows: Int[Tensor, "B N"]) -> Batch:
        return Batch(rows, compute_values(rows), (rows[:, 1::2] != PAD_TOKEN).sum(1))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """How often the values on the way are right, too."""
        return {"whole": (choices == targets).all(1).float().mean().item()}

    def parse_input(self, raw_input: Any) -> TaskInput:
        text = "".join(str(raw_input or "").split()).replace("\u00d7", "*").replace("\u2212", "-")
        if not text:
            raise ValueError(f"Type a chain: {self.input_hint}.")
        check_alphabet(text, "0123456789" + OPERATORS, "Only digits and + - * are read here", self.input_hint)
        if not re.fullmatch(rf"[0-9]([{re.escape(OPERATORS)}][0-9])*", text):
            raise ValueError(f"Digits and operations must take turns, got {text[:20]!r}. Type {self.input_hint}.")
        if len(text) // 2 > self.settings.ood_max_operations:
            raise ValueError(
                f"This checkpoint reads at most {self.settings.ood_max_operations} operations, got {len(text) // 2}."
            )
        row = [BASE + OPERATORS.index(letter) if letter in OPERATORS else int(letter) for letter in text]
        inputs = torch.tensor([row + [PAD_TOKEN] * (2 * self.settings.ood_max_operations + 1 - len(row))])
        shown = {"kind": "sequence", "items": list(text), "places": re.findall(r"\D?\d", text)}
        return TaskInput(inputs, shown, len(text) // 2 + 1, text)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        return TaskAnswer(choices, str(choices[-1]), f"{task_input.context} is {choices[-1]} modulo {BASE}")

    def get_labels(self) -> list[str]:
        return [str(digit) for digit in range(BASE)]

    def get_examples(self) -> list[str]:
        return ["3+4", "3+4*2-1", "9*9*9*9*9*9"][: 1 + min(2, self.settings.ood_max_operations // 3)]

    def generate_input(self, seed: int) -> str:
        """A chain that was never trained on."""
        row = self.sample(TEST, 1, make_generator("invent", seed)).inputs[0].tolist()
        return "".join((self.get_labels() + list(OPERATORS))[symbol] for symbol in row if symbol != PAD_TOKEN)


def interleave(
    digits: Int[Tensor, "B n"], operators: Int[Tensor, "B m"], operations: Int[Tensor, " B"]
) -> Int[Tensor, "B N"]:
    """Digits and operators in turn, cut off after so many operations."""
    rows = torch.empty(len(digits), digits.size(1) + operators.size(1), dtype=torch.long)
    rows[:, ::2], rows[:, 1::2] = digits, operators
    return rows.masked_fill(torch.arange(rows.size(1)) > 2 * operations.unsqueeze(1), PAD_TOKEN)


def compute_values(rows: Int[Tensor, "B N"]) -> Int[Tensor, "B P"]:
    """The value after every number; past the end of a chain its result."""
    values = [rows[:, 0]]
    for operator, digit in zip(rows[:, 1::2].T, rows[:, 2::2].T, strict=True):
        last = values[-1]
        results = torch.stack((last + digit, last - digit, last * digit, last)) % BASE
        values.append(results.gather(0, (operator - BASE).unsqueeze(0)).squeeze(0))
    return torch.stack(values, 1)
