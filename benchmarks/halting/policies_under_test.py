"""Every rule of the comparison, as what it does to samples at all of its levels.

Where a rule never stops, the most certain tick answers, as in the engine.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.halting.frozen_models import FINISH, Thoughts, Trunk, write
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
from training.energy.fitting import Felt, fit_head
from training.energy.losses import Kind, Meaning

KINDS: tuple[Kind, ...] = get_args(Kind)
BY_ANSWER = {  # certainty is one minus entropy: BranchyNet's rule, too
    form[:-1]: THRESHOLD_POLICIES[form]
    for form in ("certainty>", "certainty.min>", "probability>", "margin>", "change<")
}
FORK = Meaning(margin=5.0)  # its YAML file; it stops below 0.5, or where the energy moved by less than 0.01
SHIPPED = "wait"


@dataclass(frozen=True)
class Head:
    """An energy head that was fitted on validation samples."""

    kind: str
    seed: int
    net: nn.Sequential

    @torch.no_grad()
    def energies(self, felt: Felt) -> Float[Tensor, "n T"]:
        return torch.cat([felt.energies(self.net, rows) for rows in torch.arange(len(felt.seen)).split(512)])


def fitted(trunk: Trunk, what: str, kind: Kind, seed: int, felt: Felt, meaning: Meaning | None = None) -> Head:
    """A head of the trunk, fitted or read from the file that keeps it."""
    path = trunk.kept(f"{what}-{seed}")
    torch.manual_seed(seed)
    net = make_energy_head(felt.seen.size(2), ENERGY_HEAD_DEFAULTS["energy_hidden_dim"])
    if not path.is_file():
        fit_head(net, felt, kind, meaning or Meaning(), FINISH.fit_steps, seed)
        write(path, net.state_dict())
    net.load_state_dict(load_file(path))
    return Head(kind, seed, net)


def by_answer(thoughts: Thoughts) -> Iterator[tuple[str, OperatingPoints]]:
    """The rules that need no energy."""
    history, right = TickHistory.from_curves(thoughts.curves), thoughts.curves.right
    yield "fixed", compute_fixed_tick_points(right)
    for name, make in by_threshold(history):
        yield name, or_at_once(compute_policy_points(make, history, right), right)
    yield "patience", compute_score_points(compute_masked_score(SameAnswer(1), history), history.best_tick, right)
    yield "oracle", compute_oracle_points(right)
    yield "settled oracle", settled(right)


def or_at_once(family: OperatingPoints, right: Bool[Tensor, "n T"]) -> OperatingPoints:
    """The same with a level at which every thought ends at its first tick, where `change` has nothing to compare."""
    ticks = torch.cat((torch.ones_like(family.ticks[:1]), family.ticks))
    return OperatingPoints(ticks, torch.cat((right[:, 0].unsqueeze(0), family.correct)))


def settled(right: Bool[Tensor, "n T"]) -> OperatingPoints:
    """Who knows all answers, but waits until this one stays right: what an oracle gets that is not lucky, where thoughts do not
    unlearn. One that never settles ends at once."""
    stays = right.flip(1).int().cummin(1).values.flip(1).bool()
    late = compute_oracle_points(stays)
    return OperatingPoints(late.ticks, late.correct | right[:, 0])


def by_threshold(history: TickHistory) -> list[tuple[str, Callable[[float], ThresholdPolicy]]]:
    """Rules of the answer with a threshold; the least of one position is its mean."""
    return [
        (name, make) for name, make in BY_ANSWER.items() if name != "certainty.min" or history.certainty.size(2) > 1
    ]


def by_energy(head: Head, thoughts: Thoughts) -> OperatingPoints:
    return compute_policy_points(EnergyBelow, with_energy(thoughts, head), thoughts.curves.right)


def with_energy(thoughts: Thoughts, head: Head) -> TickHistory:
    return replace(TickHistory.from_curves(thoughts.curves), energy=head.energies(thoughts.felt))


def by_time_to_settle(head: Head, thoughts: Thoughts) -> OperatingPoints:
    """Stop once it is likely that the thought has settled by now: 1 minus the product of what each tick leaves open."""
    history = with_energy(thoughts, head)
    settled = 1 - torch.sigmoid(history.energy.double()).cumprod(1)
    counts = thoughts.curves.counts
    return compute_score_points(settled.masked_fill(~counts, -torch.inf), history.best_tick, thoughts.curves.right)


def with_giving_up(head: Head, hope: Head, thoughts: Thoughts) -> OperatingPoints:
    """Stop when it is right, or when there is little hope that a later tick is more right: two energies, two levels. Both are
    logits: of being wrong now, and of being wrong now and at all later ticks."""
    history, right = with_energy(thoughts, head), thoughts.curves.right
    now, later = (torch.sigmoid(-each.energies(thoughts.felt)) for each in (head, hope))
    counts = thoughts.curves.counts
    families = []
    for least in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
        score = now.masked_fill(later - now < least, 2.0) if least else now
        families.append(compute_score_points(score.masked_fill(~counts, -torch.inf), history.best_tick, right))
    return OperatingPoints(torch.cat([each.ticks for each in families]), torch.cat([each.right for each in families]))


def hopes(felt: Felt) -> Felt:
    """The same thoughts, right at a tick if they are right then or later."""
    right = felt.right & felt.counts
    return replace(felt, right=right.flip(1).int().cummax(1).values.flip(1).bool())


def as_the_fork_wrote_it(head: Head, thoughts: Thoughts) -> dict[str, dict]:
    """Its two rules at its own levels, the second half alone, and who ended the thoughts; the last tick answers at the end."""
    history, right = with_energy(thoughts, head), thoughts.curves.right
    found = {}
    for policy in ("energy<0.5|converged<0.01x1", "energy<0.5"):
        played = replay(parse(policy), history, right)
        correct = right.gather(1, played.ticks.unsqueeze(1) - 1).squeeze(1)
        causes = {
            cause: [row for row, by in enumerate(played.halted_by) if by == cause] for cause in set(played.halted_by)
        }
        found[policy] = {
            "accuracy": mean(correct),
            "mean_ticks": played.mean_ticks,
            "exits": {
                cause: {"n": len(rows), "accuracy": mean(correct[rows])} for cause, rows in sorted(causes.items())
            },
        }
    return found


def mean(values: Bool[Tensor, " n"]) -> float:
    return values.double().mean().item()
