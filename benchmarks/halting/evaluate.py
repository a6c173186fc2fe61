"""Evaluate all policies on one frozen model.

Energy heads are fitted on validation samples and deployed thresholds are chosen on calibration samples. Everything is measured on
test samples, where the whole frontier of every policy is swept in the same way.
"""

import statistics
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.halting.chosen_thresholds import (
    evaluate_at_calibration_threshold,
    evaluate_reliability,
    evaluate_risk_control,
)
from benchmarks.halting.frozen_models import CachedUnrolls, FrozenModel, SplitUnrolls, load_or_compute_unrolls
from benchmarks.halting.metrics import HaltingMetrics, bootstrap_metrics, risk_coverage
from benchmarks.halting.policies_under_test import (
    DEFAULT_ENERGY_KIND,
    ENERGY_KINDS,
    FORK_LOSS_PARAMS,
    EnergyHead,
    build_energy_history,
    compute_share,
    evaluate_energy_policy,
    evaluate_fork_policies,
    evaluate_give_up_policy,
    evaluate_settling_policy,
    iterate_answer_policies,
    list_threshold_policies,
    load_or_fit_head,
    with_eventually_correct_labels,
)
from benchmarks.halting.timing import measure_time_savings
from inference.halting.frontier import OperatingPoints, compute_shuffled_baseline
from inference.halting.policies import EnergyBelow
from inference.halting.risk_control import is_correct_at_full_budget
from inference.halting.thresholds import compute_masked_score
from inference.tick_history import TickHistory
from training.energy.features import EnergyHeadDataset
from training.metrics import tick_auroc
from training.tasks.splits import CALIBRATION, TEST, VALIDATION

NUM_HEAD_SEEDS = {DEFAULT_ENERGY_KIND: 2}  # the energy that the README reports; 1 head of each other kind


def evaluate_frozen_model(frozen_model: FrozenModel) -> dict[str, Any]:
    """Evaluate all policies on a model.

    Returns:
        Figures of the model. `draws` are those of the bootstrap, for comparisons over models.
    """
    splits = SplitUnrolls(*(load_or_compute_unrolls(frozen_model, split) for split in (VALIDATION, CALIBRATION, TEST)))
    dataset = splits.validation.energy_dataset
    heads = load_or_fit_heads(frozen_model, dataset)
    default_head = heads[DEFAULT_ENERGY_KIND][0]
    eventually_correct_head = load_or_fit_head(
        frozen_model, "hope", "calibrated", 0, with_eventually_correct_labels(dataset)
    )
    fork_head = load_or_fit_head(frozen_model, "fork", "contrastive", 0, dataset, FORK_LOSS_PARAMS)
    curves = splits.test.curves
    points = compute_operating_points(heads, eventually_correct_head, splits.test)
    halting_metrics = HaltingMetrics(curves.correct, curves.difficulty)
    default_points = points[get_head_name(default_head)]
    threshold = find_energy_threshold(halting_metrics.target_accuracy, default_points)
    return {
        "name": frozen_model.name,
        "seed": frozen_model.seed,
        "digest": frozen_model.digest,
        "command": frozen_model.training_metadata["command"],
        "n": {split: len(getattr(splits, split).curves.correct) for split in (VALIDATION, CALIBRATION, TEST)},
        "iterations": halting_metrics.budget,
        "target": halting_metrics.target_accuracy,
        "best_fixed": describe_best_fixed_tick(curves.correct),
        "read_out": evaluate_readouts(default_head, splits.test),
        "rules": average_heads(compute_policy_metrics(halting_metrics, points, heads, splits)),
        "fork": evaluate_fork_policies(fork_head, splits.test),
        "deployed": evaluate_at_calibration_threshold(default_head, splits),
        "promise": evaluate_risk_control(default_head, splits),
        "time": measure_time_savings(frozen_model, default_head, threshold),
        "draws": average_heads(bootstrap_metrics(points, curves.correct)),
    }


def load_or_fit_heads(frozen_model: FrozenModel, dataset: EnergyHeadDataset) -> dict[str, list[EnergyHead]]:
    """Return the energy heads of every kind, one for each seed."""
    return {
        kind: [load_or_fit_head(frozen_model, kind, kind, seed, dataset) for seed in range(NUM_HEAD_SEEDS.get(kind, 1))]
        for kind in ENERGY_KINDS
    }


def iterate_heads(heads: dict[str, list[EnergyHead]]) -> Iterator[EnergyHead]:
    """Yield the heads of all kinds."""
    for heads_of_kind in heads.values():
        yield from heads_of_kind


def compute_operating_points(
    heads: dict[str, list[EnergyHead]], eventually_correct_head: EnergyHead, test: CachedUnrolls
) -> dict[str, OperatingPoints]:
    """Return the operating points of all policies, and of the ticks of the default energy in random order."""
    points = dict(iterate_answer_policies(test))
    points |= iterate_energy_policies(heads, eventually_correct_head, test)
    points["by chance"] = compute_shuffled_baseline(
        points[get_head_name(heads[DEFAULT_ENERGY_KIND][0])],
        TickHistory.from_curves(test.curves).best_tick,
        test.curves.correct,
    )
    return points


def compute_policy_metrics(
    halting_metrics: HaltingMetrics,
    points: dict[str, OperatingPoints],
    heads: dict[str, list[EnergyHead]],
    splits: SplitUnrolls,
) -> dict[str, dict[str, Any]]:
    """Return the metrics of every policy, by name."""
    fixed_area, oracle_area = (points[name].build_frontier(halting_metrics.budget).area for name in ("fixed", "oracle"))
    metrics = {
        name: halting_metrics.compute(policy_points, (fixed_area, oracle_area))
        for name, policy_points in points.items()
    }
    curves = splits.test.curves
    for name, score in iterate_scores(heads, splits.test):
        metrics[name]["auroc"] = tick_auroc(score, curves.correct, curves.answer_mask)
        metrics[name]["risk_coverage"] = risk_coverage(score, curves.correct)
    for head in iterate_heads(heads):
        metrics[get_head_name(head)]["reliability"] = evaluate_reliability(head, splits)
    return metrics


def describe_best_fixed_tick(correct: Bool[Tensor, "n T"]) -> dict[str, float]:
    """Return the most accurate tick, from 1, its accuracy, and the accuracy of the last tick."""
    accuracy_by_tick = correct.double().mean(0)
    return {
        "tick": int(accuracy_by_tick.argmax()) + 1,
        "accuracy": accuracy_by_tick.max().item(),
        "last": accuracy_by_tick[-1].item(),
    }


def find_energy_threshold(target_accuracy: float, operating_points: OperatingPoints) -> float:
    """Return the energy threshold with the fewest ticks that reaches the target; else the most accurate one."""
    reaches_target = operating_points.accuracy >= min(target_accuracy, operating_points.accuracy.max().item())
    index = int(operating_points.mean_ticks.masked_fill(~reaches_target, torch.inf).argmin())
    return -operating_points.levels[index].item()


def get_head_name(head: EnergyHead) -> str:
    """Return the name of a head in the results."""
    return f"energy: {head.kind}, head {head.seed}"


def iterate_energy_policies(
    heads: dict[str, list[EnergyHead]], eventually_correct_head: EnergyHead, test: CachedUnrolls
) -> Iterator[tuple[str, OperatingPoints]]:
    """Yield the names and the operating points of the policies of all heads."""
    for head in iterate_heads(heads):
        yield get_head_name(head), evaluate_energy_policy(head, test)
    yield "time to settle", evaluate_settling_policy(heads["hazard"][0], test)
    yield "giving up", evaluate_give_up_policy(heads["calibrated"][0], eventually_correct_head, test)


def iterate_scores(
    heads: dict[str, list[EnergyHead]], test: CachedUnrolls
) -> Iterator[tuple[str, Float[Tensor, "n T"]]]:
    """Yield the names and the scores that threshold policies compare with their levels."""
    history = TickHistory.from_curves(test.curves)
    for name, make_policy in list_threshold_policies(history):
        yield name, compute_masked_score(make_policy(0.0), history)
    for head in iterate_heads(heads):
        yield get_head_name(head), compute_masked_score(EnergyBelow(0.0), build_energy_history(test, head))


def average_heads(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Merge the heads of each policy: the mean of every figure; the corners are those of the first head."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, figures in results.items():
        groups.setdefault(name.partition(", head ")[0], []).append(figures)
    return {name: group[0] if len(group) == 1 else mean_over_heads(group) for name, group in groups.items()}


def mean_over_heads(measurements: list[Any]) -> Any:
    """Return the mean of the figures of several heads, number by number; None if a head has no value.

    Corners and bins are those of the first head.
    """
    if any(value is None for value in measurements):
        return None
    if isinstance(measurements[0], dict):
        return {
            key: measurements[0][key]
            if key in ("corners", "bins")
            else mean_over_heads([figures.get(key) for figures in measurements])
            for key in measurements[0]
        }
    if isinstance(measurements[0], list):
        return [mean_over_heads(list(values)) for values in zip(*measurements, strict=True)]
    return statistics.fmean(measurements)


def evaluate_readouts(head: EnergyHead, test: CachedUnrolls) -> dict[str, float]:
    """Return the accuracy after all ticks of the last, the most certain (as in the paper) and the lowest-energy tick."""
    correct = test.curves.correct
    score = compute_masked_score(EnergyBelow(0.0), build_energy_history(test, head))
    lowest_energy_index = score.argmax(1, keepdim=True)
    return {
        "last": compute_share(correct[:, -1]),
        "most_certain": compute_share(is_correct_at_full_budget(TickHistory.from_curves(test.curves), correct)),
        "lowest_energy": compute_share(correct.gather(1, lowest_energy_index).squeeze(1)),
    }
