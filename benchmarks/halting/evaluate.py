"""All rules on one trunk: heads are fitted on validation samples, levels for use are chosen on calibration samples, and
everything is measured on test samples, whose whole frontier is swept for every rule alike."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.halting.frozen_models import FINISH, Thoughts, Trunk, thoughts
from benchmarks.halting.metrics import Ruler, resampled, risk_coverage
from benchmarks.halting.policies_under_test import (
    BY_ANSWER,
    FORK,
    KINDS,
    SHIPPED,
    Head,
    as_the_fork_wrote_it,
    by_answer,
    by_energy,
    by_threshold,
    by_time_to_settle,
    fitted,
    hopes,
    mean,
    with_energy,
    with_giving_up,
)
from benchmarks.halting.timing import time_saved
from ctm.checkpoint.metadata import CorrectnessModel
from inference.halting.frontier import OperatingPoints, compute_shuffled_baseline
from inference.halting.policies import EnergyBelow
from inference.halting.risk_control import (
    RiskGuarantee,
    drop_dominated_thresholds,
    find_largest_certified_index,
    is_correct_at_full_budget,
)
from inference.halting.thresholds import choose_threshold, compute_masked_score, get_candidate_thresholds, replay, sweep
from inference.tick_history import TickHistory
from training.energy.losses import IS_A_LOGIT
from training.evaluation import reliability, tick_auroc
from training.finalize import chance_of, said
from training.tasks.base import CALIBRATION, TEST, VALIDATION

PROMISE = RiskGuarantee(risk=0.01, confidence=0.95)
RE_SPLITS = 100
HEAD_SEEDS = {SHIPPED: 2}  # of the energy that the README tells of; 1 of the others, each the mean of several folds


@dataclass(frozen=True)
class Splits:
    validation: Thoughts
    calibration: Thoughts
    test: Thoughts


def compare(trunk: Trunk) -> dict[str, Any]:
    """Figures of all rules on a trunk; `draws` are those of the bootstrap, for comparisons over several trunks."""
    splits = Splits(*(thoughts(trunk, split) for split in (VALIDATION, CALIBRATION, TEST)))
    curves = splits.test.curves
    ruler = Ruler(curves.right, curves.difficulty)
    felt = splits.validation.felt
    heads = {kind: [fitted(trunk, kind, kind, seed, felt) for seed in range(HEAD_SEEDS.get(kind, 1))] for kind in KINDS}
    hope, fork = (
        fitted(trunk, "hope", "calibrated", 0, hopes(felt)),
        fitted(trunk, "fork", "contrastive", 0, felt, FORK),
    )
    families = dict(by_answer(splits.test)) | dict(learned(heads, hope, splits.test))
    shipped = heads[SHIPPED][0]
    families["by chance"] = compute_shuffled_baseline(
        families[f"energy: {SHIPPED}, head 0"], TickHistory.from_curves(curves).best_tick, curves.right
    )
    areas = tuple(families[name].build_frontier(ruler.budget).area for name in ("fixed", "oracle"))
    rules = {name: ruler.measured(family, areas) for name, family in families.items()}
    for name, score in scores(heads, splits.test):
        rules[name] |= {
            "auroc": tick_auroc(score, curves.right, curves.counts),
            "risk_coverage": risk_coverage(score, curves.right),
        }
    for head in (head for each in heads.values() for head in each):
        rules[name_of(head)]["reliability"] = believed(head, splits)
    by_tick = curves.right.double().mean(0)
    return {
        "name": trunk.name,
        "seed": trunk.seed,
        "digest": trunk.digest,
        "command": trunk.training["command"],
        "n": {split: len(getattr(splits, split).curves.right) for split in (VALIDATION, CALIBRATION, TEST)},
        "iterations": ruler.budget,
        "target": ruler.target,
        "best_fixed": {"tick": int(by_tick.argmax()) + 1, "accuracy": by_tick.max().item(), "last": by_tick[-1].item()},
        "read_out": read_outs(shipped, splits.test),
        "rules": averaged(rules),
        "fork": as_the_fork_wrote_it(fork, splits.test),
        "deployed": deployed(shipped, splits),
        "promise": kept(shipped, splits),
        "time": time_saved(trunk, shipped, level_for(ruler.target, families[f"energy: {SHIPPED}, head 0"])),
        "draws": averaged(resampled(families, curves.right)),
    }


def level_for(target: float, family: OperatingPoints) -> float:
    """The boldest level of an energy that still reaches the target; the most accurate one where none does."""
    reaches = family.accuracy >= min(target, family.accuracy.max().item())
    return -family.levels[int(family.mean_ticks.masked_fill(~reaches, torch.inf).argmin())].item()


def name_of(head: Head) -> str:
    return f"energy: {head.kind}, head {head.seed}"


def learned(heads: dict[str, list[Head]], hope: Head, test: Thoughts) -> Iterator[tuple[str, OperatingPoints]]:
    """The rules of all heads."""
    for head in (head for each in heads.values() for head in each):
        yield name_of(head), by_energy(head, test)
    yield "time to settle", by_time_to_settle(heads["hazard"][0], test)
    yield "giving up", with_giving_up(heads["calibrated"][0], hope, test)


def scores(heads: dict[str, list[Head]], test: Thoughts) -> Iterator[tuple[str, Float[Tensor, "n T"]]]:
    """What rules compare with their levels."""
    history = TickHistory.from_curves(test.curves)
    for name, make in by_threshold(history):
        yield name, compute_masked_score(make(0.0), history)
    for head in (head for each in heads.values() for head in each):
        yield name_of(head), compute_masked_score(EnergyBelow(0.0), with_energy(test, head))


def averaged(rules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One entry for all heads of a rule: the mean of every figure, the corners of the first; and the figures of each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, figures in rules.items():
        groups.setdefault(name.partition(", head ")[0], []).append(figures)
    return {name: each[0] if len(each) == 1 else middle(each) for name, each in groups.items()}


def middle(each: list[Any]) -> Any:
    """The mean of what several heads measured, number by number; lists of corners and bins are those of the first head. None
    where one of them has not measured it."""
    if any(value is None for value in each):
        return None
    if isinstance(each[0], dict):
        return {
            key: each[0][key] if key in ("corners", "bins") else middle([figures.get(key) for figures in each])
            for key in each[0]
        }
    if isinstance(each[0], list):
        return [middle(list(values)) for values in zip(*each, strict=True)]
    return statistics.fmean(each)


def believed(head: Head, splits: Splits) -> dict[str, Any] | None:
    """How far the chance to be right can be believed that comes with an answer, as of a finished checkpoint."""
    seen, fresh = (replace(part.curves, energy=head.energies(part.felt)) for part in (splits.calibration, splits.test))
    before, after = TickHistory.from_curves(seen), TickHistory.from_curves(fresh)
    policy, _, _ = choose_threshold(
        EnergyBelow, get_candidate_thresholds(EnergyBelow, before), before, seen.right, FINISH.tolerance
    )
    chance = CorrectnessModel() if head.kind in IS_A_LOGIT else chance_of(seen, replay(policy, before, seen.right))
    played = replay(policy, after, fresh.right)
    return None if chance is None else reliability(said(chance, fresh, played), played.correct)


def read_outs(head: Head, test: Thoughts) -> dict[str, float]:
    """Answers that take all ticks: that of the last, of the most certain (the paper's), of the lowest energy."""
    right = test.curves.right
    lowest = compute_masked_score(EnergyBelow(0.0), with_energy(test, head)).argmax(1, keepdim=True)
    return {
        "last": mean(right[:, -1]),
        "most_certain": mean(is_correct_at_full_budget(TickHistory.from_curves(test.curves), right)),
        "lowest_energy": mean(right.gather(1, lowest).squeeze(1)),
    }


def deployed(head: Head, splits: Splits) -> dict[str, dict[str, Any]]:
    """Rules as they are used: the level is chosen on calibration samples, and meets the test samples once."""
    found = {}
    for name, make in [*BY_ANSWER.items(), ("energy", EnergyBelow)]:
        seen, fresh = (
            with_energy(part, head) if name == "energy" else TickHistory.from_curves(part.curves)
            for part in (splits.calibration, splits.test)
        )
        policy, accuracy, ticks = choose_threshold(
            make, get_candidate_thresholds(make, seen), seen, splits.calibration.curves.right, FINISH.tolerance
        )
        played = replay(policy, fresh, splits.test.curves.right)
        found[name] = {
            "policy": str(policy),
            "accuracy": played.accuracy,
            "mean_ticks": played.mean_ticks,
            "accuracy_when_chosen": accuracy,
            "mean_ticks_when_chosen": ticks,
        }
    return found


def kept(head: Head, splits: Splits) -> dict[str, dict[str, Any]]:
    """What thresholds that promise to lose at most so much, chosen on calibration samples, lose on test samples; {} where the
    calibration samples are too few to promise anything."""
    if len(splits.calibration.curves.right) < PROMISE.min_samples:
        return {}
    found = {}
    for name, make in (("certainty", BY_ANSWER["certainty"]), ("energy", EnergyBelow)):
        seen, *parts = (
            with_energy(part, head) if name == "energy" else TickHistory.from_curves(part.curves)
            for part in (splits.validation, splits.calibration, splits.test)
        )
        rights = [splits.calibration.curves.right, splits.test.curves.right]
        levels = drop_dominated_thresholds(
            make, get_candidate_thresholds(make, seen), seen, splits.validation.curves.right
        )
        played = [sweep(make, levels, history, right) for history, right in zip(parts, rights, strict=True)]
        lost = [
            is_correct_at_full_budget(history, right) & ~part.correct
            for history, right, part in zip(parts, rights, played, strict=True)
        ]
        level = find_largest_certified_index(lost[0], PROMISE)
        if level is not None:
            found[name] = {
                "policy": str(make(levels[level])),
                "lost": mean(lost[1][level]),
                "accuracy": played[1].accuracy[level].item(),
                "mean_ticks": played[1].mean_ticks[level].item(),
                "re_splits": re_split(torch.cat(lost, 1), len(rights[0])),
            }
    return found


def re_split(lost: Bool[Tensor, "k n"], calibration: int) -> dict[str, float]:
    """Over random choices of new calibration samples: mean share of all samples lost, and how often more than promised."""
    generator, shares = torch.Generator().manual_seed(0), []
    for _ in range(RE_SPLITS):
        order = torch.randperm(lost.size(1), generator=generator)
        level = find_largest_certified_index(lost[:, order[:calibration]], PROMISE)
        shares.append(0.0 if level is None else mean(lost[level]))
    broken = sum(value > PROMISE.risk for value in shares) / RE_SPLITS
    return {"splits": RE_SPLITS, "mean_lost": statistics.fmean(shares), "broken": broken}
