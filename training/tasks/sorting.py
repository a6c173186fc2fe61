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
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import TEST, is_in_split, make_generator

OOD_SCALES = {"narrower": 0.5, "wider": 2.0}  # of splits that are never trained on


class SortingSettings(Settings):
    count: int = Field(10, ge=2, le=256, description="numbers in a list; published: 30")
    min_gap: float = Field(0.01, ge=0, le=0.1, description="least difference of two numbers of a list; published: 0")


class Sorting(Task):
    name = "sorting"
    title = "Sorting"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, *OOD_SCALES)
    Settings = SortingSettings

    @property
    def input_hint(self) -> str:
        return f"{self.settings.count} different numbers with spaces between them, such as 3 -1.5 40"

    def get_spec(self) -> TaskSpec:
        count = self.settings.count
        no_attention = {"heads": 0, "n_synch_action": 0}
        return TaskSpec("none", classes=count + 1, in_features=count, ctc_length=count, config_overrides=no_attention)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers are drawn from the normal distribution; difficulty is how often 1 is halved to get to the least gap."""
        size, kept = self.settings.count, []
        while sum(map(len, kept)) < count:
            lists = torch.randn(2 * count, size, generator=generator) * OOD_SCALES.get(split, 1.0)
            lists = lists[compute_min_gap(lists) >= self.settings.min_gap]
            wanted = TEST if split in OOD_SCALES else split
            kept.append(lists[is_in_split(wanted, "sorting", lists)])
        lists = torch.cat(kept)[:count]
        return Batch(lists, lists.argsort(1), -compute_min_gap(lists).log2().floor().long())

    def parse_input(self, raw_input: Any) -> TaskInput:
        count = self.settings.count
        words = [word for word in re.split(r"[\s,;]+", str(raw_input or "").strip()) if word]
        if not words:
            raise ValueError(f"Type {self.input_hint}.")
        for word in words:
            if not re.fullmatch(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})", word, re.ASCII):
                raise ValueError(f"{word[:20]!r} is not a number that can be read. Type {self.input_hint}.")
        if len(words) != count:
            raise ValueError(f"This checkpoint sorts exactly {count} numbers, got {len(words)}.")
        numbers = torch.tensor([float(word) for word in words], dtype=torch.float64)
        if len(numbers.unique()) < count:
            raise ValueError("Two of the numbers are equal, so there is no one order; change one of them.")
        scaled = (numbers - numbers.mean()) / numbers.std()
        shown = {"kind": "sequence", "items": words, "numbers": numbers.tolist()}
        return TaskInput(scaled.float().unsqueeze(0), shown, 1, words)

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        words: list[str] = task_input.context
        said = [words[choice] for choice in choices]
        if sorted(choices) != list(range(len(words))):
            label = (
                f"{len(said)} of {len(words)} numbers" if len(set(choices)) == len(choices) else "some numbers twice"
            )
            return TaskAnswer(said, label, f"It says {' '.join(said) or 'nothing'}, which is not the whole list")
        return TaskAnswer(said, " ".join(said), f"In order: {' '.join(said)}")

    def get_labels(self) -> list[str]:
        return [*(f"number {place}" for place in range(1, self.settings.count + 1)), "silence"]

    def get_examples(self) -> list[str]:
        return [self.generate_input(seed) for seed in range(2)]

    def generate_input(self, seed: int) -> str:
        """Numbers that were never trained on."""
        numbers = self.sample(TEST, 1, make_generator("invent", seed)).inputs[0]
        return " ".join(f"{number:.2f}" for number in numbers.tolist())


def compute_min_gap(lists: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    return lists.sort(1).values.diff(dim=1).amin(1)
