"""Aggregate the results of all models of a task."""

import math
import statistics
from typing import Any

import torch

from benchmarks.halting.metrics import ACCURACY_SLACK, compute_confidence_interval
from benchmarks.halting.policies_under_test import DEFAULT_ENERGY_KIND
from inference.halting.frontier import Frontier

ENERGY_POLICY = f"energy: {DEFAULT_ENERGY_KIND}"
CERTAINTY_POLICIES = ("certainty", "certainty.min")
METRIC_NAMES = ("ticks_at_target", "area", "normalised_area", "most_accurate", "auroc", "risk_coverage", "spearman")


def summarise_tasks(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each task the means over its models, and intervals of what the energy saves."""
    results_by_task: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        results_by_task.setdefault(result["name"], []).append(result)
    return {name: summarise_task(task_results) for name, task_results in results_by_task.items()}


def summarise_task(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over the models of one task, and intervals of what the energy saves."""
    best_fixed = [result["best_fixed"] for result in results]
    return {
        "seeds": [result["seed"] for result in results],
        "iterations": results[0]["iterations"],
        "n": results[0]["n"],
        "best_fixed": {
            **{key: mean_or_none([figures[key] for figures in best_fixed]) for key in ("tick", "accuracy")},
            "accuracy_by_trunk": [figures["accuracy"] for figures in best_fixed],
        },
        "rules": {policy_name: average_metrics(results, policy_name) for policy_name in results[0]["rules"]},
        "energy_against_certainty": compare_energy_with_certainty(results),
    }


def average_metrics(results: list[dict[str, Any]], policy_name: str) -> dict[str, float | None]:
    """Return the mean metrics of a policy over the models."""
    return {
        metric: mean_or_none([result["rules"][policy_name].get(metric) for result in results])
        for metric in METRIC_NAMES
        if metric in results[0]["rules"][policy_name]
    }


def mean_or_none(values: list[float | None]) -> float | None:
    """Return the mean, or None if a value is missing."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if len(present) == len(values) else None


def compare_energy_with_certainty(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the energy with the better certainty policy of each model, draw by draw.

    Returns:
        Share of ticks saved at equal accuracy and area gained, with 95 % intervals over samples, as means over the models, and the
        means of each model.
    """
    ticks_saved = []
    area_gained = []
    for result in results:
        draws = result["draws"]
        certainty_policy = min(
            (name for name in CERTAINTY_POLICIES if name in draws), key=lambda name: sum(draws[name]["ticks_at_target"])
        )
        energy_ticks, certainty_ticks = (
            torch.tensor(draws[name]["ticks_at_target"]).double() for name in (ENERGY_POLICY, certainty_policy)
        )
        energy_area, certainty_area = (
            torch.tensor(draws[name]["area"]).double() for name in (ENERGY_POLICY, certainty_policy)
        )
        ticks_saved.append(1 - energy_ticks / certainty_ticks)
        area_gained.append(energy_area - certainty_area)
    return {
        "ticks_saved": compute_confidence_interval(torch.stack(ticks_saved).mean(0)),
        "ticks_saved_by_trunk": [values.mean().item() for values in ticks_saved],
        "area_won": compute_confidence_interval(torch.stack(area_gained).mean(0)),
        "area_won_by_trunk": [values.mean().item() for values in area_gained],
        "ticks_saved_at_the_top_by_trunk": [compute_savings_at_top_accuracy(result["rules"]) for result in results],
    }


def compute_savings_at_top_accuracy(results_by_policy: dict[str, Any]) -> float:
    """Return the share of ticks that the energy saves near the highest accuracy that both it and certainty reach.

    The accuracies are compared at half a point below it. Policies that choose a tick per sample may be far more accurate than any
    fixed tick; at that accuracy less can be saved.
    """
    energy_frontier, *certainty_frontiers = (
        Frontier(tuple((float(ticks), float(accuracy)) for ticks, accuracy in results_by_policy[name]["corners"]))
        for name in (ENERGY_POLICY, *CERTAINTY_POLICIES)
        if name in results_by_policy
    )
    certainty_top = max(frontier.points[-1][1] for frontier in certainty_frontiers)
    accuracy = min(energy_frontier.points[-1][1], certainty_top) - ACCURACY_SLACK
    energy_ticks, *certainty_ticks = (
        frontier.find_min_ticks(accuracy) or math.inf for frontier in (energy_frontier, *certainty_frontiers)
    )
    return 1 - energy_ticks / min(certainty_ticks)
