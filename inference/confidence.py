"""Confidence of an answer: a calibrated probability of being correct, at most the answer's own probability.

The logits are divided by a temperature per tick (Guo et al. 2017). The product over the positions is the probability that
the model itself gives to its answer. A logistic model of this probability, the energy and the certainty then gives
P(correct), which the probability bounds from above.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ctm.checkpoint.metadata import HaltingMetadata

MAX_SHIFTED_CONFIDENCE = 0.5  # of an input that differs from the training samples by an unknown amount


@dataclass(frozen=True)
class AnswerFormat:
    """Positions of an answer.

    Attributes:
        positions: Number of positions P.
        scored_positions: Number of last positions that decide whether an answer is correct; None for all.
        is_ctc: Whether the answer is emitted over the ticks (CTC).
    """

    positions: int
    scored_positions: int | None = None
    is_ctc: bool = False

    def sum_scored(self, by_position: Float[Tensor, "B P T"], last_position: Int[Tensor, " B"]) -> Float[Tensor, "B T"]:
        """Return the sum over the scored positions up to the last one that counts.

        Args:
            by_position: Values of every position at every tick.
            last_position: Index of the last position that counts.
        """
        position = torch.arange(self.positions)
        is_scored = position <= last_position.unsqueeze(1)
        if self.scored_positions is not None:
            is_scored &= position > (last_position - self.scored_positions).unsqueeze(1)
        return (by_position * is_scored.unsqueeze(2)).sum(1)


@dataclass(frozen=True)
class Confidence:
    """Confidence of the answers at every tick.

    Attributes:
        log_probability: Logarithm of the probability that the model gives to its answer.
        p_correct: P(the whole answer is correct), or None if it is not known.
        p_last: P(the last position is correct), or None if it is not shown beside the whole answer.
    """

    log_probability: Float[Tensor, "B T"]
    p_correct: Float[Tensor, "B T"] | None
    p_last: Float[Tensor, "B T"] | None = None


@dataclass(frozen=True)
class ConfidenceLimit:
    """Largest confidence that an input allows.

    Attributes:
        value: Largest P(correct).
        is_unfamiliar: Whether the input differs from the training samples.
        is_measured: Whether the accuracy on inputs that differ in the same way was measured.
    """

    value: float
    is_unfamiliar: bool
    is_measured: bool = False


FAMILIAR = ConfidenceLimit(1.0, is_unfamiliar=False)


def compute_log_probabilities(
    logits: Float[Tensor, "B K T"], temperatures: Float[Tensor, " T"], answer_format: AnswerFormat
) -> Float[Tensor, "B P T"]:
    """Return the logarithm of the largest class probability of every position, at every tick.

    A CTC answer consists of the choices of all ticks up to a tick, so its logarithms are summed over them.
    """
    scaled = logits.unflatten(1, (answer_format.positions, -1)).float() / temperatures
    log_p = scaled.amax(2) - scaled.logsumexp(2)
    return log_p.cumsum(2) if answer_format.is_ctc else log_p


def select_position(values: Shaped[Tensor, "B P T"], position: Int[Tensor, " B"]) -> Shaped[Tensor, "B T"]:
    """Return the values of one position of every row, at every tick."""
    return values[torch.arange(len(values)), position]


def compute_confidence(
    metadata: HaltingMetadata,
    answer_format: AnswerFormat,
    logits: Float[Tensor, "B K T"],
    energy: Float[Tensor, "B T"] | None,
    certainty: Float[Tensor, "B P T"],
    last_position: Int[Tensor, " B"],
    limit: ConfidenceLimit = FAMILIAR,
) -> Confidence:
    """Compute the confidence of the answers at every tick.

    Args:
        metadata: Content of `halting.json`.
        answer_format: Positions of the answer.
        logits: Logits at every tick.
        energy: Energy at every tick; None without an energy head.
        certainty: Certainty of every position at every tick.
        last_position: Index of the last position that counts.
        limit: Largest confidence that the inputs allow.
    """
    fitted = metadata.confidence
    temperatures = get_temperatures(metadata, logits.size(2), limit)
    by_position = compute_log_probabilities(logits, temperatures, answer_format)
    whole = answer_format.sum_scored(by_position, last_position)
    if fitted is None:
        p_correct = None if energy is None else metadata.energy.compute_p_correct(energy, certainty.mean(1))
        return Confidence(
            whole, None if p_correct is None else torch.minimum(p_correct, whole.exp()).clamp(max=limit.value)
        )
    p_correct = fitted.whole(energy, certainty.mean(1), whole).clamp(max=limit.value)
    if fitted.last is None:
        return Confidence(whole, p_correct)
    last = (select_position(values, last_position) for values in (certainty, by_position))
    p_last = fitted.last(energy, *last).clamp(max=limit.value)
    return Confidence(whole, p_correct, torch.maximum(p_last, p_correct))  # a correct whole has a correct last position


def get_temperatures(metadata: HaltingMetadata, ticks: int, limit: ConfidenceLimit) -> Float[Tensor, " T"]:
    """Return the temperature of each tick; 1 for an input that is unfamiliar in an unknown way: fitted ones do not hold."""
    if metadata.confidence is None or (limit.is_unfamiliar and not limit.is_measured):
        return torch.ones(ticks)
    return metadata.confidence.get_temperatures(ticks)


def compute_confidence_limit(
    metadata: HaltingMetadata, features: Float[Tensor, "1 F"] | None, is_shifted: bool, shifted_accuracy: float | None
) -> ConfidenceLimit:
    """Return the largest confidence that an input allows.

    Args:
        metadata: Content of `halting.json`.
        features: Pooled features of the input; None if they are not compared with those of training inputs.
        is_shifted: Whether the input is known to differ from the training samples.
        shifted_accuracy: Accuracy on held-out samples that differ in the same way; None if it was not measured.
    """
    limit = 1.0
    is_measured = is_shifted and shifted_accuracy is not None
    if is_shifted:
        limit = MAX_SHIFTED_CONFIDENCE if shifted_accuracy is None else shifted_accuracy
    if metadata.familiarity is None or features is None:
        return ConfidenceLimit(limit, is_shifted, is_measured)
    excess = float(metadata.familiarity.compute_distance(features)) / metadata.familiarity.threshold
    if excess <= 1:
        return ConfidenceLimit(limit, is_shifted, is_measured)
    return ConfidenceLimit(min(limit, MAX_SHIFTED_CONFIDENCE / excess), is_unfamiliar=True)
