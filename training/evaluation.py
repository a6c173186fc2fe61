"""Unroll a model on held-out samples and record every tick.

`EvaluationCurves` is plain data. Halting policies are replayed on it without another unroll, so one evaluation serves
the metrics, the choice of thresholds and risk control.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ctm import TickModel
from ctm.models.outputs import UnrolledOutput, compute_answer_mask
from ctm.modules.readout import compute_answer_signals, compute_certainty
from inference.tick_history import EvaluationCurves
from training.decoding import AnswerDecoder, CTCDecoder
from training.tasks.base import Task
from training.tasks.samples import Batch
from training.tasks.splits import CALIBRATION, SPLIT_PERCENT, TRAIN, digest, make_generator

MAX_EVALUATION_SAMPLES = 4_096  # draws from a generated split of the size of the calibration split


@torch.inference_mode()
def evaluate_curves(
    model: TickModel,
    decoder: AnswerDecoder,
    batches: Iterable[Batch],
    signals: frozenset[str] = frozenset(),
    compute_batch_confidence: Callable[[Batch, UnrolledOutput, Tensor], dict[str, Tensor]] | None = None,
) -> EvaluationCurves:
    """Unroll all samples to the last tick.

    Where the input determines the number of ticks, the last tick of a shorter batch is repeated.

    Args:
        model: The model; it is in evaluation mode during the call.
        decoder: Decoder of the task.
        batches: The samples.
        signals: Names of `ctm.modules.readout.ANSWER_SIGNALS` to record as well.
        compute_batch_confidence: Computes further values of shape (B, T) from a batch, the output and the certainty of
            every position, to record as well.

    Returns:
        The curves of all samples, on the CPU.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for batch in batches:
        output = model(batch.inputs.to(device))
        certainty = compute_certainty(output.answers.permute(2, 1, 0), decoder.positions).permute(2, 1, 0)
        correct = decoder.is_correct(output.answers, batch.targets.to(device))
        answer_mask = compute_answer_mask(output.input_ticks, correct.size(1))
        parts.append(
            (
                (correct if answer_mask is None else correct & answer_mask).cpu(),
                decoder.choices(output.answers).cpu(),
                certainty.cpu(),
                None if output.energies is None else output.energies.cpu(),
                batch.difficulty,
                batch.targets,
                None if output.input_ticks is None else output.input_ticks.cpu(),
                compute_signals_by_tick(signals, output.answers, decoder.positions),
                compute_batch_confidence(batch, output, certainty) if compute_batch_confidence else {},
            )
        )
    model.train(was_training)
    correct, choices, certainty, energies, difficulty, targets, input_ticks, signal_parts, confidence_parts = zip(
        *parts, strict=True
    )
    return EvaluationCurves(
        correct=concatenate_ticks(correct),
        choices=concatenate_ticks(choices),
        certainty=concatenate_ticks(certainty),
        energy=None if energies[0] is None else concatenate_ticks(energies),
        difficulty=torch.cat(difficulty),
        targets=torch.cat(targets),
        input_ticks=None if input_ticks[0] is None else torch.cat(input_ticks),
        signals={name: concatenate_ticks([part[name] for part in signal_parts]) for name in signals},
        is_ctc=isinstance(decoder, CTCDecoder),
        confidence={name: concatenate_ticks([part[name] for part in confidence_parts]) for name in confidence_parts[0]},
    )


def compute_signals_by_tick(
    names: frozenset[str], answers: Float[Tensor, "B K T"], positions: int
) -> dict[str, Float[Tensor, "B T"]]:
    """Compute further halting signals of all ticks; see `ctm.modules.readout.compute_answer_signals`.

    Args:
        names: Names of `ctm.modules.readout.SIGNALS`.
        answers: Logits at every tick.
        positions: Positions of the answer.
    """
    by_tick = answers.transpose(1, 2)
    first = compute_answer_signals(names, by_tick[:, :1], None, positions)
    later = compute_answer_signals(names, by_tick[:, 1:], by_tick[:, :-1], positions)
    return {name: torch.cat((first[name], later[name]), 1).cpu() for name in names}


def concatenate_ticks(parts: Sequence[Shaped[Tensor, "_ *P _"]]) -> Shaped[Tensor, "n *P T"]:
    """Concatenate batches along the samples; repeat the last tick of shorter ones."""
    num_ticks = max(part.size(-1) for part in parts)
    return torch.cat([part[..., torch.arange(num_ticks).clamp(max=part.size(-1) - 1)] for part in parts])


def build_split_batches(task: Task, split: str, max_samples: int) -> list[Batch]:
    """Load the held-out samples of a split, without repeats.

    A finite split is returned as a whole. A generated split is sampled with a fixed seed, and repeats are removed. The
    number of draws is proportional to the share of the split (`SPLIT_PERCENT`), relative to the calibration split. Otherwise
    frequent inputs would have another share of the remaining samples in each split, and a guarantee that is certified on one
    split would not hold on another.

    Args:
        task: The task.
        split: A held-out split.
        max_samples: Draws from a generated split of the size of the calibration split.
    """
    assert split != TRAIN
    samples = task.load_full_split(split)
    if samples is None:
        draws = max_samples * SPLIT_PERCENT.get(split, SPLIT_PERCENT[CALIBRATION]) // SPLIT_PERCENT[CALIBRATION]
        samples = task.sample(split, draws, make_generator("evaluation", split))
    return split_into_batches(deduplicate(samples))


def split_into_batches(batch: Batch, batch_size: int = 256) -> list[Batch]:
    """Split samples into batches of at most `batch_size` that fit into memory."""
    return [
        Batch(batch.inputs[i : i + batch_size], batch.targets[i : i + batch_size], batch.difficulty[i : i + batch_size])
        for i in range(0, len(batch.inputs), batch_size)
    ]


def deduplicate(batch: Batch) -> Batch:
    """Return the samples with every input once, in order of first appearance."""
    digests = [digest(row) for row in batch.inputs.flatten(1).contiguous().numpy()]
    first_rows = {value: row for row, value in reversed(list(enumerate(digests)))}
    rows = torch.tensor(sorted(first_rows.values()))
    if len(rows) == len(digests):
        return batch
    return Batch(batch.inputs[rows], batch.targets[rows], batch.difficulty[rows])
