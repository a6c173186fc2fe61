"""When a checkpoint may stop: the rules it offers, with what they promise, and what every threshold would give."""

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
NEVER_HALT_POLICY = (
    "certainty>1"  # nothing is that certain: it thinks to the end, and the tick it was most certain of answers
)
POLICY_LABELS = {
    "energy": "energy is low",
    "certainty": "certainty is high",
    "certainty of the least certain position": "every position is certain",
    "said": "all of it is said",
}
FRONTIER_CURVES = {  # name in halting.json -> name on screen, and how its rule is written; the oracle and fixed ticks are no thresholds
    "energy": ("energy", "energy<"),
    "certainty": ("certainty", "certainty>"),
    "certainty.min": ("certainty of the least certain position", "certainty.min>"),
    "fixed": ("the same tick for all", "ticks="),
    "oracle": ("who knows the answers", ""),
}


@dataclass(frozen=True)
class PolicyOption:
    """A rule that a person can pick."""

    name: str  # for people: what it promises
    description: str  # what is known of it


def build_policy_options(halting: dict[str, Any], iterations: int, is_ctc: bool) -> dict[str, PolicyOption]:
    """Rules a person can pick, as text, with their names; the default first. One that has two goes by the first.

    Args:
        halting: what a checkpoint says.
        iterations: ticks of a thought.
        spoken: whether an answer is said over the ticks.
    """
    note = HaltingMetadata.model_validate(halting)
    end, tick = (
        (f"ticks={iterations}", "the last one") if is_ctc else (NEVER_HALT_POLICY, "the one it was most certain of")
    )
    to_the_end = PolicyOption(FULL_BUDGET_LABEL, f"All of its ticks; {tick} answers.")
    # where nothing was measured, nothing is known of when it is safe to stop
    found = {} if note.policies else {end: to_the_end}
    labels = build_policy_labels(note)
    for name in sorted(note.policies, key=lambda name: name != note.default):
        found.setdefault(note.policies[name].policy, PolicyOption(labels[name], note.policies[name].describe()))
    if not is_ctc:  # silence is no answer
        found.setdefault(
            "same=3", PolicyOption("the same answer three times", "Not measured here. Patience, as others call it.")
        )
    if "energy" in note.policies:
        found.setdefault(FORK_POLICY, PolicyOption(FORK_LABEL, FORK_DESCRIPTION))
    found.setdefault(end, to_the_end)
    return found


def build_policy_labels(metadata: HaltingMetadata) -> dict[str, str]:
    """How every rule is called on screen; the one with the boldest promise is the fastest."""
    boldest = max((rule.promise.risk for rule in metadata.policies.values() if rule.promise), default=0.0)
    found = {}
    for name, rule in metadata.policies.items():
        if (promise := rule.promise) is None:
            found[name] = POLICY_LABELS.get(name, name)
            continue
        usual = RiskGuaranteeRecord(risk=promise.risk).model_dump().items() <= promise.model_dump().items()
        words = f"lose at most {100 * promise.risk:.3g} % of answers" + ("" if usual else f": {name}")
        found[name] = f"fastest: {words}" if promise.risk == boldest else words
    return found


def get_guarantee(metadata: HaltingMetadata, policy: str) -> str:
    """What a checkpoint promises of a rule, as text; empty where it promises nothing."""
    return next(
        (known.describe() for known in metadata.policies.values() if known.promise and known.policy == policy), ""
    )


def build_halting_view(halting: dict[str, Any], metrics: dict[str, Any], iterations: int) -> dict[str, Any]:
    """What the Halting view draws, as JSON data: curves of calibration samples, rules on them, and how far the chance to be
    right can be believed on held-out samples."""
    note, measured = HaltingMetadata.model_validate(halting), MetricsMetadata.model_validate(metrics).evaluations
    held_out = measured[0] if measured else None
    if note.frontiers is None:
        return {
            "problem": "This checkpoint does not say what other thresholds would give. To work it out: "
            "python -m training fit-energy CHECKPOINT"
        }
    return {
        "iterations": note.frontiers.iterations or iterations,
        "split": note.frontiers.split,
        "n": note.frontiers.n,
        "curves": build_frontier_curves(note.frontiers),
        "rules": build_policy_points(note, held_out),
        "held_out": {"split": held_out.split, "n": held_out.n} if held_out else None,
        "reliability": held_out.reliability.model_dump() if held_out and held_out.reliability else None,
    }


def build_frontier_curves(frontiers: FrontierData) -> list[dict[str, Any]]:
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
    """Every rule where it sits among the curves, and what it did to held-out samples."""
    labels = build_policy_labels(metadata)
    return [
        {
            "label": labels[name],
            "rule": rule.policy,
            "says": rule.describe(),
            "default": name == metadata.default,
            "ticks": rule.mean_ticks,
            "accuracy": rule.accuracy,
            "held_out": held_out.rules[name].model_dump() if held_out and name in held_out.rules else None,
        }
        for name, rule in metadata.policies.items()
        if rule.mean_ticks is not None and rule.accuracy is not None
    ]
