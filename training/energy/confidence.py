"""Fit the confidence of answers, see `inference.confidence`, and measure its calibration."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm import TickModel
from ctm.checkpoint.metadata import (
    ConfidenceMetadata,
    ConfidenceModel,
    HaltingMetadata,
    compute_log_odds,
)
from ctm.models.outputs import UnrolledOutput
from inference.confidence import (
    AnswerFormat,
    ConfidenceLimit,
    compute_confidence,
    compute_log_probabilities,
    select_position,
)
from inference.halting.base import HaltingPolicy
from inference.halting.thresholds import PolicyReplay, replay
from inference.tick_history import EvaluationCurves, TickHistory
from training.energy.correctness import compute_visit_weights
from training.energy.logistic_regression import fit_logistic_regression
from training.evaluation import evaluate_curves
from training.metrics import compute_reliability, tick_auroc
from training.tasks import Task
from training.tasks.samples import Batch
from training.tasks.splits import CALIBRATION

MAX_LOGITS = 20_000_000  # logits of all samples together: 80 MB
MAX_TEMPERATURE = 1_000.0
TEMPERATURE_LEARNING_RATE = 0.05
TEMPERATURE_STEPS = 120
TEMPERATURE_SCALES = (1.0, 0.5, 0.2, 0.1)


@dataclass(frozen=True)
class ConfidenceSamples:
    """Evaluated samples that a confidence is fitted on.

    Attributes:
        logits: Logits.
        energy: Energy; None without an energy head.
        certainty: Certainty of every position.
        correct: Whether the whole answer is correct.
        last_correct: Whether the last position is correct.
        last_position: Index of the last position that counts.
        weight: Weight of every tick.
    """

    logits: Float[Tensor, "n K T"]
    energy: Float[Tensor, "n T"] | None
    certainty: Float[Tensor, "n P T"]
    correct: Bool[Tensor, "n T"]
    last_correct: Bool[Tensor, "n T"]
    last_position: Int[Tensor, " n"]
    weight: Float[Tensor, "n T"]

    @property
    def is_answer_tick(self) -> Bool[Tensor, "n T"]:
        """Whether the answer of the halting policy is that of the tick: its weight is the largest one of the row."""
        return self.weight == self.weight.amax(1, keepdim=True)


def get_answer_format(task: Task) -> AnswerFormat:
    """Return the positions of the answers of a task."""
    spec = task.get_spec()
    return AnswerFormat(spec.positions, spec.scored_positions, bool(spec.ctc_length))


def has_separate_last_position(task: Task) -> bool:
    """Return whether the sentence of an answer is about its last position, but the whole answer is scored."""
    spec = task.get_spec()
    return task.sentence_positions == 1 and spec.positions > 1 and spec.scored_positions != 1


@torch.no_grad()
def collect_confidence_samples(
    model: TickModel, task: Task, batches: Iterable[Batch], policy: HaltingPolicy
) -> ConfidenceSamples:
    """Unroll samples until `MAX_LOGITS` is reached, and weight their ticks by the visits of a halting policy."""
    selected = list(select_batches(task, batches, model.config.iterations))
    curves = evaluate_curves(model, task.decoder, selected, policy.signals, get_logits)
    last_position = torch.cat([task.get_last_positions(batch) for batch in selected])
    last_choice = select_position(curves.choices, last_position)
    last_target = curves.targets.gather(1, last_position.unsqueeze(1))
    policy_replay = replay(policy, TickHistory.from_curves(curves), curves.correct)
    return ConfidenceSamples(
        curves.confidence["logits"].clone(),  # copies of inference tensors take part in a backward pass
        None if curves.energy is None else curves.energy.clone(),
        curves.certainty.clone(),
        curves.correct.clone(),
        last_choice == last_target,
        last_position,
        compute_visit_weights(curves, policy_replay).float(),
    )


def get_logits(batch: Batch, output: UnrolledOutput, certainty: Float[Tensor, "B P T"]) -> dict[str, Tensor]:
    """Return the logits of a batch, for `evaluate_curves`."""
    return {"logits": output.answers.cpu()}


def select_batches(task: Task, batches: Iterable[Batch], ticks: int) -> Iterator[Batch]:
    """Yield batches until their logits reach `MAX_LOGITS`."""
    spec = task.get_spec()
    remaining = MAX_LOGITS
    for batch in batches:
        yield batch
        remaining -= len(batch.inputs) * spec.positions * spec.classes * ticks
        if remaining <= 0:
            return


def fit_confidence(
    model: TickModel, task: Task, batches: Iterable[Batch], policy: HaltingPolicy
) -> ConfidenceMetadata | None:
    """Fit temperatures and logistic models on calibration samples, at the ticks that a halting policy visits.

    Args:
        model: The model, in evaluation mode.
        task: Its task.
        batches: Calibration samples.
        policy: Default halting policy.

    Returns:
        The fitted values, or None if a coefficient is not finite.
    """
    samples = collect_confidence_samples(model, task, batches, policy)
    answer_format = get_answer_format(task)
    fitted = fit_temperatures(samples, answer_format)
    # Where the probability says little, the bound must be loose: lower temperatures are tried as well.
    fits = [fit_whole_answers(samples, answer_format, fitted * scale) for scale in TEMPERATURE_SCALES]
    _, temperatures, whole = min(fits, key=lambda fit: fit[0])
    by_position = compute_log_probabilities(samples.logits, temperatures, answer_format)
    last = None
    if has_separate_last_position(task):
        certainty, log_probability = (
            select_position(values, samples.last_position) for values in (samples.certainty, by_position)
        )
        last = fit_confidence_model(samples, samples.last_correct, certainty, log_probability)
    if whole is None:
        return None
    values = [float(f"{value:.4g}") for value in temperatures.tolist()]
    return ConfidenceMetadata(temperatures=values, whole=whole, last=last, split=CALIBRATION, n=len(samples.correct))


def fit_whole_answers(
    samples: ConfidenceSamples, answer_format: AnswerFormat, temperatures: Float[Tensor, " T"]
) -> tuple[float, Float[Tensor, " T"], ConfidenceModel | None]:
    """Fit P(whole answer is correct) at given temperatures.

    Returns:
        Negative log-likelihood of the confidence at the ticks that answer, the temperatures, and the model.
    """
    by_position = compute_log_probabilities(samples.logits, temperatures, answer_format)
    log_probability = answer_format.sum_scored(by_position, samples.last_position)
    certainty = samples.certainty.mean(1)
    model = fit_confidence_model(samples, samples.correct, certainty, log_probability)
    if model is None:
        return math.inf, temperatures, None
    is_answer_tick = samples.is_answer_tick
    p = model(samples.energy, certainty, log_probability)[is_answer_tick].clamp(1e-6, 1 - 1e-6)
    return F.binary_cross_entropy(p, samples.correct[is_answer_tick].float()).item(), temperatures, model


def fit_temperatures(samples: ConfidenceSamples, answer_format: AnswerFormat) -> Float[Tensor, " T"]:
    """Fit the temperature of every tick, so that the probability of the whole answer is that of being correct.

    The logarithm of the temperature is linear in the logarithm of the tick, and constant for a CTC answer. The fit
    minimises the negative log-likelihood at the ticks that answer: a model halts where it is more often correct than
    elsewhere at the same probability.
    """
    ticks = samples.logits.size(2)
    slope = torch.zeros(ticks) if answer_format.is_ctc else torch.arange(1, ticks + 1).float().log()
    coefficients = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([coefficients], lr=TEMPERATURE_LEARNING_RATE)
    is_answer_tick = samples.is_answer_tick
    smoothing = 1 / (len(samples.correct) + 2)
    labels = samples.correct[is_answer_tick].float() * (1 - 2 * smoothing) + smoothing
    with torch.enable_grad():
        for _ in range(TEMPERATURE_STEPS):
            temperatures = compute_temperatures(coefficients, slope)
            p = sum_log_probabilities(samples, temperatures, answer_format, is_answer_tick).exp()
            loss = F.binary_cross_entropy(p * (1 - 2 * smoothing) + smoothing, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        temperatures = compute_temperatures(coefficients, slope)
        return temperatures if bool(temperatures.isfinite().all()) else torch.ones(ticks)


def sum_log_probabilities(
    samples: ConfidenceSamples,
    temperatures: Float[Tensor, " T"],
    answer_format: AnswerFormat,
    tick_mask: Bool[Tensor, "n T"],
) -> Float[Tensor, " m"]:
    """Return the logarithm of the probability of the whole answer at the m ticks of a mask, row by row.

    Other ticks are computed only for CTC, whose answers depend on them.
    """
    if answer_format.is_ctc:
        by_position = compute_log_probabilities(samples.logits, temperatures, answer_format)
        return answer_format.sum_scored(by_position, samples.last_position)[tick_mask]
    rows, ticks = tick_mask.nonzero(as_tuple=True)
    scaled = samples.logits[rows, :, ticks].unsqueeze(2) / temperatures[ticks, None, None]
    by_position = compute_log_probabilities(scaled, torch.ones(1), answer_format)
    return answer_format.sum_scored(by_position, samples.last_position[rows]).squeeze(1)


def compute_temperatures(coefficients: Float[Tensor, "2"], slope: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Return the temperatures with a logarithm that is linear in `slope`, from 1 / `MAX_TEMPERATURE` to `MAX_TEMPERATURE`."""
    log_limit = math.log(MAX_TEMPERATURE)
    return (log_limit * torch.tanh((coefficients[0] + coefficients[1] * slope) / log_limit)).exp()


def fit_confidence_model(
    samples: ConfidenceSamples,
    correct: Bool[Tensor, "n T"],
    certainty: Float[Tensor, "n T"],
    log_probability: Float[Tensor, "n T"],
) -> ConfidenceModel | None:
    """Fit P(correct) by weighted logistic regression on energy, certainty and the log odds of the probability.

    Args:
        samples: The samples.
        correct: Outcome at every tick.
        certainty: Certainty of the positions that the outcome is about.
        log_probability: Logarithm of their probability.

    Returns:
        The model, or None if a coefficient is not finite.
    """
    columns = [] if samples.energy is None else [samples.energy]
    columns += [certainty, compute_log_odds(log_probability), torch.ones_like(certainty)]
    rows = torch.arange(samples.weight.numel()).repeat_interleave(samples.weight.flatten().long())
    inputs = torch.stack([column.flatten()[rows] for column in columns], 1).double()
    # n samples without an error do not show that the error rate is below 1 / (n + 2) (Laplace's rule of succession).
    smoothing = 1 / (len(correct) + 2)
    labels = correct.flatten()[rows].double() * (1 - 2 * smoothing) + smoothing
    weights = fit_logistic_regression(inputs, labels)
    if not all(map(math.isfinite, weights)):
        return None
    energy = 0.0 if samples.energy is None else weights[0]
    return ConfidenceModel(energy=energy, certainty=weights[-3], log_odds=weights[-2], bias=weights[-1])


def compute_split_confidence(
    task: Task,
    metadata: HaltingMetadata,
    is_shifted: bool,
    batch: Batch,
    output: UnrolledOutput,
    certainty: Float[Tensor, "B P T"],
) -> dict[str, Tensor]:
    """Compute the confidence of a batch of samples, without the limit that an input sets.

    Args:
        task: The task.
        metadata: Content of `halting.json`.
        is_shifted: Whether the samples differ from the training samples.
        batch: The samples.
        output: Output of the model.
        certainty: Certainty of every position.

    Returns:
        p_correct, and p_last with last_correct, of shape (B, T); those that do not exist are left out.
    """
    last_position = task.get_last_positions(batch)
    confidence = compute_confidence(
        metadata,
        get_answer_format(task),
        output.answers.cpu(),
        None if output.energies is None else output.energies.cpu(),
        certainty.cpu(),
        last_position,
        ConfidenceLimit(1.0, is_shifted, is_measured=is_shifted),
    )
    values = {} if confidence.p_correct is None else {"p_correct": confidence.p_correct}
    if confidence.p_last is not None:
        choice = select_position(task.decoder.choices(output.answers.cpu()), last_position)
        values |= {
            "p_last": confidence.p_last,
            "last_correct": choice == batch.targets.gather(1, last_position[:, None]),
        }
    return values


def compute_answer_reliability(
    curves: EvaluationCurves, policy_replay: PolicyReplay, limit: float = 1.0
) -> dict[str, dict[str, Any] | None]:
    """Measure the calibration of the confidence at the ticks that answer.

    Args:
        curves: Evaluated samples with a confidence.
        policy_replay: The halting policy on these samples.
        limit: Largest confidence that the samples allow.

    Returns:
        reliability: see `training.metrics.compute_reliability`, with the AUROC of the confidence; None without one.
        reliability_last: the same for the last position, where it has a confidence of its own.
    """
    index = policy_replay.answer_tick.unsqueeze(1) - 1
    outcomes = {"p_correct": policy_replay.correct}
    if "last_correct" in curves.confidence:
        outcomes["p_last"] = curves.confidence["last_correct"].gather(1, index).squeeze(1)
    figures = {
        name: compute_reliability(curves.confidence[name].gather(1, index).squeeze(1).clamp(max=limit), outcome)
        for name, outcome in outcomes.items()
        if name in curves.confidence
    }
    for name, values in figures.items():
        values["auroc"] = tick_auroc(curves.confidence[name].gather(1, index), outcomes[name].unsqueeze(1))
    last = {"reliability_last": figures["p_last"]} if "p_last" in figures else {}
    return {"reliability": figures.get("p_correct"), **last}
