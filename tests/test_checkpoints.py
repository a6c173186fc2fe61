"""The bundled checkpoints: whole, as good as they say, and measured on nothing they were trained on."""

import json

import pytest

from ctm.checkpoint import count_weights, load
from inference.halting.policy_parser import parse
from tests.paths import ROOT
from training.__main__ import main
from training.evaluation import split_batches
from training.finalize import measure
from training.tasks import task_of

FOLDER = ROOT / "checkpoints"
FLOORS = {
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
    # Baselines: as good as they were, to be compared with.
    "brackets-ff": 0.81,
    "brackets-lstm": 0.97,
    "digits-ff": 0.98,
    "digits-lstm": 0.97,
    "tracking-position-ff": 0.22,
    "tracking-position-lstm": 0.7,
}
ELSEWHERE = {"fashion"}  # whose pictures are not bundled
SPEAK = {"sorting-10"}  # which have answered when all is said


@pytest.fixture(params=FLOORS)
def name(request):
    return request.param


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "digits" else pytest.mark.slow)
        for name in sorted(FLOORS.keys() - ELSEWHERE)
    ],
)
def test_figures_can_be_measured_again(name, capsys):
    """Evaluating the files gives the figures that the files state."""
    main(["evaluate", str(FOLDER / name)])
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    stated = load(FOLDER / name).metrics["evaluations"][0]
    assert (figures["split"], figures["n"], figures["policy"]) == (stated["split"], stated["n"], stated["policy"])
    for key in ("accuracy_halted", "accuracy_last"):
        assert figures[key] == pytest.approx(stated[key], abs=2 / stated["n"])
    assert figures["mean_ticks"] == pytest.approx(stated["mean_ticks"], abs=0.05)


@pytest.mark.parametrize("name", sorted(FLOORS.keys() - ELSEWHERE))
def test_a_few_samples_give_about_the_stated_figure(name):
    checkpoint = load(FOLDER / name)
    task, stated = task_of(checkpoint.task), checkpoint.metrics["evaluations"][0]
    found = measure(
        checkpoint.model,
        task,
        "test",
        split_batches(task, "test", 128)[:1],
        parse(stated["policy"]),
        checkpoint.halting,
    )
    share, n = stated["accuracy_halted"], found["n"]
    assert abs(found["accuracy_halted"] - share) <= 4 * (share * (1 - share) / n) ** 0.5 + 2 / n


def test_what_is_stated_reaches_the_floor(name):
    assert load(FOLDER / name).metrics["evaluations"][0]["accuracy_halted"] >= FLOORS[name]


def test_no_bundled_checkpoint_is_forgotten_here():
    assert {path.parent.name for path in FOLDER.glob("*/config.json")} == FLOORS.keys()


def test_digits_halt_within_half_a_point_of_the_best_tick_at_half_of_the_ticks():
    stated = load(FOLDER / "digits").metrics["evaluations"][0]
    assert stated["accuracy_halted"] >= stated["accuracy_best"] - 0.005
    assert stated["mean_ticks"] <= stated["iterations"] / 2


def test_the_three_splits_of_arithmetic_are_all_reported():
    assert [e["split"] for e in load(FOLDER / "arithmetic").metrics["evaluations"]] == [
        "test",
        "compositional",
        "extrapolation",
    ]


def test_thresholds_come_from_calibration_samples_and_the_energy_says_what_it_means(name):
    halting = load(FOLDER / name).halting
    waits = name not in SPEAK and not name.endswith("-ff")  # with a single tick there is nothing to wait for
    assert halting["energy"]["kind"] == ("wait" if waits else "calibrated") and "chance" in halting["energy"]
    assert (
        halting["default"] == ("said" if name in SPEAK else "energy")
        and parse(halting["policies"]["energy"]["policy"]).needs_energy
    )


def test_the_card_states_what_was_measured(name):
    checkpoint = load(FOLDER / name)
    first = checkpoint.metrics["evaluations"][0]
    assert f"{first['accuracy_halted']:.2%}" in checkpoint.card and "configs/" in checkpoint.card
    assert f"of {count_weights(FOLDER / name):,} parameters" in checkpoint.card, "as the README counts them"
