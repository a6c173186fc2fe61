"""Chains of operations on digits, evaluated from left to right, modulo 10: `3+4*2-1` is ((3 + 4) * 2 - 1) mod 10 = 3.

The answer contains the value after every number. Only its last position, the result, decides whether it is correct. The
number of ticks that a model needs grows with the length of the chain.

With `random_offset`, training chains begin anywhere in the input, some of them behind another chain, so that every place of a
chain that is longer than all of them has been trained, also after many numbers.
"""

import re
from typing import Any

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Tensor

from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.tasks.base import Task, check_alphabet
from training.tasks.offsets import count_places_to_end, shift_right
from training.tasks.samples import Batch, DistributionShift, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import LONGER, TEST, TRAIN, is_in_split, sample_until

OPERATORS = "+-*"
OPERATOR_SIGNS = str.maketrans({"\u00d7": "*", "\u2217": "*", "\u2212": "-"})  # times, asterisk operator, minus
BASE = 10
PAD_TOKEN = BASE + len(OPERATORS)


class ChainSettings(Settings):
    """Settings of the task `chain`."""

    max_operations: int = Field(
        6, ge=1, le=64, title="Operations", description="operations of the longest training chain"
    )
    ood_max_operations: int = Field(
        8,
        ge=2,
        le=64,
        title="Operations of the harder test",
        description="operations of the longest chain of the split `longer`",
    )
    random_offset: bool = Field(
        False,
        title="Random start",
        description="training chains begin at a random place, so that the model also reads chains up to ood_max_operations",
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> "ChainSettings":
        if self.ood_max_operations <= self.max_operations:
            raise ValueError(
                "task.ood_max_operations must be above task.max_operations: "
                f"got {self.ood_max_operations}, {self.max_operations}."
            )
        return self


class Chain(Task):
    """Chains of operations modulo 10. Difficulty is the number of operations."""

    name = "chain"
    title = "Chains of sums"
    input_type = "text"
    supports_generation = True
    difficulty_name = "operations"
    position_noun = "results"
    sentence_positions = 1
    num_states = BASE
    splits = (*Task.splits, LONGER)
    Settings = ChainSettings
    settings: ChainSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        return (
            f"digits with + - * between them, evaluated from left to right, modulo {BASE}, such as 3+4*2-1; "
            f"up to {self._max_input_operations} operations"
        )

    @property
    def _max_input_operations(self) -> int:
        """Operations of the longest chain that the model has been prepared for."""
        return self.settings.ood_max_operations if self.settings.random_offset else self.settings.max_operations

    @property
    def shift_splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """Longer chains, if their places are trained."""
        return (LONGER,) if self.settings.random_offset else ()

    @property
    def halting_splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """Longer chains, because a visitor may type them: they need ticks that no training chain needs."""
        return self.shift_splits

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """The test split, and longer chains if their places are trained; without `random_offset` these show only padding."""
        return (TEST, *self.shift_splits)

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: ten classes per number, and one scored position."""
        max_operations = self.settings.ood_max_operations
        backbone = f"tokens-{PAD_TOKEN + 1}x{2 * max_operations + 1}"
        return TaskSpec(backbone, BASE, positions=max_operations + 1, scored_positions=1)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample chains, uniform over the number of operations.

        Args:
            split: One of `splits`; `longer` has more operations than any training chain and consists of test samples.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, 2 M + 1), int64 tokens, for at most M operations; targets of shape (B, M + 1).
        """
        max_operations = self.settings.ood_max_operations
        low, high = self._get_operation_range(split)
        source_split = self.get_source_split(split)

        def draw() -> tuple[Tensor, ...]:
            operations = torch.randint(low, high + 1, (2 * count,), generator=generator)
            digits = torch.randint(BASE, (2 * count, max_operations + 1), generator=generator)
            operators = BASE + torch.randint(len(OPERATORS), (2 * count, max_operations), generator=generator)
            chains = interleave(digits, operators, operations)
            return (chains[is_in_split(source_split, "chain", chains)],)

        (chains,) = sample_until(count, draw)
        batch = self._build_batch(chains)
        return shift_chains(batch, generator) if split == TRAIN and self.settings.random_offset else batch

    def _get_operation_range(self, split: str) -> tuple[int, int]:
        """Return the smallest and the largest number of operations of a split."""
        settings = self.settings
        if self.get_base_split(split) == LONGER:
            return settings.max_operations + 1, settings.ood_max_operations
        return 1, settings.max_operations

    def _build_batch(self, chains: Int[Tensor, "B N"]) -> Batch:
        return Batch(chains, compute_values(chains), (chains[:, 1::2] != PAD_TOKEN).sum(1))

    def compute_extra_metrics(self, choices: Int[Tensor, "n P"], targets: Int[Tensor, "n P"]) -> dict[str, float]:
        """Return the share of answers whose intermediate values are correct as well, as `whole`."""
        return {"whole": (choices == targets).all(1).float().mean().item()}

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets:
        """Return the place of every number, and the value after it; nothing after the end of a chain."""
        num_places = count_places_to_end(batch.inputs != PAD_TOKEN)  # odd: a chain ends with a number
        places = (2 * torch.arange(batch.targets.size(1))).expand_as(batch.targets)
        return AuxiliaryTargets.before_padding(places, batch.targets, num_places // 2 + 1)

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text of digits and operators in alternation; spaces are ignored.

        Raises:
            ValueError: The text is empty, has another character, does not alternate, or is longer than training chains.
        """
        max_operations = self._max_input_operations
        text = "".join(str(raw_input or "").split()).translate(OPERATOR_SIGNS)
        if not text:
            raise ValueError(f"Type a chain: {self.input_hint}.")
        check_alphabet(text, "0123456789" + OPERATORS, "A chain has only digits and + - *", self.input_hint)
        if not re.fullmatch(rf"[0-9]([{re.escape(OPERATORS)}][0-9])*", text):
            raise ValueError(f"Digits and operations must take turns, got {text[:20]!r}. Type {self.input_hint}.")
        num_operations = len(text) // 2
        if num_operations > max_operations:
            raise ValueError(f"This checkpoint reads at most {max_operations} operations, got {num_operations}.")
        tokens = [BASE + OPERATORS.index(symbol) if symbol in OPERATORS else int(symbol) for symbol in text]
        inputs = torch.tensor([tokens + [PAD_TOKEN] * (2 * self.settings.ood_max_operations + 1 - len(tokens))])
        display = {"kind": "sequence", "items": list(text), "places": re.findall(r"\D?\d", text)}
        true_choices = tuple(compute_values(inputs)[0, : num_operations + 1].tolist())
        return TaskInput(inputs, display, num_operations + 1, text, true_choices, self._find_shift(num_operations))

    def _find_shift(self, operations: int) -> DistributionShift | None:
        """Return the difference between an input and the training samples."""
        max_operations = self.settings.max_operations
        if operations <= max_operations:
            return None
        return DistributionShift(
            f"The chain has {operations} operations; the model was trained up to {max_operations}.", LONGER
        )

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the value after the last number."""
        chain: str = task_input.context
        # Without the reminder, a visitor who knows operator precedence takes 3 + 4 * 2 = 4 (mod 10) for an error.
        order = ", from left to right" if len(chain) > 3 else ""
        return TaskAnswer(choices, str(choices[-1]), f"{' '.join(chain)} = {choices[-1]} (mod {BASE}{order})")

    def get_labels(self) -> list[str]:
        """Return the names of the classes, the digits."""
        return [str(digit) for digit in range(BASE)]

    def get_examples(self) -> list[str]:
        """Return short chains, and a long one if the task reads it."""
        return ["3+4", "3+4*2-1", "9*9*9*9*9*9"][: 1 + min(2, (self.settings.max_operations + 1) // 3)]

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate a chain from the test split."""
        return self.format_sample(self.draw_test_sample(seed, difficulty))

    def format_sample(self, sample: Batch) -> str:
        """Return the chain of a sample."""
        tokens = sample.inputs[0].tolist()
        return "".join((self.get_labels() + list(OPERATORS))[token] for token in tokens if token != PAD_TOKEN)


def interleave(
    digits: Int[Tensor, "B n"], operators: Int[Tensor, "B m"], operations: Int[Tensor, " B"]
) -> Int[Tensor, "B N"]:
    """Interleave digits and operators, and pad each chain after its number of operations."""
    chains = torch.empty(len(digits), digits.size(1) + operators.size(1), dtype=torch.long)
    chains[:, ::2] = digits
    chains[:, 1::2] = operators
    return chains.masked_fill(torch.arange(chains.size(1)) > 2 * operations.unsqueeze(1), PAD_TOKEN)


def shift_chains(batch: Batch, generator: torch.Generator) -> Batch:
    """Move each chain to a random place of the input where it fits, behind the chain of another sample if that fits, too.

    The place is the later one of two uniform draws, because only chains that end there train the last positions. There is no
    operator between two chains: the value begins anew with the first number of the second one.

    Args:
        batch: Chains that begin at the first place.
        generator: Source of all randomness.

    Returns:
        The samples with another chain or padding before the chain; padding has the value 0.
    """
    num_positions = batch.targets.size(1)
    room = num_positions - 1 - batch.difficulty
    draws = torch.rand(2, len(room), generator=generator).amax(0)
    offsets = (draws * (room + 1)).long()
    leading_offsets = offsets - 1 - batch.difficulty.roll(1)
    leading_offsets = leading_offsets.where(leading_offsets >= 0, num_positions)  # moved out of the input
    leading_inputs = shift_right(batch.inputs.roll(1, 0), 2 * leading_offsets, PAD_TOKEN)
    leading_targets = shift_right(batch.targets.roll(1, 0), leading_offsets, 0)
    inputs = shift_right(batch.inputs, 2 * offsets, leading_inputs)
    return Batch(inputs, shift_right(batch.targets, offsets, leading_targets), batch.difficulty)


def compute_values(chains: Int[Tensor, "B N"]) -> Int[Tensor, "B P"]:
    """Return the value after every number; positions after the end of a chain repeat its result."""
    values = [chains[:, 0]]
    for operator, digit in zip(chains[:, 1::2].T, chains[:, 2::2].T, strict=True):
        last = values[-1]
        results = torch.stack((last + digit, last - digit, last * digit, last)) % BASE
        values.append(results.gather(0, (operator - BASE).unsqueeze(0)).squeeze(0))
    return torch.stack(values, 1)
