"""Parser of halting policies, such as `energy<-3|ticks=12`."""

import math
import re
from collections.abc import Callable
from functools import partial

from ctm.messages import truncate_repr
from inference.halting.policies import (
    AllOf,
    AnyOf,
    CertaintyAbove,
    ChangeBelow,
    EnergyBelow,
    EnergyConverged,
    FixedTicks,
    HaltingPolicy,
    LabelsEmitted,
    PerClassThreshold,
    SameAnswer,
    SignalAbove,
    ThresholdPolicy,
)

NUMBER_PATTERN = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
NUMBER_LIST_PATTERN = rf"{NUMBER_PATTERN}(?:,{NUMBER_PATTERN})*"
MAX_NESTING_DEPTH = 8
MAX_POLICY_LENGTH = 500  # characters


def parse(text: str) -> HaltingPolicy:
    """Parse a halting policy, as printed by `str(policy)` or as typed by a user.

    Args:
        text: The policy; spaces and upper case do not matter.

    Returns:
        The policy.

    Raises:
        ValueError: The text is not a policy; the message says which part, and what is accepted.
    """
    text = "".join(str(text).split()).lower().replace("\N{MINUS SIGN}", "-")
    if not text:
        raise ValueError("A policy is empty; write for example energy<-3, certainty>0.9 or ticks=12.")
    check_policy_length(text)
    policy = _parse_any_of(text, 0)
    check_policy_length(str(policy))  # the printed form may be longer: .5 is printed as 0.5
    return policy


def check_policy_length(text: str) -> None:
    """Check that a policy is not too long.

    Raises:
        ValueError: It has more than `MAX_POLICY_LENGTH` characters.
    """
    if len(text) > MAX_POLICY_LENGTH:
        raise ValueError(f"A policy has at most {MAX_POLICY_LENGTH} characters, got {len(text)}.")


def _parse_any_of(text: str, depth: int) -> HaltingPolicy:
    """Parse alternatives separated by `|`."""
    if depth > MAX_NESTING_DEPTH:
        raise ValueError(f"A policy has at most {MAX_NESTING_DEPTH} brackets inside each other.")
    choices = [_parse_all_of(part, depth) for part in split_outside_brackets(text, "|")]
    return choices[0] if len(choices) == 1 else AnyOf(tuple(choices))


def _parse_all_of(text: str, depth: int) -> HaltingPolicy:
    """Parse conditions separated by `&`."""
    parts = [_parse_single(part, depth) for part in split_outside_brackets(text, "&")]
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _parse_single(text: str, depth: int) -> HaltingPolicy:
    """Parse a policy in brackets or a single policy."""
    if not text:
        raise ValueError("A rule is missing next to | or &, or inside brackets.")
    if text.startswith("(") and text.endswith(")"):
        return _parse_any_of(text[1:-1], depth + 1)
    if (match := re.fullmatch(rf"([a-z.]+[<>])(?:({NUMBER_PATTERN})|\[({NUMBER_LIST_PATTERN})\])", text)) and match[
        1
    ] in THRESHOLD_POLICIES:
        make_policy = THRESHOLD_POLICIES[match[1]]
        return (
            make_policy(parse_number(match[2]))
            if match[2]
            else PerClassThreshold(make_policy(0.0), tuple(map(parse_number, match[3].split(","))))
        )
    for pattern, make_pattern_policy in POLICY_PATTERNS:
        if match := re.fullmatch(pattern, text):
            return make_pattern_policy(*match.groups())
    examples = ", ".join(example for policy_class in POLICY_CLASSES for example in policy_class.examples)
    raise ValueError(f"{truncate_repr(text)} is not a halting rule; known: {examples}, joined by | (any) and & (all).")


POLICY_CLASSES: tuple[type[HaltingPolicy], ...] = (
    FixedTicks,
    CertaintyAbove,
    SignalAbove,
    ChangeBelow,
    EnergyBelow,
    EnergyConverged,
    SameAnswer,
    LabelsEmitted,
)
# Policies with one threshold, or with a list of one threshold per class.
THRESHOLD_POLICIES: dict[str, Callable[[float], ThresholdPolicy]] = {
    "certainty>": CertaintyAbove,
    "certainty.mean>": CertaintyAbove,
    "certainty.min>": partial(CertaintyAbove, reduction="min"),
    "margin>": partial(SignalAbove, "margin"),
    "probability>": partial(SignalAbove, "probability"),
    "change<": ChangeBelow,
    "energy<": EnergyBelow,
}
POLICY_PATTERNS = (
    (r"ticks=(\d{1,6})", lambda n: FixedTicks(int(n))),
    (rf"converged<({NUMBER_PATTERN})(?:x(\d{{1,6}}))?", lambda x, n: EnergyConverged(parse_number(x), int(n or 1))),
    (r"same=(\d{1,6})", lambda n: SameAnswer(int(n))),
    (r"said=(\d{1,6})", lambda n: LabelsEmitted(int(n))),
)


def parse_number(text: str) -> float:
    """Parse a finite number.

    Raises:
        ValueError: The number is too large for a float.
    """
    if not math.isfinite(value := float(text)):
        raise ValueError(
            f"{truncate_repr(text)} is too large a number for a halting rule; energies and certainties are small."
        )
    return value


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split at a separator, but not inside brackets.

    Raises:
        ValueError: The brackets do not match.
    """
    parts: list[str] = []
    depth = 0
    start = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == separator and not depth:
            parts.append(text[start:position])
            start = position + 1
    if depth:
        raise ValueError(f"Brackets do not match in the policy {truncate_repr(text)}.")
    return [*parts, text[start:]]
