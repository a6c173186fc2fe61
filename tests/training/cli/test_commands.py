"""Tests of the commands `python -m training ...`."""

import json
import shlex
import shutil

import pytest
import yaml

from ctm.checkpoint import load, save
from inference.halting.policy_parser import parse
from tests.image_datasets import write_dataset
from tests.training.test_trainer import TINY_RECIPE
from tests.ui.conftest import make_checkpoint
from training.__main__ import main
from training.finalize import get_tolerance
from training.model_card import compute_wilson_interval
from training.paths import DATA_DIR
from training.run_dir import RunDir

IMAGE_TASK = {"kind": "images", "dataset": "alice/stripes", "names": ["a", "b"], "resize": 12, "crop": 12}
EVALUATION_KEYS = {
    "task",
    "split",
    "n",
    "iterations",
    "accuracy_by_tick",
    "accuracy_last",
    "policy",
    "accuracy_halted",
    "mean_ticks",
    "energy_auroc",
    "certainty_auroc",
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Return the directory of a tiny run that the command trained and finalized."""
    root = tmp_path_factory.mktemp("run")
    recipe = root / "tiny.yaml"
    recipe.write_text(
        yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 200, "fit_steps": 20, "accuracy_tolerance": 0.02}})
    )
    main(["train", str(recipe), "--run-dir", str(root / "run"), "train.steps=6", "train.seed=4"])
    return root / "run"


def read_last_line(capsys) -> dict:
    """Return the JSON object of the last line on stdout."""
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_train_writes_a_complete_final_checkpoint(finished_run):
    checkpoint = load(finished_run / "checkpoint")
    assert checkpoint.task["task"] == "parity"
    assert checkpoint.halting["energy"]["kind"] == "wait"
    assert checkpoint.halting["energy"]["fitted_on"]["split"] == "validation"
    assert checkpoint.halting["frontiers"]["iterations"] == checkpoint.model.config.iterations
    assert all(parse(record["policy"]) and record["n"] > 0 for record in checkpoint.halting["policies"].values())
    assert checkpoint.metrics["evaluations"][0]["split"] == "test"
    assert checkpoint.metrics["training"]["seed"] == 4 and checkpoint.metrics["training"]["steps"] == 6
    assert "tiny.yaml train.steps=6 train.seed=4" in checkpoint.metrics["training"]["command"]
    assert "| test |" in checkpoint.card and "Darlow" in checkpoint.card


def test_evaluate_prints_one_json_object_last(finished_run, capsys):
    main(["evaluate", str(finished_run / "checkpoint")])
    figures = read_last_line(capsys)
    assert figures.keys() >= EVALUATION_KEYS
    assert figures["iterations"] == len(figures["accuracy_by_tick"]) == 4
    assert sum(count for _, _, count in figures["reliability"]["bins"]) == figures["n"]
    assert figures["accuracy_last"] == pytest.approx(figures["accuracy_by_tick"][-1], abs=1e-5)
    evaluation = load(finished_run / "checkpoint").metrics["evaluations"][0]
    assert figures["accuracy_halted"] == evaluation["accuracy_halted"] and figures["n"] == evaluation["n"]
    interval = compute_wilson_interval(figures["accuracy_halted"], figures["n"])
    assert figures["accuracy_halted_interval"] == evaluation["accuracy_halted_interval"] == list(interval)
    assert figures["training"]["processor_seconds"] > 0 and figures["training"]["flops"] > 0


def test_evaluate_accepts_a_policy(finished_run, capsys):
    main(["evaluate", str(finished_run / "checkpoint"), "--policy", "ticks=2"])
    figures = read_last_line(capsys)
    assert (figures["policy"], figures["mean_ticks"]) == ("ticks=2", 2.0)
    assert figures["accuracy_halted"] == pytest.approx(figures["accuracy_by_tick"][1], abs=1e-5)


def test_fit_energy_changes_only_the_energy_head_and_evaluates_again(finished_run, tmp_path, capsys):
    main(
        [
            "fit-energy",
            str(finished_run / "checkpoint"),
            "--out",
            str(tmp_path / "fitted"),
            "--samples",
            "150",
            "--steps",
            "40",
        ]
    )
    old = load(finished_run / "checkpoint")
    new = load(tmp_path / "fitted")
    before = old.model.state_dict()
    after = new.model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all(name.startswith("energy_proj.") for name in changed)
    assert new.metrics["training"]["settings"]["finalize"]["fit_samples"] == 150
    assert get_tolerance(new.halting) == 0.02, "the tolerance of the run is the default"
    assert new.metrics["training"]["command"] == old.metrics["training"]["command"]
    policy = new.halting["policies"][new.halting["default"]]["policy"]
    assert new.metrics["evaluations"][0]["policy"] == policy and policy in new.card


def test_output_directory_with_other_files_is_rejected(finished_run, tmp_path, monkeypatch):
    """An empty --out names the working directory, which is rejected as well."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    monkeypatch.chdir(tmp_path)
    quick_options = ["--samples", "20", "--steps", "1"]
    for out, message in (
        ("mine", "holds other things .*: thesis.txt"),
        ("", "holds other things"),
        ("file", "is no folder"),
        ("file/new", r"file/new cannot be written \("),
    ):
        for command in (
            ["fit-energy", str(finished_run / "checkpoint"), *quick_options],
            ["finalize", str(finished_run)],
            ["evaluate", str(finished_run / "checkpoint"), "--save"],
        ):
            with pytest.raises(SystemExit, match=f"Error: .*{message}"):
                main([*command, "--out", out])
    with pytest.raises(ValueError, match="holds other things"):
        save(load(finished_run / "checkpoint"), "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "file"}
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--samples", "0"],
        ["--samples", "many"],
        ["--steps", "0"],
        ["--tolerance", "nan"],
        ["--tolerance", "5"],
        ["--cost", "-1"],
        ["--margin", "0"],
    ],
)
def test_numbers_out_of_range_are_rejected(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["fit-energy", "nowhere", *arguments])
    assert f"argument {arguments[0]}: must be a" in capsys.readouterr().err


def test_policies_that_do_not_fit_a_model_are_rejected(finished_run):
    for policy, message in (
        ("said=3", "whole answer at every tick"),
        ("", "A policy is empty"),
        ("same=2&", "rule is missing"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["evaluate", str(finished_run / "checkpoint"), "--policy", policy])
    with pytest.raises(SystemExit, match="--out is for --save"):
        main(["evaluate", str(finished_run / "checkpoint"), "--out", "elsewhere"])


def test_energy_of_an_unknown_kind_is_fitted_as_the_default_kind(finished_run, tmp_path, capsys):
    checkpoint_dir = shutil.copytree(finished_run / "checkpoint", tmp_path / "foreign")
    halting = json.loads((checkpoint_dir / "halting.json").read_text())
    halting["energy"] = {"kind": "unknown"}
    for record in halting["policies"].values():
        record["tolerance"] = None
    (checkpoint_dir / "halting.json").write_text(json.dumps(halting))
    main(["fit-energy", str(checkpoint_dir), "--out", str(tmp_path / "fitted"), "--samples", "60", "--steps", "5"])
    new = load(tmp_path / "fitted").halting
    assert new["energy"]["kind"] == "wait" and get_tolerance(new) == 0.005


@pytest.mark.parametrize("setting", ["task.data_files", "task.files"])
def test_local_data_path_is_not_written_to_the_checkpoint(setting, tmp_path):
    write_dataset(tmp_path / "files", ["a", "b"], 12, 3, train=60)
    recipe = tmp_path / "pictures.yaml"
    recipe.write_text(
        yaml.safe_dump(TINY_RECIPE | {"task": IMAGE_TASK, "finalize": {"fit_samples": 8, "fit_steps": 2}})
    )
    main(
        [
            "train",
            str(recipe),
            "--run-dir",
            str(tmp_path / "run"),
            f"{setting}={tmp_path / 'files'}",
            "train.steps=1",
        ]
    )
    assert shlex.split(RunDir(tmp_path / "run").read_command())[-1] == "train.steps=1"
    files = [path for path in (tmp_path / "run/checkpoint").rglob("*") if path.is_file()]
    assert files and not [path for path in files if str(tmp_path / "files").encode() in path.read_bytes()]


def test_finalize_reproduces_the_evaluations(finished_run, tmp_path):
    main(["finalize", str(finished_run), "--out", str(tmp_path / "again")])
    assert load(tmp_path / "again").metrics["evaluations"] == load(finished_run / "checkpoint").metrics["evaluations"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["evaluate", "nowhere"], "no checkpoint at"),
        (["evaluate", "RUN", "--split", "train"], "held-out|--split must be"),
        (["evaluate", "RUN", "--policy", "energy<"], "not a halting rule"),
        (["evaluate", "RUN", "--data", "x.parquet"], "task with images"),
        (["train", "nowhere.yaml"], "no recipe"),
        (["finalize", "nowhere"], "no run|config.yaml"),
    ],
)
def test_invalid_arguments_end_with_one_sentence(finished_run, arguments, message, capsys):
    arguments = [str(finished_run / "checkpoint") if word == "RUN" else word for word in arguments]
    with pytest.raises(SystemExit, match=f"Error: .*({message})") as exc_info:
        main(arguments)
    assert "\n" not in str(exc_info.value)


def test_unknown_option_is_rejected(finished_run, capsys):
    with pytest.raises(SystemExit):
        main(["train", "configs/digits.yaml", "--magic"])
    assert "not understood" in capsys.readouterr().err


def test_evaluate_accepts_a_parquet_file_of_images(tmp_path, capsys):
    checkpoint_dir = make_checkpoint(tmp_path / "digits", "digits")
    copy = tmp_path / "mine.parquet"
    shutil.copy(DATA_DIR / "test.parquet", copy)
    main(["evaluate", str(checkpoint_dir), "--data", str(copy)])
    figures = read_last_line(capsys)
    assert figures["n"] == 1000 and figures["split"] == str(copy) and figures.keys() >= EVALUATION_KEYS


@pytest.mark.parametrize("content", [b"", b"not parquet", None])
def test_file_that_is_not_a_parquet_file_of_images_is_rejected(tmp_path, content):
    checkpoint_dir = make_checkpoint(tmp_path / "digits", "digits")
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="Error: "):
        main(["evaluate", str(checkpoint_dir), "--data", str(path)])
