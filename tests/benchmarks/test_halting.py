"""The comparison of halting policies: metrics by hand, and a complete comparison of tiny models."""

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
from training.energy.fitting import EnergyHeadDataset

CORRECT = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()


def test_the_regret_of_a_policy_counts_the_price_of_ticks():
    ruler = HaltingMetrics(CORRECT, torch.tensor([2, 1, 3, 4]))
    assert ruler.target_accuracy == pytest.approx(0.5 - 0.005)
    least = ruler.compute_regrets(compute_oracle_points(CORRECT))
    assert least["0.002"] == pytest.approx(0.0), "the oracle stops at the first correct tick, or at once"
    best = (0.998 + 1.0 + 0.0 + 0.996) / 4
    assert ruler.compute_regrets(compute_fixed_tick_points(CORRECT))["0.002"] == pytest.approx(best - (0.5 - 0.002))


def test_shares_of_wrong_answers_among_the_most_trusted():
    score = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    right = torch.tensor([[1], [0], [1], [1]]).bool()
    assert risk_coverage(score, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_the_same_samples_are_drawn_for_every_policy():
    families = {"fixed": compute_fixed_tick_points(CORRECT), "oracle": compute_oracle_points(CORRECT)}
    draws = metrics.bootstrap_metrics(families, CORRECT)
    assert draws == metrics.bootstrap_metrics(families, CORRECT)
    assert all(o >= f - 1e-9 for o, f in zip(draws["oracle"]["area"], draws["fixed"]["area"], strict=True))


@pytest.fixture
def make_frozen_model(monkeypatch, tmp_path):
    """Make comparisons short; return a function that makes the frozen model of a seed."""
    finish = FinalizeConfig(fit_samples=96, fit_steps=20)
    for module in (frozen_models, policies_under_test):
        monkeypatch.setattr(module, "FINALIZE_CONFIG", finish)
    monkeypatch.setattr(frozen_models, "NUM_EVALUATION_SAMPLES", 400)
    for module in (frozen_models, command):
        monkeypatch.setattr(module, "CACHE_DIR", tmp_path / "kept")
    monkeypatch.setattr(evaluate, "ENERGY_KINDS", ("calibrated", "wait", "hazard"))
    monkeypatch.setattr(evaluate, "NUM_HEAD_SEEDS", {})
    monkeypatch.setattr(metrics, "NUM_BOOTSTRAP_DRAWS", 30)
    monkeypatch.setattr(timing, "NUM_ROUNDS", 1)
    monkeypatch.setattr(timing, "BATCH_SIZES", ((4, 4), (9, 4)))
    monkeypatch.setattr(timing, "NUM_STREAM_ROUNDS", 1)

    def trunk(seed: int) -> frozen_models.FrozenModel:
        folder = make_checkpoint(tmp_path / f"tiny-{seed}", "digits", d_model=16 + 2 * seed)
        (folder / "metrics.json").write_text(
            json.dumps({"training": {"command": "python -m training train tiny.yaml"}})
        )
        return frozen_models.FrozenModel("tiny", seed, folder)

    return trunk


def test_a_comparison_is_whole_kept_and_summed_up(make_frozen_model, tmp_path, monkeypatch, capsys):
    found = [command.load_or_evaluate(make_frozen_model(seed)) for seed in (0, 1)]
    first = found[0]
    known = {
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
    assert known <= set(first["rules"])
    assert all(first["rules"]["oracle"]["area"] >= each["area"] - 1e-9 for each in first["rules"].values())
    assert first["rules"]["fixed"]["normalised_area"] == 0 and first["rules"]["oracle"]["normalised_area"] == 1
    assert first["n"]["calibration"] > 300 and first["deployed"].keys() >= {"energy", "certainty"}
    assert first["rules"]["energy: wait"]["reliability"]["ece"] <= 1
    assert [(entry["rows"], entry["seats"]) for entry in first["time"]] == [(4, 4), (9, 4)]
    assert all(0 <= entry["ticks_saved"] < 1 and entry["seconds"]["full"] > 0 for entry in first["time"])

    def fail(*_):
        raise AssertionError("cached results are not computed again")

    monkeypatch.setattr(command, "evaluate_frozen_model", fail)
    assert command.load_or_evaluate(make_frozen_model(0)) == first

    summary = summarise_tasks(found)["tiny"]
    assert summary["seeds"] == [0, 1] and len(summary["energy_against_certainty"]["ticks_saved"]) == 3
    low, middle, high = summary["energy_against_certainty"]["area_won"]
    assert low <= middle <= high
    write_plots({"trunks": found}, tmp_path / "page.html")
    assert "energy" in (tmp_path / "page.html").read_text("utf-8")


def test_at_the_top_less_may_be_saved_than_below_it():
    """At a low accuracy certainty needs 4 ticks and the energy 2; near the highest accuracy 8 and 7.5."""
    policies_under_test = {
        "energy: wait": {"corners": [[1, 0.0], [2, 0.695], [8, 0.805], [9, 0.805]]},
        "certainty": {"corners": [[1, 0.0], [4, 0.695], [8, 0.795], [9, 0.795]]},
        "certainty.min": {"corners": [[1, 0.0], [9, 0.8]]},
    }
    level = 2 + 6 * (0.795 - 0.695) / 0.11  # half a point below the 0.8 of the least certain position
    assert summary.compute_savings_at_top_accuracy(policies_under_test) == pytest.approx(1 - level / 8)
    assert (
        summary.compute_savings_at_top_accuracy(
            {name: policies_under_test[name] for name in ("certainty", "energy: wait")}
        )
        < 0.2
    )


def test_the_figure_names_every_policy_once_even_if_the_first_task_lacks_it():
    policies_under_test = {name: {"corners": [[1, 0.5], [9, 1.0]]} for name in ("oracle", "certainty", "certainty.min")}
    first = {
        "name": "digits",
        "seed": 0,
        "rules": {name: policies_under_test[name] for name in ("oracle", "certainty")},
    }
    other = {"name": "brackets", "seed": 0, "rules": policies_under_test}
    drawn = build_figure({"trunks": [first, other, other | {"seed": 1, "rules": {}}]}).data
    assert len(drawn) == 5, "of the first model of each task"
    assert [line.name for line in drawn if line.showlegend] == [
        "oracle",
        "certainty",
        "certainty, least certain position",
    ]


def test_cached_unrolls_are_those_that_the_energy_head_reads(make_frozen_model, monkeypatch):
    """Long unrolls of many samples exceed the memory limit, so only some are cached."""
    monkeypatch.setattr("training.energy.fitting.MAX_FEATURE_VALUES", 1)
    monkeypatch.setattr(frozen_models, "FINALIZE_CONFIG", FinalizeConfig(fit_samples=600))
    found = frozen_models.load_or_compute_unrolls(make_frozen_model(0), "validation")
    assert len(found.energy_dataset.features) == len(found.curves.correct) == len(found.curves.certainty) == 256
    assert all(len(values) == 256 for values in found.curves.signals.values())


def test_a_cache_file_with_the_keys_of_the_first_version_loads(tmp_path):
    """Cached files are hours of computation, so their keys do not follow the names of fields."""
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
    assert frozen_models.CURVES_KEYS.keys() == curves_fields - {"signals", "is_ctc"}


def test_frozen_models_are_found_and_missing_ones_are_named(monkeypatch, tmp_path, capsys):
    for name in ("nowhere", "checkpoints/digits", "sorting-10", "digits-ff"):
        with pytest.raises(
            SystemExit, match=f"{name} is no bundled checkpoint that may stop early; those are .*digits,"
        ):
            list(frozen_models.find_frozen_models([name], 1))
    monkeypatch.setattr(frozen_models, "list_comparable_checkpoints", lambda: ["small"])
    monkeypatch.setattr(frozen_models, "ROOT", tmp_path)
    monkeypatch.setattr(frozen_models, "BUNDLED_MODELS_DIR", tmp_path / "trunks")
    for place in (
        "checkpoints/small",
        "trunks/small-seed1",
        "runs/small-seed1/checkpoint",
        "runs/small-seed3/checkpoint",
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "metrics.json").write_text(json.dumps({"training": {"command": "train small"}}))
    found = {
        trunk.seed: trunk.checkpoint_dir.relative_to(tmp_path).as_posix()
        for trunk in frozen_models.find_frozen_models(["small"], 4)
    }
    assert found == {0: "checkpoints/small", 1: "trunks/small-seed1", 3: "runs/small-seed3/checkpoint"}
    assert (
        "seed 2 is left out; to train it: train small train.seed=2 --run-dir runs/small-seed2"
        in capsys.readouterr().out
    )
    grown = {"command": "train wide", "init_from": "runs/small/checkpoint"}
    (tmp_path / "checkpoints/small/metrics.json").write_text(json.dumps({"training": grown}))
    assert frozen_models.FrozenModel("small", 0, tmp_path / "checkpoints/small").build_training_command(1) == (
        "python -m training train configs/small.yaml train.seed=1 --run-dir runs/small-seed1-first && "
        "train wide train.seed=1 init_from=runs/small-seed1-first/checkpoint --run-dir runs/small-seed1"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "0"], "from 1 to 100: got '0'"),
        (["--tasks", "digits", "nowhere"], "nowhere is no bundled"),
        (["--out", "nofolder/halting.json"], "nofolder is no folder"),
    ],
)
def test_mistakes_are_reported_before_anything_is_measured(words, says, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["halting", *words])
    monkeypatch.setattr(command, "evaluate_frozen_model", lambda *_: pytest.fail("nothing is measured"))
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert says in f"{ended.value} {capsys.readouterr().err}"


def test_the_table_lists_every_task_and_what_a_policy_never_reaches():
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
    told = render_table(figures)
    assert "| digits (2) | 1,234 | 98.00% (97.5, 98.5) at 7 of 9 | 5.0 | - |" in told and "| digits | 50% | - |" in told
    assert "| digits | 20.0% (10.0% to 30.0%) | 15.0%, 25.0% | 5.0%, 10.0% | 0.20 points (0.10 to 0.30) |" in told
    assert "| digits | 60% | 50% | 40% | 61% | 57% | 45% |" in told
    assert (
        "- Fewer ticks than the better certainty policy at equal accuracy, with a 95% interval above 0: digits (1 of 1)."
        in told
    )
    assert "- At least 80% of the area between fixed ticks and the oracle: none (0 of 1)." in told
    assert "with 256 samples are saved as time, without the backbone: digits (1 of 1)." in told, (
        "50 of 60 are more than 0.8"
    )
    assert "lucky guesses do not count: digits 70%." in told
    older = [{"name": "digits", "seed": 0, "time": [{"batch": 256, "ticks_saved": 0.6}]}]
    assert "| digits | - | - | - | - | - | - |" in render_table(figures | {"trunks": older}), (
        "other figures are not shown as these"
    )
    assert "are saved as time" not in render_table(figures | {"trunks": older}), "what was not measured has not failed"
