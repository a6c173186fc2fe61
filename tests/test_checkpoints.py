"""Tests of the bundled checkpoints: complete, as accurate as stated, and evaluated on held-out data."""

import json

import pytest

from ctm.checkpoint import count_weights, load
from inference.halting.policy_parser import parse
from tests.paths import ROOT
from training.__main__ import main
from training.evaluation import build_split_batches
from training.finalize import evaluate_split
from training.tasks import build_task

CHECKPOINTS_DIR = ROOT / "checkpoints"
MIN_ACCURACY = {
    "digits": 0.975,
    "parity-16": 0.99,
    "parity-64": 0.12,  # rows of up to 18 bits
    "arithmetic": 0.99,
    "brackets": 0.99,
    "chain": 0.99,
    "fashion": 0.9,
    "mazes-15": 0.75,
    "qamnist": 0.95,
    "sorting-10": 0.95,
    "tracking-position": 0.97,
    "tracking-quadrant": 0.995,
    "transfer": 0.95,
    "transfer-random": 0.94,
    "transfer-scratch": 0.98,
    # Baselines for comparison.
    "brackets-ff": 0.81,
    "brackets-lstm": 0.97,
    "digits-ff": 0.98,
    "digits-lstm": 0.97,
    "tracking-position-ff": 0.22,
    "tracking-position-lstm": 0.7,
}
WITHOUT_BUNDLED_DATA = {"fashion"}
CTC_CHECKPOINTS = {"sorting-10"}  # they halt after the last emission


@pytest.fixture(params=MIN_ACCURACY)
def checkpoint_name(request):
    return request.param


@pytest.mark.parametrize(
    "checkpoint_name",
    [
        pytest.param(name, marks=[] if name == "digits" else pytest.mark.slow)
        for name in sorted(MIN_ACCURACY.keys() - WITHOUT_BUNDLED_DATA)
    ],
)
def test_evaluating_again_gives_the_stated_figures(checkpoint_name, capsys):
    """Evaluate the checkpoints and compare with the figures in their files."""
    main(["evaluate", str(CHECKPOINTS_DIR / checkpoint_name)])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    stated = load(CHECKPOINTS_DIR / checkpoint_name).metrics["evaluations"][0]
    assert (figures["split"], figures["n"], figures["policy"]) == (stated["split"], stated["n"], stated["policy"])
    for key in ("accuracy_halted", "accuracy_last"):
        assert figures[key] == pytest.approx(stated[key], abs=2 / stated["n"])
    assert figures["mean_ticks"] == pytest.approx(stated["mean_ticks"], abs=0.05)


@pytest.mark.parametrize("checkpoint_name", sorted(MIN_ACCURACY.keys() - WITHOUT_BUNDLED_DATA))
def test_the_accuracy_on_a_few_samples_is_close_to_the_stated_one(checkpoint_name):
    checkpoint = load(CHECKPOINTS_DIR / checkpoint_name)
    task = build_task(checkpoint.task)
    stated = checkpoint.metrics["evaluations"][0]
    batches = build_split_batches(task, "test", 128)[:1]
    evaluation = evaluate_split(checkpoint.model, task, "test", batches, parse(stated["policy"]), checkpoint.halting)
    accuracy = stated["accuracy_halted"]
    n = evaluation["n"]
    assert abs(evaluation["accuracy_halted"] - accuracy) <= 4 * (accuracy * (1 - accuracy) / n) ** 0.5 + 2 / n


def test_stated_accuracy_reaches_the_minimum(checkpoint_name):
    stated = load(CHECKPOINTS_DIR / checkpoint_name).metrics["evaluations"][0]
    assert stated["accuracy_halted"] >= MIN_ACCURACY[checkpoint_name]


def test_every_bundled_checkpoint_has_a_minimum():
    assert {path.parent.name for path in CHECKPOINTS_DIR.glob("*/config.json")} == MIN_ACCURACY.keys()


def test_digits_halt_within_half_a_point_of_the_best_tick_at_half_of_the_ticks():
    stated = load(CHECKPOINTS_DIR / "digits").metrics["evaluations"][0]
    assert stated["accuracy_halted"] >= stated["accuracy_best"] - 0.005
    assert stated["mean_ticks"] <= stated["iterations"] / 2


def test_the_three_splits_of_arithmetic_are_all_reported():
    evaluations = load(CHECKPOINTS_DIR / "arithmetic").metrics["evaluations"]
    assert [evaluation["split"] for evaluation in evaluations] == ["test", "compositional", "extrapolation"]


def test_thresholds_come_from_calibration_samples_and_the_energy_kind_is_recorded(checkpoint_name):
    halting = load(CHECKPOINTS_DIR / checkpoint_name).halting
    # A model with a single tick cannot wait for a better answer.
    has_wait_energy = checkpoint_name not in CTC_CHECKPOINTS and not checkpoint_name.endswith("-ff")
    assert halting["energy"]["kind"] == ("wait" if has_wait_energy else "calibrated") and "chance" in halting["energy"]
    expected_default = "said" if checkpoint_name in CTC_CHECKPOINTS else "energy"
    energy_policy = parse(halting["policies"]["energy"]["policy"])
    assert halting["default"] == expected_default and energy_policy.needs_energy


def test_the_card_has_the_measured_figures(checkpoint_name):
    checkpoint = load(CHECKPOINTS_DIR / checkpoint_name)
    stated = checkpoint.metrics["evaluations"][0]
    assert f"{stated['accuracy_halted']:.2%}" in checkpoint.card and "configs/" in checkpoint.card
    assert f"of {count_weights(CHECKPOINTS_DIR / checkpoint_name):,} parameters" in checkpoint.card, (
        "the number in the README"
    )
