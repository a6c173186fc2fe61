"""View model of the halting policies of a checkpoint: choices with their guarantees, and Pareto frontiers."""

import re
from dataclasses import dataclass
from typing import Any

from ctm.checkpoint.metadata import (
    EvaluationRecord,
    FrontierData,
    HaltingMetadata,
    MetricsMetadata,
    PolicyRecord,
    RiskGuaranteeRecord,
)
from inference import parse
from inference.halting.estimated_result import FRONTIER_PREFIXES
from inference.halting.evidence import (
    describe_confidence,
    describe_evidence,
    format_accuracy,
    format_mean,
    format_mean_ticks,
)
from inference.halting.stored_policies import get_full_budget_policy, list_policy_names

FULL_BUDGET_LABEL = "Use every tick"
FORK_LABEL = "Original energy-halting rule (udapy fork)"
FORK_POLICY = "energy<0.5|converged<0.01x1"
FORK_DESCRIPTION = "It also stops when the energy plateaus, which often happens on confident mistakes."
PATIENCE_LABEL = "Same answer three times"
PATIENCE_POLICY = "same=3"
POLICY_LABELS = {
    "energy": "Energy below threshold",
    "certainty": "Certainty above threshold",
    "certainty of the least certain position": "Every position certain",
    "margin": "Lead over the second answer",
    "said": "All of the answer output",
}
# Name in halting.json -> label, and prefix of the policy text. The oracle is not a policy, so it has no prefix.
FRONTIER_CURVES = {
    "energy": ("energy", FRONTIER_PREFIXES["energy"]),
    "certainty": ("certainty", FRONTIER_PREFIXES["certainty"]),
    "certainty.min": ("certainty of the least certain position", FRONTIER_PREFIXES["certainty.min"]),
    "fixed": ("fixed number of ticks", "ticks="),
    "oracle": ("oracle (stops at the first correct tick)", ""),
}


@dataclass(frozen=True)
class PolicyOption:
    """A halting policy that users can select.

    Attributes:
        name: Label, which states the guarantee if there is one.
        description: What was measured.
    """

    name: str
    description: str


def build_policy_options(halting: dict[str, Any], iterations: int, is_ctc: bool) -> dict[str, PolicyOption]:
    """Return the selectable policies by their text, the default first. A policy with two names keeps the first one.

    Args:
        halting: Content of halting.json.
        iterations: Maximum number of ticks.
        is_ctc: Whether the task is decoded by CTC.
    """
    metadata = HaltingMetadata.model_validate(halting)
    full_budget_policy = get_full_budget_policy(iterations, is_ctc)
    full_budget = PolicyOption(FULL_BUDGET_LABEL, parse(full_budget_policy).describe())
    # Without measurements, no earlier tick is known to be safe.
    options = {} if metadata.policies else {full_budget_policy: full_budget}
    labels = build_policy_labels(metadata)
    for name in list_policy_names(metadata):
        record = metadata.policies[name]
        options.setdefault(record.policy, PolicyOption(labels[name], describe_record(record)))
    if not is_ctc:  # repeated blanks are not an answer
        patience = f"{parse(PATIENCE_POLICY).describe()} Also known as patience. Not measured."
        options.setdefault(PATIENCE_POLICY, PolicyOption(PATIENCE_LABEL, patience))
    if "energy" in metadata.policies:
        fork = f"{parse(FORK_POLICY).describe()} {FORK_DESCRIPTION}"
        options.setdefault(FORK_POLICY, PolicyOption(FORK_LABEL, fork))
    options.setdefault(full_budget_policy, full_budget)
    return options


def describe_record(record: PolicyRecord) -> str:
    """Return what a policy of a checkpoint stops on, and the evidence for it; the evidence alone if it has no valid text."""
    evidence = describe_evidence(record)
    try:
        return f"{parse(record.policy).describe()} {evidence}".strip()
    except ValueError:  # a checkpoint from elsewhere; the error is displayed when a user selects the policy
        return evidence


def build_policy_labels(metadata: HaltingMetadata) -> dict[str, str]:
    """Return the label of every policy. The guarantee with the highest risk is labelled as the fastest."""
    max_risk = max((record.promise.risk for record in metadata.policies.values() if record.promise), default=0.0)
    labels = {}
    for name, record in metadata.policies.items():
        if (promise := record.promise) is None:
            labels[name] = POLICY_LABELS.get(name, name)
            continue
        has_default_terms = (
            RiskGuaranteeRecord.model_validate({"risk": promise.risk}).model_dump().items()
            <= promise.model_dump().items()
        )
        limits = f"{100 * promise.risk:.3g}% of answers lost, {describe_confidence(promise)}"
        label = f"Fastest (at most {limits})" if promise.risk == max_risk else f"At most {limits}"
        labels[name] = label if has_default_terms else f"{label}: {name}"
    return labels


def build_halting_view(halting: dict[str, Any], metrics: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Build the data of the halting view.

    Args:
        halting: Content of halting.json.
        metrics: Content of metrics.json.
        iterations: Maximum number of ticks.

    Returns:
        Pareto frontiers and operating points of the calibration split, and the reliability diagram of held-out samples, as
        JSON data. Without frontiers, a `problem` that says how to compute them.
    """
    metadata = HaltingMetadata.model_validate(halting)
    evaluations = MetricsMetadata.model_validate(metrics).evaluations
    held_out = evaluations[0] if evaluations else None
    frontiers = metadata.frontiers
    if frontiers is None:
        return {
            "problem": "No threshold curves for this model. Create them with: python -m training fit-energy CHECKPOINT"
        }
    return {
        "iterations": frontiers.iterations or iterations,
        "split": frontiers.split,
        "n": frontiers.n,
        "curves": build_frontier_curves(frontiers),
        "rules": build_policy_points(metadata, held_out),
        "held_out": {"split": held_out.split, "n": held_out.n} if held_out else None,
        "reliability": held_out.reliability.model_dump() if held_out and held_out.reliability else None,
    }


def build_frontier_curves(frontiers: FrontierData) -> list[dict[str, Any]]:
    """Return the Pareto frontier of every signal, as JSON data."""
    return [
        {
            "name": name,
            "label": FRONTIER_CURVES[name][0],
            "form": FRONTIER_CURVES[name][1],
            "corners": frontiers.rules[name],
        }
        for name in FRONTIER_CURVES
        if frontiers.rules.get(name)
    ]


def build_policy_points(metadata: HaltingMetadata, held_out: EvaluationRecord | None) -> list[dict[str, Any]]:
    """Return the operating point of every policy, with its result on held-out samples."""
    labels = build_policy_labels(metadata)
    return [
        {
            "label": labels[name],
            "rule": record.policy,
            "says": " ".join(filter(None, [describe_record(record), *describe_held_out(metadata, name, held_out)])),
            "default": name == metadata.default,
            "ticks": record.mean_ticks,
            "accuracy": record.accuracy,
            "held_out": held_out.rules[name].model_dump() if held_out and name in held_out.rules else None,
        }
        for name, record in metadata.policies.items()
        if record.mean_ticks is not None and record.accuracy is not None
    ]


def describe_held_out(metadata: HaltingMetadata, name: str, held_out: EvaluationRecord | None) -> list[str]:
    """Return sentences on held-out results that differ from what a policy states, or that another policy surpasses.

    Args:
        metadata: Content of halting.json.
        name: Name of the policy.
        held_out: Evaluation on held-out samples; None if there is none.
    """
    if held_out is None or name not in held_out.rules:
        return []
    sentences = [describe_excess(metadata.policies[name], held_out.rules[name].lost)]
    if name == metadata.default:
        sentences.append(describe_better_policy(metadata, name, held_out))
    return sentences


def describe_excess(record: PolicyRecord, lost: float) -> str:
    """Return that a policy lost more held-out answers than its limit, and why that can be; empty if it did not."""
    if record.promise and lost > record.promise.risk:
        reason = (
            "The guarantee holds on average, not for every set of samples."
            if record.promise.method == "crc"
            else f"A guarantee with {100 * record.promise.confidence:.3g}% confidence does not hold every time."
        )
        return f"On the held-out samples it lost more: {lost:.1%}. {reason}"
    if record.tolerance is not None and lost > record.tolerance:
        return (
            f"On the held-out samples {lost:.1%} of the answers became wrong by stopping early; "
            "the limit was kept on the calibration samples."
        )
    return ""


def describe_better_policy(metadata: HaltingMetadata, default_name: str, held_out: EvaluationRecord) -> str:
    """Return which policy needs the fewest ticks for at least the held-out accuracy of the default; empty if that does."""
    default = held_out.rules[default_name]
    better = {
        name: result
        for name, result in held_out.rules.items()
        if name in metadata.policies and result.mean_ticks < default.mean_ticks and result.accuracy >= default.accuracy
    }
    if not better:
        return ""
    name = min(better, key=lambda name: better[name].mean_ticks)
    result = f"{format_accuracy(better[name].accuracy)} in {format_mean_ticks(better[name].mean_ticks)}"
    own = f"{format_accuracy(default.accuracy)} in {format_mean_ticks(default.mean_ticks)}"
    label = build_policy_labels(metadata)[name]
    return f"On the held-out samples another rule needs fewer ticks: {label}, {result}, against {own}."


def summarize_metrics(metrics: dict[str, Any]) -> str:
    """Return the held-out accuracy and the mean number of ticks in one sentence.

    Args:
        metrics: Contents of metrics.json.
    """
    evaluations = metrics.get("evaluations", [])
    if not evaluations:
        return "No accuracy was measured yet."
    held_out = evaluations[0]
    split = re.sub(r"[^\w .-]", "", held_out["split"])[:60]  # the name may come from another author's file
    accuracy = (
        f"{format_accuracy(held_out['accuracy_halted'])} accuracy on {held_out['n']:,} held-out samples ({split})"
    )
    ticks = f", in {format_mean(held_out['mean_ticks'])} of {held_out['iterations']} ticks on average"
    places = held_out.get("figures", {}).get("places")
    return (
        accuracy
        + (ticks if held_out["iterations"] > 1 else "")
        + (f". Single positions of the answer: {format_accuracy(places)} correct." if places is not None else ".")
    )
