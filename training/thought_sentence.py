"""Words for one thought: the verdict, the confidence, and why the model stopped."""

import re
from typing import Any, Literal

from inference import Recorder, parse
from inference.confidence import ConfidenceLimit
from inference.engine import BUDGET
from training.tasks.samples import TaskInput

Verdict = Literal["correct", "wrong", "gave up", "out of ticks", "unknown"]
MAX_GIVE_UP_CONFIDENCE = 0.2  # a model that stops with less has no hope of a correct answer
UNFAMILIAR_FEATURES = "The input is unlike the training data, so the answer is not reliable."


def judge_answer(is_correct: bool | None, record: dict[str, Any]) -> Verdict:
    """Return the verdict on an answer.

    A correct answer is correct however the model stopped. Otherwise it matters whether the model gave up or used all ticks.

    Args:
        is_correct: Whether the answer is correct; None if the correct answer is not known.
        record: Record with the ticks, the policy, what stopped the row, and the confidence.
    """
    if is_correct:
        return "correct"
    if record["halted_by"] != BUDGET and record["ticks"] < record["iterations"]:
        confidence = get_shown_confidence(record)
        if confidence is not None and confidence < MAX_GIVE_UP_CONFIDENCE and not record["unfamiliar"]:
            return "gave up"
    elif record["halted_by"] == BUDGET and parse(record["policy"]).is_adaptive:
        return "out of ticks"
    return "unknown" if is_correct is None else "wrong"


def get_shown_confidence(record: dict[str, Any]) -> float | None:
    """Return the confidence in what the sentence says: in the last position if it is about that, else in the whole answer."""
    values = record["p_last"] or record["p_correct"]
    return None if values is None else values[record["answer_tick"] - 1]


def describe_unfamiliarity(task_input: TaskInput, limit: ConfidenceLimit) -> str:
    """Return how an input differs from the training samples, as a sentence; empty if it does not."""
    if task_input.shift is not None:
        return f"Unlike the training data: {task_input.shift.sentence[0].lower()}{task_input.shift.sentence[1:]}"
    return UNFAMILIAR_FEATURES if limit.is_unfamiliar else ""


def get_halt_reason(halted_by: str, recorder: Recorder) -> str:
    """Return why the policy stopped the row, with the values of the last tick; empty if the ticks were used up.

    Args:
        halted_by: Policy that stopped the row, as text, or "budget".
        recorder: Recording of the row up to the tick at which it stopped.
    """
    if halted_by == BUDGET:
        return ""
    policy = parse(halted_by)
    return policy.reason(recorder.build_history(policy.signals))


def format_sentence(
    answer_text: str, record: dict[str, Any], halt_reason: str = "", states_result: bool = False
) -> str:
    """Return the answer, the verdict, the confidence, and why the model stopped, in a few sentences.

    Args:
        answer_text: Answer as a sentence without a period.
        record: Record of the thought.
        halt_reason: Why the policy stopped the row; see `get_halt_reason`.
        states_result: Whether the answer itself says whether it is correct.
    """
    parts = [
        f"{replace_hyphens(answer_text)}.",
        "" if states_result else format_verdict(record),
        format_confidence(record),
    ]
    return " ".join(filter(None, [*parts, format_ending(record, halt_reason)]))


def format_verdict(record: dict[str, Any]) -> str:
    """Return whether the answer is correct, as a sentence; empty if the correct answer is not known."""
    if record["verdict"] == "correct":
        return "Correct."
    return "" if record["truth"] is None else f"Wrong: the correct answer is {replace_hyphens(record['truth'])}."


def format_confidence(record: dict[str, Any]) -> str:
    """Return the confidence as a sentence; without one, the probability that the model gives to its answer."""
    tick = record["answer_tick"]
    if record["p_correct"] is None:
        return f"Probability: {format_probability(record['probability'])}."
    if record["p_last"] is None:
        return f"Confidence: {format_probability(record['p_correct'][tick - 1])}."
    last, whole = (format_probability(record[name][tick - 1]) for name in ("p_last", "p_correct"))
    return f"Confidence: {last} (in all intermediate results: {whole})."


def format_ending(record: dict[str, Any], halt_reason: str) -> str:
    """Return when and why the model stopped, as a sentence."""
    answer_tick, ticks, iterations = record["answer_tick"], record["ticks"], record["iterations"]
    if iterations == 1:
        return "Feed-forward baseline: one pass, no ticks."
    if record["verdict"] == "gave up":
        return f"It gave up at tick {ticks} of {iterations} ({halt_reason})."
    if record["halted_by"] != BUDGET:
        if ticks == iterations:
            return f"Stopped at the last tick, {ticks} ({halt_reason})."
        saved = iterations - ticks
        return (
            f"Stopped at tick {ticks} of {iterations} ({halt_reason}); {saved} tick{'' if saved == 1 else 's'} saved."
        )
    has_unmet_policy = parse(record["policy"]).is_adaptive
    ending = f"It used all {ticks} ticks" + (" without meeting the stopping rule" if has_unmet_policy else "")
    if answer_tick == ticks:
        return f"{ending}."
    return f"{ending}, so the answer is taken from tick {answer_tick}, where it was most certain."


def replace_hyphens(text: str) -> str:
    """Return a text whose numbers have true minus signs; hyphens in words stay."""
    return re.sub(r"(?<![^\W\d])-(?= ?[\d.])", "\N{MINUS SIGN}", text)


def format_probability(share: float) -> str:
    """Format a probability as a percentage, which is never 0% or 100%; as `formatProbability` of the page does."""
    if share > 0.999:
        return ">99.9%"
    if share < 0.001:
        return "<0.1%"
    return f"{share:.0%}" if 0.05 <= share <= 0.95 else f"{share:.1%}"
