"""`python -m training ...` as a person types it."""

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
from training.paths import DATA_DIR
from training.run_dir import RunDir

IMAGE_TASK = {"kind": "images", "data": "alice/stripes", "names": ["a", "b"], "size": 12, "crop": 12}
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
    """A tiny run, trained and finished by the command."""
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        yaml.safe_dump(TINY_RECIPE | {"finish": {"fit_samples": 200, "fit_steps": 20, "tolerance": 0.02}})
    )
    main(["train", str(recipe), "--folder", str(folder / "run"), "train.steps=6", "train.seed=4"])
    return folder / "run"


def read_last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_training_ends_in_a_whole_checkpoint(finished_run):
    checkpoint = load(finished_run / "checkpoint")
    assert checkpoint.task["task"] == "parity"
    assert checkpoint.halting["energy"]["kind"] == "wait"
    assert checkpoint.halting["energy"]["fitted_on"]["split"] == "validation"
    assert checkpoint.halting["frontiers"]["iterations"] == checkpoint.model.config.iterations
    assert all(parse(rule["policy"]) and rule["n"] > 0 for rule in checkpoint.halting["policies"].values())
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
    measured = load(finished_run / "checkpoint").metrics["evaluations"][0]
    assert figures["accuracy_halted"] == measured["accuracy_halted"] and figures["n"] == measured["n"]


def test_evaluate_accepts_a_policy(finished_run, capsys):
    main(["evaluate", str(finished_run / "checkpoint"), "--policy", "ticks=2"])
    figures = read_last_line(capsys)
    assert (figures["policy"], figures["mean_ticks"]) == ("ticks=2", 2.0)
    assert figures["accuracy_halted"] == pytest.approx(figures["accuracy_by_tick"][1], abs=1e-5)


def test_fit_energy_changes_the_head_and_measures_anew(finished_run, tmp_path, capsys):
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
    old, new = (load(folder) for folder in (finished_run / "checkpoint", tmp_path / "fitted"))
    before, after = old.model.state_dict(), new.model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all(name.startswith("energy_proj.") for name in changed)
    assert new.metrics["training"]["settings"]["finish"]["fit_samples"] == 150
    assert get_tolerance(new.halting) == 0.02, "that of the run, since no other is asked for"
    assert new.metrics["training"]["command"] == old.metrics["training"]["command"]
    policy = new.halting["policies"][new.halting["default"]]["policy"]
    assert new.metrics["evaluations"][0]["policy"] == policy and policy in new.card


def test_nothing_but_a_checkpoint_is_ever_written_over(finished_run, tmp_path, monkeypatch):
    """Not by a name that was forgotten, either, which is the folder that one is in."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    monkeypatch.chdir(tmp_path)
    short = ["--samples", "20", "--steps", "1"]
    for out, says in (
        ("mine", "holds other things .*: thesis.txt"),
        ("", "holds other things"),
        ("file", "is no folder"),
        ("file/new", r"file/new cannot be written \("),
    ):
        for command in (
            ["fit-energy", str(finished_run / "checkpoint"), *short],
            ["finish", str(finished_run)],
            ["evaluate", str(finished_run / "checkpoint"), "--save"],
        ):
            with pytest.raises(SystemExit, match=f"Error: .*{says}"):
                main([*command, "--out", out])
    with pytest.raises(ValueError, match="holds other things"):
        save(load(finished_run / "checkpoint"), "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "file"}
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "words",
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
def test_numbers_out_of_bounds_are_reported_at_once(words, capsys):
    with pytest.raises(SystemExit):
        main(["fit-energy", "nowhere", *words])
    assert f"argument {words[0]}: must be a" in capsys.readouterr().err


def test_policies_that_do_not_fit_a_model_are_rejected(finished_run):
    for rule, says in (
        ("said=3", "whole answer at every tick"),
        ("", "A policy is empty"),
        ("same=2&", "something stands"),
    ):
        with pytest.raises(SystemExit, match=says):
            main(["evaluate", str(finished_run / "checkpoint"), "--policy", rule])
    with pytest.raises(SystemExit, match="--out is for --save"):
        main(["evaluate", str(finished_run / "checkpoint"), "--out", "elsewhere"])


def test_an_energy_of_another_house_is_fitted_anew_as_ours(finished_run, tmp_path, capsys):
    folder = shutil.copytree(finished_run / "checkpoint", tmp_path / "foreign")
    halting = json.loads((folder / "halting.json").read_text())
    halting["energy"] = {"kind": "of their own"}
    for rule in halting["policies"].values():
        rule["tolerance"] = None
    (folder / "halting.json").write_text(json.dumps(halting))
    main(["fit-energy", str(folder), "--out", str(tmp_path / "fitted"), "--samples", "60", "--steps", "5"])
    new = load(tmp_path / "fitted").halting
    assert new["energy"]["kind"] == "wait" and get_tolerance(new) == 0.005


def test_a_local_path_is_in_neither_the_command_nor_the_card(tmp_path):
    write_dataset(tmp_path / "files", ["a", "b"], 12, 3, train=60)
    recipe = tmp_path / "pictures.yaml"
    recipe.write_text(yaml.safe_dump(TINY_RECIPE | {"task": IMAGE_TASK, "finish": {"fit_samples": 8, "fit_steps": 2}}))
    main(["train", str(recipe), "--folder", str(tmp_path / "run"), f"task.files={tmp_path / 'files'}", "train.steps=1"])
    assert shlex.split(RunDir(tmp_path / "run").read_command())[-1] == "train.steps=1"
    made = [path for path in (tmp_path / "run/checkpoint").rglob("*") if path.is_file()]
    assert made and not [path for path in made if str(tmp_path / "files").encode() in path.read_bytes()]


def test_a_finished_run_goes_on_to_its_checkpoint_again(finished_run, tmp_path):
    main(["finish", str(finished_run), "--out", str(tmp_path / "again")])
    assert load(tmp_path / "again").metrics["evaluations"] == load(finished_run / "checkpoint").metrics["evaluations"]


@pytest.mark.parametrize(
    "words, says",
    [
        (["evaluate", "nowhere"], "no checkpoint at"),
        (["evaluate", "RUN", "--split", "train"], "held-out|--split must be"),
        (["evaluate", "RUN", "--policy", "energy<"], "not a halting rule"),
        (["evaluate", "RUN", "--data", "x.parquet"], "task of pictures"),
        (["train", "nowhere.yaml"], "no recipe"),
        (["finish", "nowhere"], "no run|config.yaml"),
    ],
)
def test_wrong_words_end_in_one_sentence(finished_run, words, says, capsys):
    words = [str(finished_run / "checkpoint") if word == "RUN" else word for word in words]
    with pytest.raises(SystemExit, match=f"Error: .*({says})") as caught:
        main(words)
    assert "\n" not in str(caught.value)


def test_words_that_are_no_settings_are_rejected(finished_run, capsys):
    with pytest.raises(SystemExit):
        main(["train", "configs/digits.yaml", "--magic"])
    assert "not understood" in capsys.readouterr().err


def test_any_parquet_file_of_pictures_can_be_evaluated(tmp_path, capsys):
    folder = make_checkpoint(tmp_path / "digits", "digits")
    copy = tmp_path / "mine.parquet"
    shutil.copy(DATA_DIR / "test.parquet", copy)
    main(["evaluate", str(folder), "--data", str(copy)])
    figures = read_last_line(capsys)
    assert figures["n"] == 1000 and figures["split"] == str(copy) and figures.keys() >= EVALUATION_KEYS


@pytest.mark.parametrize("content", [b"", b"not parquet", None])
def test_a_file_that_is_no_parquet_of_images_is_rejected(tmp_path, content):
    folder = make_checkpoint(tmp_path / "digits", "digits")
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="Error: "):
        main(["evaluate", str(folder), "--data", str(path)])
