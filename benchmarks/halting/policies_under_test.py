"""Policies under comparison, each as its operating points at all levels.

Where a policy never stops, the most certain tick answers, as in the engine.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.halting.frozen_models import FINALIZE_CONFIG, CachedUnrolls, FrozenModel, write_safetensors
from ctm.config import ENERGY_HEAD_DEFAULTS
from ctm.modules.readout import make_energy_head
from inference.halting.frontier import (
    OperatingPoints,
    compute_fixed_tick_points,
    compute_oracle_points,
    compute_policy_points,
    compute_score_points,
)
from inference.halting.policies import EnergyBelow, SameAnswer, ThresholdPolicy
from inference.halting.policy_parser import THRESHOLD_POLICIES, parse
from inference.halting.thresholds import compute_masked_score, replay
from inference.tick_history import TickHistory
from training.energy.features import EnergyHeadDataset
from training.energy.fitting import fit_energy_head
from training.energy.losses import EnergyKind, EnergyLossParams

ENERGY_KINDS: tuple[EnergyKind, ...] = get_args(EnergyKind)
ANSWER_THRESHOLD_POLICIES = {  # certainty is one minus entropy, so it is also the criterion of BranchyNet
    form[:-1]: THRESHOLD_POLICIES[form]
    for form in ("certainty>", "certainty.min>", "probability>", "margin>", "change<")
}
FORK_LOSS_PARAMS = EnergyLossParams(margin=5.0)  # from the YAML file of the fork
FORK_POLICIES = ("energy<0.5|converged<0.01x1", "energy<0.5")
DEFAULT_ENERGY_KIND = "wait"
MIN_GAINS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # in P(correct), for which a policy that may give up continues


@dataclass(frozen=True)
class EnergyHead:
    """Energy head fitted on validation samples.

    Attributes:
        kind: kind of the energy loss.
        seed: seed of the initialisation and of the folds.
        module: the network.
    """

    kind: str
    seed: int
    module: nn.Sequential

    @torch.no_grad()
    def compute_energies(self, dataset: EnergyHeadDataset) -> Float[Tensor, "n T"]:
        """Return the energies of all samples, shape (n, T)."""
        return torch.cat(
            [dataset.compute_energies(self.module, rows) for rows in torch.arange(len(dataset.features)).split(512)]
        )


def load_or_fit_head(
    frozen_model: FrozenModel,
    cache_name: str,
    kind: EnergyKind,
    seed: int,
    dataset: EnergyHeadDataset,
    loss_params: EnergyLossParams | None = None,
) -> EnergyHead:
    """Return an energy head of a frozen model, from the cache if it is there.

    Args:
        frozen_model: the model.
        cache_name: name of the cached file, together with the seed.
        kind: kind of the energy loss.
        seed: seed of the initialisation and of the folds.
        dataset: validation samples.
        loss_params: settings of the loss; None for the defaults.
    """
    path = frozen_model.get_cache_path(f"{cache_name}-{seed}")
    torch.manual_seed(seed)
    head = make_energy_head(dataset.features.size(2), ENERGY_HEAD_DEFAULTS["energy_hidden_dim"])
    if not path.is_file():
        fit_energy_head(head, dataset, kind, loss_params or EnergyLossParams(), FINALIZE_CONFIG.fit_steps, seed)
        write_safetensors(path, head.state_dict())
    head.load_state_dict(load_file(path))
    return EnergyHead(kind, seed, head)


def iterate_answer_policies(unrolls: CachedUnrolls) -> Iterator[tuple[str, OperatingPoints]]:
    """Yield the names and the operating points of the policies that need no energy."""
    history = TickHistory.from_curves(unrolls.curves)
    correct = unrolls.curves.correct
    yield "fixed", compute_fixed_tick_points(correct)
    for name, make_policy in list_threshold_policies(history):
        yield name, add_first_tick_level(compute_policy_points(make_policy, history, correct), correct)
    yield "patience", compute_score_points(compute_masked_score(SameAnswer(1), history), history.best_tick, correct)
    yield "oracle", compute_oracle_points(correct)
    yield "settled oracle", build_stable_oracle(correct)


def add_first_tick_level(operating_points: OperatingPoints, correct: Bool[Tensor, "n T"]) -> OperatingPoints:
    """Add a level at which every sample stops at its first tick, where `change` has no previous tick."""
    ticks = torch.cat((torch.ones_like(operating_points.ticks[:1]), operating_points.ticks))
    return OperatingPoints(ticks, torch.cat((correct[:, 0].unsqueeze(0), operating_points.correct)))


def build_stable_oracle(correct: Bool[Tensor, "n T"]) -> OperatingPoints:
    """Evaluate an oracle that waits until the answer stays correct, so that lucky guesses do not count.

    A sample that never becomes stable stops at once.
    """
    stays_correct = correct.flip(1).int().cummin(1).values.flip(1).bool()
    stable_points = compute_oracle_points(stays_correct)
    return OperatingPoints(stable_points.ticks, stable_points.correct | correct[:, 0])


def list_threshold_policies(history: TickHistory) -> list[tuple[str, Callable[[float], ThresholdPolicy]]]:
    """List the threshold policies of the answer; for one position, the minimum is the mean."""
    return [
        (name, make_policy)
        for name, make_policy in ANSWER_THRESHOLD_POLICIES.items()
        if name != "certainty.min" or history.certainty.size(2) > 1
    ]


def evaluate_energy_policy(head: EnergyHead, unrolls: CachedUnrolls) -> OperatingPoints:
    """Evaluate stopping below an energy."""
    return compute_policy_points(EnergyBelow, build_energy_history(unrolls, head), unrolls.curves.correct)


def build_energy_history(unrolls: CachedUnrolls, head: EnergyHead) -> TickHistory:
    """Return the history with the energies of a head."""
    return replace(TickHistory.from_curves(unrolls.curves), energy=head.compute_energies(unrolls.energy_dataset))


def evaluate_settling_policy(head: EnergyHead, unrolls: CachedUnrolls) -> OperatingPoints:
    """Evaluate stopping once the answer has probably settled: 1 minus the product of the hazards' complements."""
    history = build_energy_history(unrolls, head)
    assert history.energy is not None
    p_settled = 1 - torch.sigmoid(history.energy.double()).cumprod(1)
    score = p_settled.masked_fill(~unrolls.curves.answer_mask, -torch.inf)
    return compute_score_points(score, history.best_tick, unrolls.curves.correct)


def evaluate_give_up_policy(
    head: EnergyHead, eventually_correct_head: EnergyHead, unrolls: CachedUnrolls
) -> OperatingPoints:
    """Evaluate stopping when the answer is probably correct, or when a later tick is unlikely to be better.

    It combines two energies with a level each.

    Args:
        head: its energy is the logit of an incorrect answer now.
        eventually_correct_head: its energy is the logit of incorrect answers now and at all later ticks.
        unrolls: samples to evaluate on.
    """
    history = build_energy_history(unrolls, head)
    p_correct_now, p_correct_later = (
        torch.sigmoid(-each_head.compute_energies(unrolls.energy_dataset))
        for each_head in (head, eventually_correct_head)
    )
    curves = unrolls.curves
    points = []
    for min_gain in MIN_GAINS:
        score = p_correct_now
        if min_gain:
            score = score.masked_fill(p_correct_later - p_correct_now < min_gain, 2.0)
        score = score.masked_fill(~curves.answer_mask, -torch.inf)
        points.append(compute_score_points(score, history.best_tick, curves.correct))
    return OperatingPoints(torch.cat([part.ticks for part in points]), torch.cat([part.correct for part in points]))


def with_eventually_correct_labels(dataset: EnergyHeadDataset) -> EnergyHeadDataset:
    """Return the samples with labels that are True if the answer is correct at the tick or later."""
    correct = dataset.correct & dataset.answer_mask
    return replace(dataset, correct=correct.flip(1).int().cummax(1).values.flip(1).bool())


def evaluate_fork_policies(head: EnergyHead, unrolls: CachedUnrolls) -> dict[str, dict[str, Any]]:
    """Evaluate the two policies of the energy-halting fork at its own thresholds.

    The last tick answers when the budget is exhausted, as in the fork.
    """
    history = build_energy_history(unrolls, head)
    figures = {}
    for policy in FORK_POLICIES:
        policy_replay = replay(parse(policy), history, unrolls.curves.correct)
        correct = unrolls.curves.correct.gather(1, policy_replay.ticks.unsqueeze(1) - 1).squeeze(1)
        rows_by_reason: dict[str, list[int]] = {}
        for row, halt_reason in enumerate(policy_replay.halted_by):
            rows_by_reason.setdefault(halt_reason, []).append(row)
        figures[policy] = {
            "accuracy": compute_share(correct),
            "mean_ticks": policy_replay.mean_ticks,
            "exits": {
                halt_reason: {"n": len(rows), "accuracy": compute_share(correct[rows])}
                for halt_reason, rows in sorted(rows_by_reason.items())
            },
        }
    return figures


def compute_share(values: Bool[Tensor, " n"]) -> float:
    """Return the share of True values."""
    return values.double().mean().item()
