"""Tests of the comparison of halting policies: metrics computed by hand, and a comparison of tiny models."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from benchmarks.halting import __main__ as command
from benchmarks.halting import evaluate, frozen_models, metrics, policies_under_test, summary, timing
from benchmarks.halting.markdown import render_table
from benchmarks.halting.metrics import HaltingMetrics, risk_coverage
from benchmarks.halting.plots import build_figure, write_plots
from benchmarks.halting.summary import summarise_tasks
from inference.halting.frontier import compute_fixed_tick_points, compute_oracle_points
from inference.tick_history import EvaluationCurves
from tests.ui.conftest import make_checkpoint
from training.config import FinalizeConfig
from training.energy.features import EnergyHeadDataset

CORRECT = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()


def test_regret_includes_the_cost_of_ticks():
    halting_metrics = HaltingMetrics(CORRECT, torch.tensor([2, 1, 3, 4]))
    assert halting_metrics.target_accuracy == pytest.approx(0.5 - 0.005)
    oracle_regrets = halting_metrics.compute_regrets(compute_oracle_points(CORRECT))
    assert oracle_regrets["0.002"] == pytest.approx(0.0), "the oracle stops at the first correct tick, or at once"
    best_value = (0.998 + 1.0 + 0.0 + 0.996) / 4
    fixed_regrets = halting_metrics.compute_regrets(compute_fixed_tick_points(CORRECT))
    assert fixed_regrets["0.002"] == pytest.approx(best_value - (0.5 - 0.002))


def test_risk_coverage_is_the_mean_error_rate_of_the_highest_scores():
    score = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    correct = torch.tensor([[1], [0], [1], [1]]).bool()
    assert risk_coverage(score, correct) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_bootstrap_draws_are_the_same_for_every_policy():
    points = {"fixed": compute_fixed_tick_points(CORRECT), "oracle": compute_oracle_points(CORRECT)}
    draws = metrics.bootstrap_metrics(points, CORRECT)
    assert draws == metrics.bootstrap_metrics(points, CORRECT)
    areas = zip(draws["oracle"]["area"], draws["fixed"]["area"], strict=True)
    assert all(oracle_area >= fixed_area - 1e-9 for oracle_area, fixed_area in areas)


@pytest.fixture
def make_frozen_model(monkeypatch, tmp_path):
    """Shorten comparisons; return a function that builds the frozen model of a seed."""
    finalize_config = FinalizeConfig(fit_samples=96, fit_steps=20)
    for module in (frozen_models, policies_under_test):
        monkeypatch.setattr(module, "FINALIZE_CONFIG", finalize_config)
    monkeypatch.setattr(frozen_models, "NUM_EVALUATION_SAMPLES", 400)
    for module in (frozen_models, command):
        monkeypatch.setattr(module, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(evaluate, "ENERGY_KINDS", ("calibrated", "wait", "hazard"))
    monkeypatch.setattr(evaluate, "NUM_HEAD_SEEDS", {})
    monkeypatch.setattr(metrics, "NUM_BOOTSTRAP_DRAWS", 30)
    monkeypatch.setattr(timing, "NUM_ROUNDS", 1)
    monkeypatch.setattr(timing, "BATCH_SIZES", ((4, 4), (9, 4)))
    monkeypatch.setattr(timing, "NUM_STREAM_ROUNDS", 1)

    def build(seed: int) -> frozen_models.FrozenModel:
        checkpoint_dir = make_checkpoint(tmp_path / f"tiny-{seed}", "digits", d_model=16 + 2 * seed)
        metadata = {"training": {"command": "python -m training train tiny.yaml"}}
        (checkpoint_dir / "metrics.json").write_text(json.dumps(metadata))
        return frozen_models.FrozenModel("tiny", seed, checkpoint_dir)

    return build


@pytest.mark.slow
def test_comparison_has_all_policies_and_is_cached_and_summarised(make_frozen_model, tmp_path, monkeypatch, capsys):
    results = [command.load_or_evaluate(make_frozen_model(seed)) for seed in (0, 1)]
    first = results[0]
    expected_policies = {
        "fixed",
        "oracle",
        "certainty",
        "change",
        "patience",
        "energy: wait",
        "time to settle",
        "giving up",
        "by chance",
    }
    assert expected_policies <= set(first["rules"])
    oracle_area = first["rules"]["oracle"]["area"]
    assert all(oracle_area >= figures["area"] - 1e-9 for figures in first["rules"].values())
    assert first["rules"]["fixed"]["normalised_area"] == 0 and first["rules"]["oracle"]["normalised_area"] == 1
    assert first["n"]["calibration"] > 300 and first["deployed"].keys() >= {"energy", "certainty"}
    assert first["rules"]["energy: wait"]["reliability"]["ece"] <= 1
    assert [(entry["rows"], entry["slots"]) for entry in first["time"]] == [(4, 4), (9, 4)]
    assert all(0 <= entry["ticks_saved"] < 1 and entry["seconds"]["full"] > 0 for entry in first["time"])

    def fail(*_):
        raise AssertionError("cached results were computed again")

    monkeypatch.setattr(command, "evaluate_frozen_model", fail)
    assert command.load_or_evaluate(make_frozen_model(0)) == first

    task_summary = summarise_tasks(results)["tiny"]
    assert task_summary["seeds"] == [0, 1] and len(task_summary["energy_against_certainty"]["ticks_saved"]) == 3
    low, median, high = task_summary["energy_against_certainty"]["area_won"]
    assert low <= median <= high
    write_plots({"trunks": results}, tmp_path / "page.html")
    assert "energy" in (tmp_path / "page.html").read_text("utf-8")


def test_savings_are_measured_near_the_highest_common_accuracy():
    """At a low accuracy certainty needs 4 ticks and the energy 2; near the highest accuracy 8 and 7.5."""
    results = {
        "energy: wait": {"corners": [[1, 0.0], [2, 0.695], [8, 0.805], [9, 0.805]]},
        "certainty": {"corners": [[1, 0.0], [4, 0.695], [8, 0.795], [9, 0.795]]},
        "certainty.min": {"corners": [[1, 0.0], [9, 0.8]]},
    }
    energy_ticks = 2 + 6 * (0.795 - 0.695) / 0.11  # half a point below the 0.8 of the least certain position
    assert summary.compute_savings_at_top_accuracy(results) == pytest.approx(1 - energy_ticks / 8)
    two_policies = {name: results[name] for name in ("certainty", "energy: wait")}
    assert summary.compute_savings_at_top_accuracy(two_policies) < 0.2


def test_legend_has_one_entry_per_policy_of_all_tasks():
    policies = {name: {"corners": [[1, 0.5], [9, 1.0]]} for name in ("oracle", "certainty", "certainty.min")}
    digits = {
        "name": "digits",
        "seed": 0,
        "rules": {name: policies[name] for name in ("oracle", "certainty")},
    }
    brackets = {"name": "brackets", "seed": 0, "rules": policies}
    lines = build_figure({"trunks": [digits, brackets, brackets | {"seed": 1, "rules": {}}]}).data
    assert len(lines) == 5, "the lines of the first model of each task"
    assert [line.name for line in lines if line.showlegend] == [
        "oracle",
        "certainty",
        "certainty, least certain position",
    ]


def test_only_unrolls_with_energy_features_are_cached(make_frozen_model, monkeypatch):
    """Features of long unrolls of many samples exceed the memory limit, so only some are cached."""
    monkeypatch.setattr("training.energy.features.MAX_FEATURE_VALUES", 1)
    monkeypatch.setattr(frozen_models, "FINALIZE_CONFIG", FinalizeConfig(fit_samples=600))
    unrolls = frozen_models.load_or_compute_unrolls(make_frozen_model(0), "validation")
    assert len(unrolls.energy_dataset.features) == len(unrolls.curves.correct) == len(unrolls.curves.certainty) == 256
    assert all(len(values) == 256 for values in unrolls.curves.signals.values())


def test_a_cache_file_with_the_keys_of_the_first_version_loads(tmp_path):
    """Cached files take hours to compute, so their keys stay the same when fields are renamed."""
    stored = {
        "felt.seen": torch.rand(2, 3, 5).half(),
        "felt.right": torch.tensor([[False, True, True], [False, False, True]]),
        "felt.counts": torch.ones(2, 3, dtype=torch.bool),
        "felt.losses": torch.rand(2, 3),
        "curves.right": torch.tensor([[True, False, True], [False, True, True], [True, True, True]]),
        "curves.choices": torch.arange(9).reshape(3, 1, 3),
        "curves.certainty": torch.rand(3, 1, 3),
        "curves.difficulty": torch.tensor([4, 5, 6]),
        "curves.targets": torch.tensor([[7], [8], [9]]),
        "curves.listening": torch.tensor([0, 1, 2]),
        "signal.margin": torch.rand(3, 3),
    }
    path = tmp_path / "first-version.safetensors"
    save_file(stored, path)

    unrolls = frozen_models.read_unrolls(path)

    dataset = unrolls.energy_dataset
    assert_close(dataset.features, stored["felt.seen"])
    assert_close(dataset.correct, stored["felt.right"])
    assert_close(dataset.answer_mask, stored["felt.counts"])
    assert_close(dataset.tick_losses, stored["felt.losses"])
    curves = unrolls.curves
    assert_close(curves.correct, stored["curves.right"][:2])  # as many samples as the energy head has
    assert_close(curves.choices, stored["curves.choices"][:2])
    assert_close(curves.certainty, stored["curves.certainty"][:2])
    assert_close(curves.difficulty, stored["curves.difficulty"][:2])
    assert_close(curves.targets, stored["curves.targets"][:2])
    assert_close(curves.input_ticks, stored["curves.listening"][:2])
    assert_close(curves.signals["margin"], stored["signal.margin"][:2])
    assert curves.energy is None and not curves.is_ctc

    copy_path = tmp_path / "copy.safetensors"
    frozen_models.save_unrolls(unrolls, copy_path)
    assert load_file(copy_path).keys() == stored.keys()


def test_every_field_of_the_cached_unrolls_has_a_key():
    assert frozen_models.DATASET_KEYS.keys() == {field.name for field in fields(EnergyHeadDataset)}
    curves_fields = {field.name for field in fields(EvaluationCurves)}
    assert frozen_models.CURVES_KEYS.keys() == curves_fields - {"signals", "is_ctc", "confidence"}


def test_frozen_models_are_listed_and_missing_ones_are_reported(monkeypatch, tmp_path, capsys):
    for name in ("nowhere", "checkpoints/digits", "sorting-10", "digits-ff"):
        with pytest.raises(
            SystemExit, match=f"{name} is no bundled checkpoint that may stop early; those are .*digits,"
        ):
            list(frozen_models.find_frozen_models([name], 1))
    monkeypatch.setattr(frozen_models, "list_comparable_checkpoints", lambda: ["small"])
    monkeypatch.setattr(frozen_models, "ROOT", tmp_path)
    monkeypatch.setattr(frozen_models, "BUNDLED_MODELS_DIR", tmp_path / "trunks")
    for checkpoint in (
        "checkpoints/small",
        "trunks/small-seed1",
        "runs/small-seed1/checkpoint",
        "runs/small-seed3/checkpoint",
    ):
        (tmp_path / checkpoint).mkdir(parents=True)
        (tmp_path / checkpoint / "metrics.json").write_text(json.dumps({"training": {"command": "train small"}}))
    checkpoint_by_seed = {
        model.seed: model.checkpoint_dir.relative_to(tmp_path).as_posix()
        for model in frozen_models.find_frozen_models(["small"], 4)
    }
    assert checkpoint_by_seed == {0: "checkpoints/small", 1: "trunks/small-seed1", 3: "runs/small-seed3/checkpoint"}
    assert (
        "seed 2 is left out; to train it: train small train.seed=2 --run-dir runs/small-seed2"
        in capsys.readouterr().out
    )
    training = {"command": "python -m training train configs/chain-on.yaml", "init_from": "runs/chain/checkpoint"}
    (tmp_path / "checkpoints/small/metrics.json").write_text(json.dumps({"training": training}))
    assert frozen_models.FrozenModel("small", 0, tmp_path / "checkpoints/small").build_training_command(1) == (
        "python -m training train configs/chain-untaught.yaml train.device=cpu train.seed=1 --run-dir runs/small-seed1"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "from 1 to 100: got '0'"),
        (["--tasks", "digits", "nowhere"], "nowhere is no bundled"),
        (["--out", "nofolder/halting.json"], "nofolder is no folder"),
    ],
)
def test_invalid_arguments_are_rejected_before_any_evaluation(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["halting", *arguments])
    monkeypatch.setattr(command, "evaluate_frozen_model", lambda *_: pytest.fail("a model was evaluated"))
    with pytest.raises(SystemExit) as exc_info:
        command.main()
    assert message in f"{exc_info.value} {capsys.readouterr().err}"


def test_table_has_every_task_and_a_dash_for_a_missing_value():
    task = {
        "seeds": [0, 1],
        "iterations": 9,
        "n": {"test": 1_234},
        "best_fixed": {"tick": 7.0, "accuracy": 0.98, "accuracy_by_trunk": [0.975, 0.985]},
        "rules": {
            "certainty": {"ticks_at_target": 5.0, "normalised_area": 0.5},
            "energy: wait": {"ticks_at_target": None},
            "settled oracle": {"normalised_area": 0.7},
        },
        "energy_against_certainty": {
            "ticks_saved": [0.1, 0.2, 0.3],
            "area_won": [0.001, 0.002, 0.003],
            "ticks_saved_by_trunk": [0.15, 0.25],
            "ticks_saved_at_the_top_by_trunk": [0.05, 0.1],
        },
    }
    figures = {
        "summary": {"digits": task},
        "command": "python -m benchmarks.halting",
        "heads": 3,
        "date": "2026-11-23",
        "torch": "2",
        "hardware": {"processor": "CPU"},
        "trunks": [
            {
                "name": "digits",
                "seed": 0,
                "time": [
                    {"rows": 32, "ticks_saved": 0.1, "time_saved_without_backbone": 0.1, "time_saved": 0.1},
                    {"rows": 256, "ticks_saved": 0.6, "time_saved_without_backbone": 0.5, "time_saved": 0.4},
                    {"rows": 2048, "ticks_saved": 0.61, "time_saved_without_backbone": 0.57, "time_saved": 0.45},
                ],
            }
        ],
    }
    table = render_table(figures)
    assert (
        "| digits (2) | 1,234 | 98.00% (97.5, 98.5) at 7 of 9 | 5.0 | - |" in table and "| digits | 50% | - |" in table
    )
    assert "| digits | 20.0% (10.0% to 30.0%) | 15.0%, 25.0% | 5.0%, 10.0% | 0.20 points (0.10 to 0.30) |" in table
    rows = (
        "| digits | 32 | 10% | 10% | 10% |",
        "| digits | 256 | 60% | 50% | 40% |",
        "| digits | 2,048 | 61% | 57% | 45% |",
    )
    assert "\n".join(rows) in table
    assert (
        "- Fewer ticks than the better certainty policy at equal accuracy, with a 95% interval above 0: digits (1 of 1)."
        in table
    )
    assert "- At least 80% of the area between fixed ticks and the oracle: none (0 of 1)." in table
    assert "with 256 samples are saved as time, without the backbone: digits (1 of 1)." in table, (
        "50% is more than 80% of 60%"
    )
    assert "lucky guesses do not count: digits 70%." in table
    older_results = [{"name": "digits", "seed": 0, "time": [{"batch": 256, "ticks_saved": 0.6}]}]
    older_table = render_table(figures | {"trunks": older_results})
    assert "| digits | - | - | - | - |" in older_table, "figures of another benchmark are not shown"
    assert "are saved as time" not in older_table, "there is no conclusion without a measurement"
