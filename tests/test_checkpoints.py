"""Tests of the bundled checkpoints: reproducible metrics, minimum accuracy, halting metadata and model cards."""

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
    "parity-16": 0.998,
    "parity-16-untaught": 0.99,
    "parity-64": 0.99,
    "arithmetic": 0.997,
    "arithmetic-table": 0.995,
    "brackets": 0.995,
    "brackets-short": 0.99,
    "chain": 0.995,
    "fashion": 0.9,
    "mazes-15-untaught": 0.75,
    "mazes-15-paced": 0.72,
    "mazes-15": 0.98,
    "qamnist": 0.93,
    "qamnist-untaught": 0.95,
    "sorting-10": 0.99,
    "tracking-position-untaught": 0.97,
    "tracking-position": 0.985,
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
CTC_CHECKPOINTS = {"sorting-10"}  # CTC models halt after the last emission


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
def test_evaluation_reproduces_the_stored_metrics(checkpoint_name, capsys):
    """Evaluate a checkpoint and compare the result with its `metrics.json`."""
    main(["evaluate", str(CHECKPOINTS_DIR / checkpoint_name)])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    stored_evaluation = load(CHECKPOINTS_DIR / checkpoint_name).metrics["evaluations"][0]
    assert (figures["split"], figures["n"], figures["policy"]) == (
        stored_evaluation["split"],
        stored_evaluation["n"],
        stored_evaluation["policy"],
    )
    for key in ("accuracy_halted", "accuracy_last"):
        assert figures[key] == pytest.approx(stored_evaluation[key], abs=2 / stored_evaluation["n"])
    assert figures["mean_ticks"] == pytest.approx(stored_evaluation["mean_ticks"], abs=0.05)


@pytest.mark.parametrize("checkpoint_name", sorted(MIN_ACCURACY.keys() - WITHOUT_BUNDLED_DATA))
def test_accuracy_on_one_batch_is_close_to_the_stored_accuracy(checkpoint_name):
    checkpoint = load(CHECKPOINTS_DIR / checkpoint_name)
    task = build_task(checkpoint.task)
    stored_evaluation = checkpoint.metrics["evaluations"][0]
    batches = build_split_batches(task, "test", 128)[:1]
    evaluation = evaluate_split(
        checkpoint.model, task, "test", batches, parse(stored_evaluation["policy"]), checkpoint.halting
    )
    accuracy = stored_evaluation["accuracy_halted"]
    n = evaluation["n"]
    assert abs(evaluation["accuracy_halted"] - accuracy) <= 4 * (accuracy * (1 - accuracy) / n) ** 0.5 + 2 / n


def test_stored_accuracy_reaches_the_minimum(checkpoint_name):
    stored_evaluation = load(CHECKPOINTS_DIR / checkpoint_name).metrics["evaluations"][0]
    assert stored_evaluation["accuracy_halted"] >= MIN_ACCURACY[checkpoint_name]


def test_every_bundled_checkpoint_has_a_minimum():
    assert {path.parent.name for path in CHECKPOINTS_DIR.glob("*/config.json")} == MIN_ACCURACY.keys()


def test_digits_halting_keeps_accuracy_within_half_a_point_and_halves_the_ticks():
    stored_evaluation = load(CHECKPOINTS_DIR / "digits").metrics["evaluations"][0]
    assert stored_evaluation["accuracy_halted"] >= stored_evaluation["accuracy_best"] - 0.005
    assert stored_evaluation["mean_ticks"] <= stored_evaluation["iterations"] / 2


def test_arithmetic_has_evaluations_of_all_splits():
    evaluations = load(CHECKPOINTS_DIR / "arithmetic").metrics["evaluations"]
    assert [evaluation["split"] for evaluation in evaluations] == ["test", "typed", "compositional", "extrapolation"]


def test_halting_metadata_has_the_energy_kind_and_the_default_policy(checkpoint_name):
    halting = load(CHECKPOINTS_DIR / checkpoint_name).halting
    # A model with a single tick cannot wait for a better answer.
    has_wait_energy = checkpoint_name not in CTC_CHECKPOINTS and not checkpoint_name.endswith("-ff")
    assert halting["energy"]["kind"] == ("wait" if has_wait_energy else "calibrated") and "chance" in halting["energy"]
    policies = halting["policies"]
    if checkpoint_name.endswith("-ff"):
        assert not policies and halting["default"] is None
        return
    assert parse(policies["energy"]["policy"]).needs_energy
    if checkpoint_name in CTC_CHECKPOINTS:
        assert halting["default"] == "said"
        return
    default = policies[halting["default"]]
    assert default["tolerance"] is not None and not default.get("promise")
    if "confidence" in halting:  # fitted with the common target accuracy
        target = max(
            record["accuracy"] - record["tolerance"] for record in policies.values() if "promise" not in record
        )
        reaching = [r["mean_ticks"] for r in policies.values() if "promise" not in r and r["accuracy"] >= target]
        assert default["accuracy"] >= target and default["mean_ticks"] == min(reaching)


def test_card_has_the_stored_accuracy_and_the_parameter_count(checkpoint_name):
    checkpoint = load(CHECKPOINTS_DIR / checkpoint_name)
    stored_evaluation = checkpoint.metrics["evaluations"][0]
    assert f"{stored_evaluation['accuracy_halted']:.2%}" in checkpoint.card and "configs/" in checkpoint.card
    assert f"of {count_weights(CHECKPOINTS_DIR / checkpoint_name):,} parameters" in checkpoint.card, (
        "the parameter count in the model card"
    )
