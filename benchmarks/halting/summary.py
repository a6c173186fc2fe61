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
    tasks: dict[str, list[dict[str, Any]]] = {}
    for trunk in results:
        tasks.setdefault(trunk["name"], []).append(trunk)
    return {
        name: {
            "seeds": [trunk["seed"] for trunk in trunks],
            "iterations": trunks[0]["iterations"],
            "n": trunks[0]["n"],
            "best_fixed": {
                **{key: mean_or_none([trunk["best_fixed"][key] for trunk in trunks]) for key in ("tick", "accuracy")},
                "accuracy_by_trunk": [trunk["best_fixed"]["accuracy"] for trunk in trunks],
            },
            "rules": {rule: average_metrics(trunks, rule) for rule in trunks[0]["rules"]},
            "energy_against_certainty": compare_energy_with_certainty(trunks),
        }
        for name, trunks in tasks.items()
    }


def average_metrics(results: list[dict[str, Any]], policy_name: str) -> dict[str, float | None]:
    """Return the mean metrics of a policy over the models."""
    return {
        figure: mean_or_none([trunk["rules"][policy_name].get(figure) for trunk in results])
        for figure in METRIC_NAMES
        if figure in results[0]["rules"][policy_name]
    }


def mean_or_none(values: list[float | None]) -> float | None:
    """Return the mean, or None if a value is missing."""
    return None if any(value is None for value in values) else statistics.fmean(values)


def compare_energy_with_certainty(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the energy with the better certainty policy of each model, draw by draw.

    Returns:
        Share of ticks saved at equal accuracy and area gained, with 95 % intervals over samples, as means over the models, and the
        means of each model.
    """
    saved, won = [], []
    for trunk in results:
        draws = trunk["draws"]
        rival = min(
            (name for name in CERTAINTY_POLICIES if name in draws), key=lambda name: sum(draws[name]["ticks_at_target"])
        )
        energy, certainty = (torch.tensor(draws[name]["ticks_at_target"]).double() for name in (ENERGY_POLICY, rival))
        saved.append(1 - energy / certainty)
        energy, certainty = (torch.tensor(draws[name]["area"]).double() for name in (ENERGY_POLICY, rival))
        won.append(energy - certainty)
    return {
        "ticks_saved": compute_confidence_interval(torch.stack(saved).mean(0)),
        "ticks_saved_by_trunk": [each.mean().item() for each in saved],
        "area_won": compute_confidence_interval(torch.stack(won).mean(0)),
        "area_won_by_trunk": [each.mean().item() for each in won],
        "ticks_saved_at_the_top_by_trunk": [compute_savings_at_top_accuracy(trunk["rules"]) for trunk in results],
    }


def compute_savings_at_top_accuracy(policies: dict[str, Any]) -> float:
    """Return the share of ticks that the energy saves at the highest accuracy that both it and certainty reach, less half a point.

    Policies that choose a tick per sample may be far more accurate than any fixed tick; at that accuracy less can be saved.
    """
    energy, *rivals = (
        Frontier(tuple((float(ticks), float(accuracy)) for ticks, accuracy in policies[name]["corners"]))
        for name in (ENERGY_POLICY, *CERTAINTY_POLICIES)
        if name in policies
    )
    top = min(energy.points[-1][1], max(rival.points[-1][1] for rival in rivals)) - ACCURACY_SLACK
    ticks, *others = (frontier.find_min_ticks(top) or math.inf for frontier in (energy, *rivals))
    return 1 - ticks / min(others)
