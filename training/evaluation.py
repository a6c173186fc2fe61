"""Measuring a machine: every tick's answers on held-out samples, once, and figures from them.

`EvaluationCurves` is plain data: halting rules are replayed on it without thinking again, so it is what passes from training to
calibration.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ctm import TickModel
from ctm.models.outputs import compute_answer_mask
from ctm.modules.readout import compute_answer_signals, compute_certainty
from training.data.image_dataset import digest
from training.decoding import AnswerDecoder, CTCDecoder
from training.tasks.base import CALIBRATION, SPLIT_PERCENT, TRAIN, Batch, Task, make_generator

MAX_EVALUATION_SAMPLES = 4_096  # drawn of a held-out split without an end that is as large as the calibration split


@dataclass(frozen=True)
class EvaluationCurves:
    """What the machine said at every tick about n samples."""

    right: Bool[Tensor, "n T"]
    choices: Int[Tensor, "n P T"]
    certainty: Float[Tensor, "n P T"]
    energy: Float[Tensor, "n T"] | None
    difficulty: Int[Tensor, " n"]
    targets: Int[Tensor, "n L"]
    listening: Int[Tensor, " n"] | None = None  # ticks before an answer counts, which is not right there
    signals: dict[str, Float[Tensor, "n T"]] = field(default_factory=dict)  # of `ctm.modules.readout.SIGNALS`
    spoken: bool = False  # whether an answer is said over the ticks

    @property
    def answer_mask(self) -> Bool[Tensor, "n T"]:
        """Ticks at which a sample may answer."""
        counts = compute_answer_mask(self.listening, self.right.size(1))
        return torch.ones_like(self.right) if counts is None else counts


@torch.inference_mode()
def evaluate_curves(
    model: TickModel, decoder: AnswerDecoder, batches: Iterable[Batch], signals: frozenset[str] = frozenset()
) -> EvaluationCurves:
    """Think about all samples to the last tick, and note also these of `ctm.modules.readout.SIGNALS`.

    Where the input says how many ticks a thought takes, the last one stands for those that a batch takes less than others.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for batch in batches:
        thought = model(batch.inputs.to(device))
        certainty = compute_certainty(thought.answers.permute(2, 1, 0), decoder.positions).permute(2, 1, 0)
        right = decoder.is_correct(thought.answers, batch.targets.to(device))
        counts = compute_answer_mask(thought.input_ticks, right.size(1))
        parts.append(
            (
                (right if counts is None else right & counts).cpu(),
                decoder.choices(thought.answers).cpu(),
                certainty.cpu(),
                None if thought.energies is None else thought.energies.cpu(),
                batch.difficulty,
                batch.targets,
                None if thought.input_ticks is None else thought.input_ticks.cpu(),
                compute_signals_by_tick(signals, thought.answers, decoder.positions),
            )
        )
    model.train(training)
    right, choices, certainty, energies, difficulty, targets, listening, noted = zip(*parts, strict=True)
    return EvaluationCurves(
        concatenate_ticks(right),
        concatenate_ticks(choices),
        concatenate_ticks(certainty),
        None if energies[0] is None else concatenate_ticks(energies),
        torch.cat(difficulty),
        torch.cat(targets),
        None if listening[0] is None else torch.cat(listening),
        {name: concatenate_ticks([part[name] for part in noted]) for name in signals},
        isinstance(decoder, CTCDecoder),
    )


def compute_signals_by_tick(
    names: frozenset[str], answers: Float[Tensor, "B K T"], positions: int
) -> dict[str, Float[Tensor, "B T"]]:
    """What else a rule may look at, of all ticks at once; see `ctm.modules.readout.signals_of`."""
    by_tick = answers.transpose(1, 2)
    first = compute_answer_signals(names, by_tick[:, :1], None, positions)
    later = compute_answer_signals(names, by_tick[:, 1:], by_tick[:, :-1], positions)
    return {name: torch.cat((first[name], later[name]), 1).cpu() for name in names}


def concatenate_ticks(parts: Sequence[Shaped[Tensor, "_ *P _"]]) -> Shaped[Tensor, "n *P T"]:
    """Batches one after the other, the last tick of shorter ones repeated."""
    most = max(part.size(-1) for part in parts)
    return torch.cat([part[..., torch.arange(most).clamp(max=part.size(-1) - 1)] for part in parts])


def build_split_batches(task: Task, split: str, max_samples: int) -> list[Batch]:
    """Held-out samples of a split: all of them where they are few, else some drawn with a fixed seed, none twice.

    Of a split that is twice as large as that for calibration, twice as many are drawn as the `most` of that one. Else what is
    drawn often, and kept once, would be rarer among fewer kept, and no promise made on one split would hold on the other.
    """
    assert split != TRAIN
    everything = getattr(task, "load_full_split", None)
    draws = max_samples * SPLIT_PERCENT.get(split, SPLIT_PERCENT[CALIBRATION]) // SPLIT_PERCENT[CALIBRATION]
    whole = everything(split) if everything else task.sample(split, draws, make_generator("evaluation", split))
    return split_into_batches(deduplicate(whole))


def split_into_batches(batch: Batch, batch_size: int = 256) -> list[Batch]:
    """Samples in portions that fit memory."""
    return [
        Batch(batch.inputs[i : i + batch_size], batch.targets[i : i + batch_size], batch.difficulty[i : i + batch_size])
        for i in range(0, len(batch.inputs), batch_size)
    ]


def deduplicate(batch: Batch) -> Batch:
    """The batch with every input once, in order of appearance."""
    keys = [digest(row) for row in batch.inputs.flatten(1).contiguous().numpy()]
    first = torch.tensor(sorted({key: row for row, key in reversed(list(enumerate(keys)))}.values()))
    if len(first) == len(keys):
        return batch
    return Batch(batch.inputs[first], batch.targets[first], batch.difficulty[first])


def summarise_curves(curves: EvaluationCurves) -> dict[str, Any]:
    """Figures of a set of curves."""
    by_tick = curves.right.float().mean(0)
    certainty = curves.certainty.mean(1).masked_fill(~curves.answer_mask, -1)
    values = {
        "accuracy_best": by_tick.max().item(),
        "best_tick": int(by_tick.argmax()) + 1,
        "accuracy_last": by_tick[-1].item(),
        "accuracy_certain": curves.right.gather(1, certainty.argmax(1, keepdim=True)).float().mean().item(),
        "certainty_auroc": tick_auroc(certainty, curves.right, curves.answer_mask),
    }
    if curves.energy is not None:
        energy = curves.energy.masked_fill(~curves.answer_mask, torch.inf)
        values["accuracy_lowest_energy"] = curves.right.gather(1, energy.argmin(1, keepdim=True)).float().mean().item()
        values["energy_auroc"] = tick_auroc(-energy, curves.right, curves.answer_mask)
    return values


def compute_reliability(
    p_correct: Float[Tensor, " n"], correct: Bool[Tensor, " n"], num_bins: int = 15
) -> dict[str, Any]:
    """How far a chance to be right can be believed.

    Returns:
        ece: mean gap between what is said and what happens, over bins of equal width; brier, nll: mean squared error and mean
        negative log-likelihood, in nats, of what is said; bins: mean chance, share of right answers and count of each that is
        not empty (a reliability diagram).
    """
    p_correct, happened = p_correct.double().clamp(1e-12, 1 - 1e-12), correct.double()
    place = (p_correct * num_bins).long().clamp(max=num_bins - 1)
    count = torch.bincount(place, minlength=num_bins)
    said, found = (torch.bincount(place, weights, num_bins) / count.clamp(min=1) for weights in (p_correct, happened))
    return {
        "ece": ((said - found).abs() * count).sum().item() / len(p_correct),
        "brier": (p_correct - happened).square().mean().item(),
        "nll": -(happened * p_correct.log() + (1 - happened) * (1 - p_correct).log()).mean().item(),
        "bins": [
            [round(said[i].item(), 4), round(found[i].item(), 4), int(count[i])] for i in range(num_bins) if count[i]
        ],
    }


def compute_validation_metrics(curves: EvaluationCurves, energy_threshold: float | None) -> dict[str, Any]:
    """Figures to watch while a machine learns: what halting below an energy would give, energies of right and wrong."""
    figures: dict[str, Any] = {"accuracy_by_tick": [round(value, 4) for value in curves.right.float().mean(0).tolist()]}
    if curves.energy is None or energy_threshold is None:
        return figures
    energy = curves.energy.masked_fill(~curves.answer_mask, torch.inf)
    low = energy < energy_threshold
    halts = torch.where(low.any(1), low.float().argmax(1), energy.argmin(1))  # at the end the lowest answers
    used = torch.where(low.any(1), halts + 1, low.size(1))
    figures["accuracy_halted"] = curves.right.gather(1, halts.unsqueeze(1)).float().mean().item()
    figures["mean_ticks"] = used.float().mean().item()
    for name, which in (("energy_right", curves.right), ("energy_wrong", ~curves.right & curves.answer_mask)):
        if which.any():
            figures[name] = curves.energy[which].mean().item()
    return figures


def spearman_correlation(a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> float | None:
    """Spearman's rank correlation, equal values sharing their mean rank; None where one of the two never differs."""
    ranks = []
    for values in (a, b):
        _, places, counts = values.unique(return_inverse=True, return_counts=True)
        if len(counts) < 2:
            return None
        ranks.append((counts.cumsum(0) - (counts - 1) / 2)[places].double())
    return torch.corrcoef(torch.stack(ranks))[0, 1].item()


def tick_auroc(
    score: Float[Tensor, "n T"], correct: Bool[Tensor, "n T"], answer_mask: Bool[Tensor, "n T"] | None = None
) -> float | None:
    """Chance that a right answer scores above a wrong one at the same tick, over all such pairs that count.

    Averaged over ticks with the number of pairs as weight: pooling ticks would flatter any score that merely rises with
    time. None where all answers are right or all are wrong.
    """
    wins, pairs = 0.0, 0
    wrong = ~correct if answer_mask is None else ~correct & answer_mask
    for tick in range(score.size(1)):
        good, bad = score[correct[:, tick], tick], score[wrong[:, tick], tick]
        if len(good) and len(bad):
            order = torch.cat((good, bad)).double()
            unique, places = order.unique(return_inverse=True)
            answer_mask = torch.bincount(places, minlength=len(unique)).double()
            ranks = (answer_mask.cumsum(0) - (answer_mask - 1) / 2)[places]
            wins += (ranks[: len(good)].sum() - len(good) * (len(good) + 1) / 2).item()
            pairs += len(good) * len(bad)
    return wins / pairs if pairs else None
