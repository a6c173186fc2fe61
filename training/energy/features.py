"""Samples for fitting an energy head: inputs of the head at every tick, computed once, with labels of the answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ctm import TickModel
from ctm.models.outputs import compute_answer_mask
from training.decoding import AnswerDecoder
from training.energy.losses import TickLabels
from training.evaluation import deduplicate, split_into_batches
from training.tasks.base import Task
from training.tasks.samples import Batch, concatenate_batches
from training.tasks.splits import VALIDATION, make_generator, name_part

MAX_FEATURE_VALUES = 800_000_000  # features of all samples together, in half precision: 1.6 GB


@dataclass(frozen=True)
class EnergyHeadDataset:
    """Inputs of an energy head, and labels of the answers, for n samples.

    Axes: n samples, T ticks, F features of the head.

    Attributes:
        features: Inputs of the head, in any float precision.
        correct: Whether the answer at a tick is correct.
        answer_mask: Ticks at which an answer counts.
        tick_losses: Loss of the answer at every tick, or None if the answer has none (CTC).
    """

    features: Float[Tensor, "n T F"]
    correct: Bool[Tensor, "n T"]
    answer_mask: Bool[Tensor, "n T"]
    tick_losses: Float[Tensor, "n T"] | None

    def get_labels(self, rows: Tensor | slice) -> TickLabels:
        """Return the labels of some samples."""
        return TickLabels(
            self.correct[rows], self.answer_mask[rows], None if self.tick_losses is None else self.tick_losses[rows]
        )

    def compute_energies(self, head: Callable[[Tensor], Tensor], rows: Tensor | slice) -> Float[Tensor, "B T"]:
        """Return the energies that a head gives to some samples."""
        return head(self.features[rows].float()).squeeze(-1)


def sample_fitting_batches(task: Task, count: int) -> list[Batch]:
    """Draw validation samples to fit an energy head on, with a fixed seed, without repeats, in random order.

    The order is random because frequent samples come first among the draws. Images are augmented as in training:
    without augmentation too few of the answers are wrong. Half as many samples come from each of `Task.halting_splits`:
    otherwise the energy of an input that is longer than all training inputs falls too early.

    Args:
        task: The task.
        count: Number of draws of the validation split; fewer samples remain after repeats are removed.
    """
    generator = make_generator("fit", VALIDATION)
    draws = count_fitting_draws(task, count)
    samples = deduplicate(concatenate_batches(task.sample(split, size, generator) for split, size in draws.items()))
    order = torch.randperm(len(samples.inputs), generator=generator)
    return split_into_batches(Batch(samples.inputs[order], samples.targets[order], samples.difficulty[order]))


def count_fitting_draws(task: Task, count: int) -> dict[str, int]:
    """Return the number of draws of each split that an energy head is fitted on; see `sample_fitting_batches`."""
    return {VALIDATION: count} | {name_part(split, VALIDATION): count // 2 for split in task.halting_splits}


@torch.no_grad()
def collect_energy_features(model: TickModel, decoder: AnswerDecoder, batches: Iterable[Batch]) -> EnergyHeadDataset:
    """Unroll samples and record the inputs of the energy head, until `MAX_FEATURE_VALUES` is reached.

    Args:
        model: The model; it is in evaluation mode afterwards.
        decoder: Decoder of the task.
        batches: The samples; those beyond the limit are not used.

    Returns:
        The inputs in half precision, with labels.
    """
    model.eval()
    features: list[Tensor] = []
    correct: list[Tensor] = []
    answer_masks: list[Tensor] = []
    losses: list[Tensor] = []
    remaining_values = MAX_FEATURE_VALUES
    for batch in batches:
        encoded = model.encode(batch.inputs)
        state = model.initial_state(encoded)
        tick_features = []
        answers = []
        for _ in range(encoded.ticks):
            state, output = model.tick(state, encoded)
            tick_features.append(
                model.build_energy_head_input(state.latent.T, state.neuron_activations.T, output.certainty.T).T
            )
            answers.append(output.answer)
        logits = torch.stack(answers, -1)
        features += torch.stack(tick_features, 1).half()
        correct += decoder.is_correct(logits, batch.targets)
        mask = compute_answer_mask(encoded.input_ticks, encoded.ticks)
        answer_masks += torch.ones(len(batch.inputs), encoded.ticks, dtype=torch.bool) if mask is None else mask
        tick_losses = decoder.tick_losses(logits, batch.targets)
        losses += [] if tick_losses is None else tick_losses
        remaining_values -= len(tick_features) * tick_features[0].numel()
        if remaining_values <= 0:
            break
    num_ticks = max(map(len, features))
    return EnergyHeadDataset(
        features=stack_ticks(num_ticks, features),
        correct=stack_ticks(num_ticks, correct),
        answer_mask=pad_sequence(answer_masks, batch_first=True),
        tick_losses=stack_ticks(num_ticks, losses) if losses else None,
    )


def stack_ticks(num_ticks: int, parts: list[Shaped[Tensor, "_ *F"]]) -> Shaped[Tensor, "n T *F"]:
    """Stack values of several samples; the last tick of a shorter unroll is repeated, and does not count."""
    return torch.stack([part[torch.arange(num_ticks).clamp(max=len(part) - 1)] for part in parts])
