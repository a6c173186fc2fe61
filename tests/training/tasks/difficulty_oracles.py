"""Difficulty of generated inputs, computed from the input itself and not by the tasks."""

import math
from collections.abc import Callable
from itertools import pairwise


def measure_depth(text: str) -> int:
    """Return the nesting depth before the first bracket that does not fit."""
    stack, deepest = "", 0
    for symbol in text:
        if symbol in "([":
            stack += symbol
        elif not stack or stack[-1] + symbol not in ("()", "[]"):
            break
        else:
            stack = stack[:-1]
        deepest = max(deepest, len(stack))
    return deepest


def measure_closeness(text: str) -> float:
    """Return the negative binary logarithm of the smallest gap; the numbers are rounded, so it is not exact."""
    return -math.log2(min(high - low for low, high in pairwise(sorted(map(float, text.split())))))


def measure_step(text: str) -> int:
    """Return the size of the step between the first two numbers."""
    first, second = map(int, text.split()[:2])
    return abs(second - first)


MEASURES: dict[str, tuple[Callable[[str], float], list[int]]] = {
    "parity": (len, [7, 16, 30]),
    "brackets": (measure_depth, [1, 4]),
    "arithmetic": (measure_step, [0, 13]),
    "chain": (lambda text: sum(symbol in "+-*" for symbol in text), [1, 6]),
    "qamnist": (lambda text: text.count("+") + text.count("-"), [1, 2]),
    "sorting": (measure_closeness, [4, 6]),
}
CHECKPOINTS = {
    "parity": "parity-64",
    "brackets": "brackets",
    "arithmetic": "arithmetic",
    "chain": "chain",
    "qamnist": "qamnist",
    "sorting": "sorting-10",
}
MAX_ROUNDING = 0.5  # a gap of 0.02 between numbers of two decimals


def has_difficulty(name: str, text: str, difficulty: int) -> bool:
    """Return whether a generated text of a task has this difficulty."""
    measured = MEASURES[name][0](text)
    if name == "sorting":
        return difficulty - 1 - MAX_ROUNDING <= measured <= difficulty + MAX_ROUNDING
    return measured == difficulty
