"""View model of the halting policies of a checkpoint: choices with their guarantees, and Pareto frontiers."""

from dataclasses import dataclass
from typing import Any

from ctm.checkpoint.metadata import (
    EvaluationRecord,
    FrontierData,
    HaltingMetadata,
    MetricsMetadata,
    RiskGuaranteeRecord,
)

FULL_BUDGET_LABEL, FORK_LABEL = "think to the end", "the energy-halting fork's rule, as written"
FORK_POLICY = "energy<0.5|converged<0.01x1"
FORK_DESCRIPTION = (
    "Made for the fork's own energies. It also stops when the energy stands still, which it does where the machine is sure, "
    "and sure to be wrong."
)
NEVER_HALT_POLICY = "certainty>1"  # never met: all ticks run, and the tick with the highest certainty answers
POLICY_LABELS = {
    "energy": "energy is low",
    "certainty": "certainty is high",
    "certainty of the least certain position": "every position is certain",
    "said": "all of it is said",
}
# Name in halting.json -> label, and prefix of the policy text. The oracle is not a policy, so it has no prefix.
FRONTIER_CURVES = {
    "energy": ("energy", "energy<"),
    "certainty": ("certainty", "certainty>"),
    "certainty.min": ("certainty of the least certain position", "certainty.min>"),
    "fixed": ("the same tick for all", "ticks="),
    "oracle": ("who knows the answers", ""),
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
    end, tick = (
        (f"ticks={iterations}", "the last one") if is_ctc else (NEVER_HALT_POLICY, "the one it was most certain of")
    )
    full_budget = PolicyOption(FULL_BUDGET_LABEL, f"All of its ticks; {tick} answers.")
    # without measurements, no earlier tick is known to be safe
    options = {} if metadata.policies else {end: full_budget}
    labels = build_policy_labels(metadata)
    for name in sorted(metadata.policies, key=lambda name: name != metadata.default):
        record = metadata.policies[name]
        options.setdefault(record.policy, PolicyOption(labels[name], record.describe()))
    if not is_ctc:  # repeated blanks are not an answer
        options.setdefault(
            "same=3", PolicyOption("the same answer three times", "Not measured here. Patience, as others call it.")
        )
    if "energy" in metadata.policies:
        options.setdefault(FORK_POLICY, PolicyOption(FORK_LABEL, FORK_DESCRIPTION))
    options.setdefault(end, full_budget)
    return options


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
        label = f"lose at most {100 * promise.risk:.3g} % of answers" + ("" if has_default_terms else f": {name}")
        labels[name] = f"fastest: {label}" if promise.risk == max_risk else label
    return labels


def get_guarantee(metadata: HaltingMetadata, policy: str) -> str:
    """Return the guarantee of a policy as text; empty if there is none."""
    return next(
        (record.describe() for record in metadata.policies.values() if record.promise and record.policy == policy), ""
    )


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
            "problem": "This checkpoint does not say what other thresholds would give. To work it out: "
            "python -m training fit-energy CHECKPOINT"
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
            "says": record.describe(),
            "default": name == metadata.default,
            "ticks": record.mean_ticks,
            "accuracy": record.accuracy,
            "held_out": held_out.rules[name].model_dump() if held_out and name in held_out.rules else None,
        }
        for name, record in metadata.policies.items()
        if record.mean_ticks is not None and record.accuracy is not None
    ]
