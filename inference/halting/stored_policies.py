"""Policies of halting.json: the default one, the one that uses every tick, and their guarantees."""

from ctm.checkpoint.metadata import HaltingMetadata
from inference.halting.evidence import describe_evidence

NEVER_HALT_POLICY = "certainty>1"  # never met: all ticks run, and the tick with the highest certainty answers


def get_full_budget_policy(iterations: int, is_ctc: bool) -> str:
    """Return the policy that uses every tick.

    Args:
        iterations: Maximum number of ticks.
        is_ctc: Whether the task is decoded by CTC, so that the last tick answers.
    """
    return f"ticks={iterations}" if is_ctc else NEVER_HALT_POLICY


def list_policy_names(metadata: HaltingMetadata) -> list[str]:
    """Return the names of the policies of a checkpoint, the default first."""
    return sorted(metadata.policies, key=lambda name: name != metadata.default)


def get_default_policy_text(metadata: HaltingMetadata, iterations: int, is_ctc: bool) -> str:
    """Return the default policy of a checkpoint; without measurements, no earlier tick than the last is known to be safe.

    Args:
        metadata: Content of halting.json.
        iterations: Maximum number of ticks.
        is_ctc: Whether the task is decoded by CTC.
    """
    names = list_policy_names(metadata)
    return metadata.policies[names[0]].policy if names else get_full_budget_policy(iterations, is_ctc)


def get_guarantee(metadata: HaltingMetadata, policy: str) -> str:
    """Return the guarantee of a policy as text; empty if there is none."""
    return next(
        (
            describe_evidence(record)
            for record in metadata.policies.values()
            if record.promise and record.policy == policy
        ),
        "",
    )
