"""Sorting (paper appendix E): numbers are handed over at every tick; which comes next is said over the ticks (CTC).

Nothing is looked at by attention. An answer is the places of the numbers, smallest first; every place is said once.
"""

import re
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ctm.settings import Settings
from training.tasks.base import TEST, Answer, Batch, Given, Task, TaskShape, belongs, generator_for

SPREADS = {"narrower": 0.5, "wider": 2.0}  # of splits that are never trained on


class SortingSettings(Settings):
    count: int = Field(10, ge=2, le=256, description="numbers in a list; published: 30")
    gap: float = Field(0.01, ge=0, le=0.1, description="least difference of two numbers of a list; published: 0")


class Sorting(Task):
    name = "sorting"
    title = "Sorting"
    takes = "text"
    invents = True
    splits = (*Task.splits, *SPREADS)
    Settings = SortingSettings

    @property
    def hint(self) -> str:
        return f"{self.settings.count} different numbers with spaces between them, such as 3 -1.5 40"

    def shape(self) -> TaskShape:
        count = self.settings.count
        no_attention = {"heads": 0, "n_synch_action": 0}
        return TaskShape("none", classes=count + 1, in_features=count, spoken=count, fixed=no_attention)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers are drawn from the normal distribution; difficulty is how often 1 is halved to get to the least gap."""
        size, kept = self.settings.count, []
        while sum(map(len, kept)) < count:
            lists = torch.randn(2 * count, size, generator=generator) * SPREADS.get(split, 1.0)
            lists = lists[least_gap(lists) >= self.settings.gap]
            wanted = TEST if split in SPREADS else split
            kept.append(lists[belongs(wanted, "sorting", lists)])
        lists = torch.cat(kept)[:count]
        return Batch(lists, lists.argsort(1), -least_gap(lists).log2().floor().long())

    def read(self, given: Any) -> Given:
        count = self.settings.count
        words = [word for word in re.split(r"[\s,;]+", str(given or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.hint}.")
        for word in words:
            if not re.fullmatch(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})", word, re.ASCII):
                raise ValueError(f"{word[:20]!r} is not a number that can be read. Type {self.hint}.")
        if len(words) != count:
            raise ValueError(f"This checkpoint sorts exactly {count} numbers, got {len(words)}.")
        numbers = torch.tensor([float(word) for word in words], dtype=torch.float64)
        if len(numbers.unique()) < count:
            raise ValueError("Two of the numbers are equal, so there is no one order; change one of them.")
        scaled = (numbers - numbers.mean()) / numbers.std()
        shown = {"kind": "sequence", "items": words, "numbers": numbers.tolist()}
        return Given(scaled.float().unsqueeze(0), shown, 1, words)

    def present(self, given: Given, choices: list[int]) -> Answer:
        words: list[str] = given.content
        said = [words[choice] for choice in choices]
        if sorted(choices) != list(range(len(words))):
            label = (
                f"{len(said)} of {len(words)} numbers" if len(set(choices)) == len(choices) else "some numbers twice"
            )
            return Answer(said, label, f"It says {' '.join(said) or 'nothing'}, which is not the whole list")
        return Answer(said, " ".join(said), f"In order: {' '.join(said)}")

    def labels(self) -> list[str]:
        return [*(f"number {place}" for place in range(1, self.settings.count + 1)), "silence"]

    def examples(self) -> list[str]:
        return [self.invent(seed) for seed in range(2)]

    def invent(self, seed: int) -> str:
        """Numbers that were never trained on."""
        numbers = self.draw(TEST, 1, generator_for("invent", seed)).inputs[0]
        return " ".join(f"{number:.2f}" for number in numbers.tolist())


def least_gap(lists: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    return lists.sort(1).values.diff(dim=1).amin(1)
