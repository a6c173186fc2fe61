"""Fit the confidence of answers and the familiarity of inputs, see `inference.confidence`."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import TickModel
from ctm.checkpoint.metadata import ConfidenceMetadata, ConfidenceModel, FamiliarityMetadata, compute_log_odds
from inference.confidence import AnswerFormat, compute_log_probabilities
from inference.halting.base import HaltingPolicy
from inference.halting.thresholds import replay
from inference.tick_history import TickHistory
from training.energy.correctness import compute_visit_weights
from training.energy.logistic_regression import fit_logistic_regression
from training.evaluation import evaluate_curves
from training.tasks import Task
from training.tasks.base import Batch
from training.tasks.splits import CALIBRATION, TRAIN, make_generator

MAX_LOGITS = 60_000_000  # logits of all samples together: 240 MB
MAX_LOG_TEMPERATURE = 5.0
NUM_TRAINING_INPUTS = 4_096  # whose features are the familiar ones
NUM_DIRECTIONS = 16
FAMILIAR_SHARE = 0.99  # of the calibration samples


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
    curves = evaluate_curves(model, task.decoder, selected, policy.signals)
    ticks = curves.correct.size(1)
    logits = []
    for batch in selected:
        answers = model(batch.inputs).answers
        logits.append(answers[..., torch.arange(ticks).clamp(max=answers.size(2) - 1)])
    last_position = torch.cat([task.get_last_positions(batch) for batch in selected])
    index = last_position.clamp(max=curves.choices.size(1) - 1).view(-1, 1, 1)
    last_choice = curves.choices.gather(1, index.expand(-1, 1, ticks)).squeeze(1)
    last_target = curves.targets.gather(1, last_position.unsqueeze(1).clamp(max=curves.targets.size(1) - 1))
    policy_replay = replay(policy, TickHistory.from_curves(curves), curves.correct)
    return ConfidenceSamples(
        torch.cat(logits),
        curves.energy,
        curves.certainty,
        curves.correct,
        last_choice == last_target,
        last_position,
        compute_visit_weights(curves, policy_replay).float(),
    )


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
    temperatures = fit_temperatures(samples, answer_format)
    by_position = compute_log_probabilities(samples.logits, temperatures, answer_format)
    whole = fit_confidence_model(
        samples, samples.correct, samples.certainty.mean(1), by_position[:, answer_format.first_scored :].sum(1)
    )
    last = None
    if has_separate_last_position(task):
        index = samples.last_position.view(-1, 1, 1).expand(-1, 1, samples.correct.size(1))
        certainty, log_probability = (v.gather(1, index).squeeze(1) for v in (samples.certainty, by_position))
        last = fit_confidence_model(samples, samples.last_correct, certainty, log_probability)
    if whole is None:
        return None
    values = [round(value, 4) for value in temperatures.tolist()]
    return ConfidenceMetadata(temperatures=values, whole=whole, last=last, split=CALIBRATION, n=len(samples.correct))


def fit_temperatures(samples: ConfidenceSamples, answer_format: AnswerFormat) -> Float[Tensor, " T"]:
    """Fit the temperature of every tick, so that the probability of the whole answer is that of being correct.

    The logarithm of the temperature is linear in the logarithm of the tick, and constant for a CTC answer. The fit
    minimises the negative log-likelihood.
    """
    ticks = samples.logits.size(2)
    slope = torch.zeros(ticks) if answer_format.is_ctc else torch.arange(1, ticks + 1).float().log()
    coefficients = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=30, line_search_fn="strong_wolfe")
    weight = samples.weight / samples.weight.sum()

    def compute_temperatures() -> Tensor:
        log_temperature = coefficients[0] + coefficients[1] * slope
        return log_temperature.clamp(-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE).exp()

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        by_position = compute_log_probabilities(samples.logits, compute_temperatures(), answer_format)
        log_p = by_position[:, answer_format.first_scored :].sum(1).clamp(max=-1e-6)
        log_likelihood = torch.where(samples.correct, log_p, torch.log(-torch.expm1(log_p)))
        loss = -(weight * log_likelihood).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(compute_loss)
    with torch.no_grad():
        return compute_temperatures() if bool(coefficients.isfinite().all()) else torch.ones(ticks)


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


@torch.inference_mode()
def fit_familiarity(model: TickModel, task: Task, calibration: Iterable[Batch]) -> FamiliarityMetadata | None:
    """Fit the distribution of the pooled features of training inputs, with a threshold from calibration samples.

    Args:
        model: The model, in evaluation mode.
        task: Its task.
        calibration: Calibration samples.

    Returns:
        The distribution, or None for a task whose inputs are generated.
    """
    if not task.has_natural_inputs:
        return None
    training = task.sample(TRAIN, NUM_TRAINING_INPUTS, make_generator("familiarity", TRAIN)).inputs
    features = torch.cat([model.pool_features(part) for part in training.split(256)]).double()
    held_out = torch.cat([model.pool_features(batch.inputs) for batch in calibration]).double()
    mean = features.mean(0)
    _, scales, directions = torch.linalg.svd(features - mean, full_matrices=False)
    variances = scales.square() / len(features)
    count = min(NUM_DIRECTIONS, len(variances) - 1)
    familiarity = FamiliarityMetadata(
        mean=round_all(mean),
        components=[round_all(row) for row in directions[:count]],
        variances=variances[:count].clamp(min=1e-12).tolist(),
        residual_variance=max(variances[count:].mean().item(), 1e-12),
        threshold=1.0,
        split=CALIBRATION,
        n=len(held_out),
    )
    threshold = torch.quantile(familiarity.compute_distance(held_out), FAMILIAR_SHARE).item()
    return familiarity.model_copy(update={"threshold": threshold})


def round_all(values: Tensor) -> list[float]:
    """Return numbers with six decimals."""
    return [round(value, 6) for value in values.tolist()]
