"""Tests of the confidence of answers, and of the familiarity of inputs."""

import numpy as np
import pytest
import torch

from ctm.checkpoint import load
from ctm.checkpoint.metadata import ConfidenceMetadata, ConfidenceModel, FamiliarityMetadata, HaltingMetadata
from ctm.modules.readout import compute_certainty
from inference.confidence import (
    MAX_SHIFTED_CONFIDENCE,
    AnswerFormat,
    compute_confidence,
    compute_confidence_limit,
    compute_log_probabilities,
)
from inference.halting.policy_parser import parse
from tests.paths import ROOT
from training.energy.confidence import (
    ConfidenceSamples,
    fit_confidence,
    fit_confidence_model,
    fit_temperatures,
    get_answer_format,
    has_separate_last_position,
    sum_log_probabilities,
)
from training.evaluation import build_split_batches
from training.familiarity import fit_familiarity
from training.tasks import build_task, make_task

NUM_SAMPLES = 4_000


def make_samples(temperature: float, positions: int = 1, seed: int = 0) -> ConfidenceSamples:
    """Return samples whose answer at tick 3 is correct with the probability of the logits over a temperature."""
    generator = torch.Generator().manual_seed(seed)
    true_logits = 2 * torch.randn(NUM_SAMPLES, positions, 4, 3, generator=generator)
    p = true_logits.softmax(2)
    targets = torch.stack(
        [torch.multinomial(p[:, :, :, 2].flatten(0, 1), 1, generator=generator).view(NUM_SAMPLES, positions)] * 3, -1
    )
    correct = (true_logits.argmax(2) == targets).all(1)
    weight = torch.zeros(NUM_SAMPLES, 3)
    weight[:, 2] = 16
    return ConfidenceSamples(
        logits=(true_logits * temperature).flatten(1, 2),
        energy=None,
        certainty=torch.zeros(NUM_SAMPLES, positions, 3),
        correct=correct,
        last_correct=(true_logits.argmax(2) == targets)[:, -1],
        last_position=torch.full((NUM_SAMPLES,), positions - 1),
        weight=weight,
    )


@pytest.mark.parametrize("positions", [1, 2])
@pytest.mark.parametrize("temperature", [0.25, 1.0, 5.0])
def test_the_temperature_of_the_answer_tick_is_recovered(temperature, positions):
    fitted = fit_temperatures(make_samples(temperature, positions), AnswerFormat(positions))
    assert fitted[2] == pytest.approx(temperature, rel=0.15)


def test_the_confidence_is_calibrated_and_bounded_by_the_probability():
    samples = make_samples(5.0)
    temperatures = fit_temperatures(samples, AnswerFormat(1))
    log_probability = compute_log_probabilities(samples.logits, temperatures, AnswerFormat(1)).sum(1)
    model = fit_confidence_model(samples, samples.correct, samples.certainty.mean(1), log_probability)
    p = model(None, samples.certainty.mean(1), log_probability)
    assert (p <= log_probability.exp() + 1e-6).all()
    for low, high in ((0.2, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        rows = (p[:, 2] >= low) & (p[:, 2] < high)
        assert p[rows, 2].mean().item() == pytest.approx(samples.correct[rows, 2].float().mean().item(), abs=0.06)


def test_an_answer_is_as_probable_as_its_scored_positions():
    logits = torch.tensor([[[0.0], [2.0], [1.0], [0.0]]])  # two positions of two classes
    p = [np.exp(2) / (np.exp(2) + 1), np.exp(1) / (np.exp(1) + 1)]
    by_position = compute_log_probabilities(logits, torch.ones(1), AnswerFormat(2))
    np.testing.assert_allclose(by_position[0, :, 0].exp(), p, rtol=1e-6)
    metadata = HaltingMetadata.model_validate({})
    for scored, expected in ((None, p[0] * p[1]), (1, p[1])):
        confidence = compute_confidence(
            metadata, AnswerFormat(2, scored), logits, None, torch.zeros(1, 2, 1), torch.tensor([1])
        )
        assert confidence.log_probability.exp().item() == pytest.approx(expected)
        assert confidence.p_correct is None and confidence.p_last is None


def test_positions_after_the_last_one_do_not_count():
    by_position = torch.tensor([[[1.0], [2.0], [4.0]]]).repeat(3, 1, 1)
    last_position = torch.tensor([0, 1, 2])
    assert AnswerFormat(3).sum_scored(by_position, last_position).flatten().tolist() == [1, 3, 7]
    assert AnswerFormat(3, 1).sum_scored(by_position, last_position).flatten().tolist() == [1, 2, 4]


def test_a_ctc_answer_is_as_probable_as_the_choices_of_all_its_ticks():
    logits = torch.tensor([[[0.0, 0.0], [2.0, 1.0]]])
    log_p = compute_log_probabilities(logits, torch.ones(2), AnswerFormat(1, is_ctc=True))
    p = [np.exp(2) / (np.exp(2) + 1), np.exp(1) / (np.exp(1) + 1)]
    np.testing.assert_allclose(log_p[0, 0].exp(), [p[0], p[0] * p[1]], rtol=1e-6)


def test_files_of_version_0_1_keep_their_p_correct_within_the_probability():
    metadata = HaltingMetadata.model_validate({"energy": {"kind": "calibrated"}})
    logits = torch.tensor([[[0.0, 0.0], [0.5, 9.0]]])
    energy = torch.tensor([[-5.0, -1.0]])
    confidence = compute_confidence(metadata, AnswerFormat(1), logits, energy, torch.zeros(1, 1, 2), torch.tensor([0]))
    probability = logits.softmax(1).amax(1)
    assert torch.allclose(confidence.p_correct, torch.minimum(torch.sigmoid(-energy), probability))
    assert confidence.p_correct[0, 0] == probability[0, 0]


def test_only_parity_has_a_separate_last_position():
    kinds = ("parity", "chain", "brackets", "arithmetic", "mazes", "qamnist", "sorting", "tracking", "digits")
    assert [kind for kind in kinds if has_separate_last_position(make_task({"kind": kind}))] == ["parity"]


def test_a_bundled_model_is_calibrated_on_test_samples():
    checkpoint = load(ROOT / "checkpoints/parity-16")
    task, policy = build_task(checkpoint.task), parse("energy<-7.244")
    checkpoint.model.eval()
    confidence = fit_confidence(checkpoint.model, task, build_split_batches(task, "calibration", 512), policy)
    assert confidence.last is not None and confidence.n > 300
    assert len(confidence.temperatures) == checkpoint.model.config.iterations
    assert get_answer_format(task) == AnswerFormat(16)


@pytest.mark.parametrize("name", ["parity-16", "parity-16-untaught", "parity-64"])
def test_the_last_position_is_at_least_as_certain_as_the_whole_answer(name):
    checkpoint = load(ROOT / "checkpoints" / name)
    task = build_task(checkpoint.task)
    (batch,) = build_split_batches(task, "validation", 200)
    with torch.inference_mode():
        output = checkpoint.model.eval()(batch.inputs)
    certainty = compute_certainty(output.answers.permute(2, 1, 0), task.settings.length).permute(2, 1, 0)
    confidence = compute_confidence(
        HaltingMetadata.model_validate(checkpoint.halting),
        get_answer_format(task),
        output.answers,
        output.energies,
        certainty,
        task.get_last_positions(batch),
    )
    assert (confidence.p_last >= confidence.p_correct).all()
    assert (confidence.p_last > confidence.p_correct + 0.1).any(), "it is a figure of its own"


@pytest.mark.parametrize("positions", [1, 3])
def test_ticks_that_do_not_answer_are_left_out_without_effect(positions):
    samples = make_samples(1.7, positions)
    ticks = samples.logits.size(2)
    temperatures = torch.linspace(0.5, 2, ticks)
    mask = torch.rand(samples.weight.shape, generator=torch.Generator().manual_seed(3)) < 0.3
    answer_format = AnswerFormat(positions)
    by_position = compute_log_probabilities(samples.logits, temperatures, answer_format)
    torch.testing.assert_close(
        sum_log_probabilities(samples, temperatures, answer_format, mask),
        answer_format.sum_scored(by_position, samples.last_position)[mask],
    )


# --- familiarity ------------------------------------------------------------------------------------------------------


def make_familiarity() -> FamiliarityMetadata:
    return FamiliarityMetadata(
        mean=[1.0, 2.0, 3.0], components=[[1.0, 0.0, 0.0]], variances=[4.0], residual_variance=0.5, threshold=10.0
    )


def test_the_distance_is_that_of_mahalanobis():
    distances = make_familiarity().compute_distance(torch.tensor([[1.0, 2.0, 3.0], [5.0, 2.0, 3.0], [1.0, 3.0, 5.0]]))
    np.testing.assert_allclose(distances, [0, 4**2 / 4, (1 + 4) / 0.5])


def test_an_unfamiliar_input_limits_the_confidence_the_more_the_farther_it_is():
    metadata = HaltingMetadata(familiarity=make_familiarity())
    near, far, farther = (torch.tensor([[x, 2.0, 3.0]]) for x in (3.0, 13.0, 25.0))
    assert compute_confidence_limit(metadata, near, False, None).value == 1
    first, second = (compute_confidence_limit(metadata, features, False, None) for features in (far, farther))
    assert first.is_unfamiliar and second.value < first.value < MAX_SHIFTED_CONFIDENCE


@pytest.mark.parametrize(("accuracy", "limit"), [(None, MAX_SHIFTED_CONFIDENCE), (0.424, 0.424)])
def test_a_known_shift_limits_the_confidence_to_the_accuracy_on_such_samples(accuracy, limit):
    result = compute_confidence_limit(HaltingMetadata.model_validate({}), None, True, accuracy)
    assert (result.value, result.is_unfamiliar) == (limit, True)


def test_noise_is_unfamiliar_to_the_bundled_digits_and_test_digits_are_not():
    checkpoint = load(ROOT / "checkpoints/digits")
    task = build_task(checkpoint.task)
    checkpoint.model.eval()
    familiarity = fit_familiarity(checkpoint.model, task, build_split_batches(task, "calibration", 512))
    generator = np.random.default_rng(0)
    noise = torch.cat([task.parse_input(generator.random((28, 28, 3), np.float32)).inputs for _ in range(20)])
    digits = task.load_full_split("test").inputs[:200]
    with torch.inference_mode():
        distances = [familiarity.compute_distance(checkpoint.model.pool_features(inputs)) for inputs in (noise, digits)]
    assert (distances[0] > familiarity.threshold).all()
    assert (distances[1] > familiarity.threshold).float().mean() < 0.05


def test_metadata_of_wrong_shapes_is_rejected():
    with pytest.raises(ValueError, match="same number of directions"):
        FamiliarityMetadata(mean=[1.0], components=[[1.0, 2.0]], variances=[1.0], residual_variance=1, threshold=1)
    with pytest.raises(ValueError, match="greater than 0"):
        ConfidenceMetadata(temperatures=[0.0], whole=ConfidenceModel())
