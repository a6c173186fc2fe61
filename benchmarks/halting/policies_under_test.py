"""Policies under comparison, each as its operating points at all levels.

Where a policy never stops, the most certain tick answers, as in the engine.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

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
from training.energy.fitting import EnergyHeadDataset, fit_energy_head
from training.energy.losses import EnergyKind, EnergyLossParams

ENERGY_KINDS: tuple[EnergyKind, ...] = get_args(EnergyKind)
ANSWER_THRESHOLD_POLICIES = {  # certainty is one minus entropy, so it is also the criterion of BranchyNet
    form[:-1]: THRESHOLD_POLICIES[form]
    for form in ("certainty>", "certainty.min>", "probability>", "margin>", "change<")
}
FORK_LOSS_PARAMS = EnergyLossParams(margin=5.0)  # from the YAML file of the fork
DEFAULT_ENERGY_KIND = "wait"


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
    """Return an energy head of a frozen model, from the cache if it is there."""
    path = frozen_model.get_cache_path(f"{cache_name}-{seed}")
    torch.manual_seed(seed)
    net = make_energy_head(dataset.features.size(2), ENERGY_HEAD_DEFAULTS["energy_hidden_dim"])
    if not path.is_file():
        fit_energy_head(net, dataset, kind, loss_params or EnergyLossParams(), FINALIZE_CONFIG.fit_steps, seed)
        write_safetensors(path, net.state_dict())
    net.load_state_dict(load_file(path))
    return EnergyHead(kind, seed, net)


def iterate_answer_policies(unrolls: CachedUnrolls) -> Iterator[tuple[str, OperatingPoints]]:
    """Yield the names and the operating points of the policies that need no energy."""
    history, right = TickHistory.from_curves(unrolls.curves), unrolls.curves.correct
    yield "fixed", compute_fixed_tick_points(right)
    for name, make in list_threshold_policies(history):
        yield name, add_first_tick_level(compute_policy_points(make, history, right), right)
    yield "patience", compute_score_points(compute_masked_score(SameAnswer(1), history), history.best_tick, right)
    yield "oracle", compute_oracle_points(right)
    yield "settled oracle", build_stable_oracle(right)


def add_first_tick_level(operating_points: OperatingPoints, correct: Bool[Tensor, "n T"]) -> OperatingPoints:
    """Add a level at which every sample stops at its first tick, where `change` has no previous tick."""
    ticks = torch.cat((torch.ones_like(operating_points.ticks[:1]), operating_points.ticks))
    return OperatingPoints(ticks, torch.cat((correct[:, 0].unsqueeze(0), operating_points.correct)))


def build_stable_oracle(correct: Bool[Tensor, "n T"]) -> OperatingPoints:
    """Evaluate an oracle that waits until the answer stays correct, so that lucky guesses do not count.

    A sample that never becomes stable stops at once.
    """
    stays = correct.flip(1).int().cummin(1).values.flip(1).bool()
    late = compute_oracle_points(stays)
    return OperatingPoints(late.ticks, late.correct | correct[:, 0])


def list_threshold_policies(history: TickHistory) -> list[tuple[str, Callable[[float], ThresholdPolicy]]]:
    """List the threshold policies of the answer; for one position, the minimum is the mean."""
    return [
        (name, make)
        for name, make in ANSWER_THRESHOLD_POLICIES.items()
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
    settled = 1 - torch.sigmoid(history.energy.double()).cumprod(1)
    answer_mask = unrolls.curves.answer_mask
    return compute_score_points(
        settled.masked_fill(~answer_mask, -torch.inf), history.best_tick, unrolls.curves.correct
    )


def evaluate_give_up_policy(head: EnergyHead, later_head: EnergyHead, unrolls: CachedUnrolls) -> OperatingPoints:
    """Evaluate stopping when the answer is probably correct, or when a later tick is unlikely to be better.

    It combines two energies with a level each. Both are logits: of an incorrect answer now, and of incorrect answers now and at all
    later ticks.
    """
    history, right = build_energy_history(unrolls, head), unrolls.curves.correct
    now, later = (torch.sigmoid(-each.compute_energies(unrolls.energy_dataset)) for each in (head, later_head))
    answer_mask = unrolls.curves.answer_mask
    points = []
    for min_gain in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
        score = now.masked_fill(later - now < min_gain, 2.0) if min_gain else now
        points.append(compute_score_points(score.masked_fill(~answer_mask, -torch.inf), history.best_tick, right))
    return OperatingPoints(torch.cat([each.ticks for each in points]), torch.cat([each.correct for each in points]))


def with_eventually_correct_labels(dataset: EnergyHeadDataset) -> EnergyHeadDataset:
    """Return the samples with labels that are True if the answer is correct at the tick or later."""
    right = dataset.correct & dataset.answer_mask
    return replace(dataset, correct=right.flip(1).int().cummax(1).values.flip(1).bool())


def evaluate_fork_policies(head: EnergyHead, unrolls: CachedUnrolls) -> dict[str, dict]:
    """Evaluate the two policies of the energy-halting fork at its own thresholds.

    The last tick answers when the budget is exhausted, as in the fork.
    """
    history, right = build_energy_history(unrolls, head), unrolls.curves.correct
    found = {}
    for policy in ("energy<0.5|converged<0.01x1", "energy<0.5"):
        played = replay(parse(policy), history, right)
        correct = right.gather(1, played.ticks.unsqueeze(1) - 1).squeeze(1)
        causes = {
            cause: [row for row, by in enumerate(played.halted_by) if by == cause] for cause in set(played.halted_by)
        }
        found[policy] = {
            "accuracy": compute_share(correct),
            "mean_ticks": played.mean_ticks,
            "exits": {
                cause: {"n": len(rows), "accuracy": compute_share(correct[rows])}
                for cause, rows in sorted(causes.items())
            },
        }
    return found


def compute_share(values: Bool[Tensor, " n"]) -> float:
    """Return the share of True values."""
    return values.double().mean().item()
