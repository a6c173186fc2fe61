"""Tests of settings that may change when a run is resumed, their history, and runs that are finished."""

import hashlib
import json
import shlex
from pathlib import Path

import pytest
import yaml
from pydantic import Field

from ctm.checkpoint import load
from tests.image_datasets import write_dataset
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config, read_metrics
from training.__main__ import main
from training.config import FinalizeConfig, LossConfig, OptimConfig, PublishConfig, RunConfig, TrainConfig
from training.data import dataset_source
from training.model_card import render_checkpoint_card
from training.optimization import compute_lr
from training.resume_rules import Changeable, ResumeRule, RunSettings, find_rule, is_changeable
from training.run_dir import RunDir
from training.setting_changes import find_changes
from training.tasks.parity import Parity
from training.tasks.registry import get_task_types
from training.training_loop import train

FIXED = {
    "loss.tick_reduction": "mean",
    "loss.pace_delay": 1,
    "loss.early_padding": True,
    "loss.attention_loss_weight": 0.5,
    "loss.probe_loss_weight": 0.5,
    "loss.auxiliary_loss_share": 0.5,
    "loss.energy_kind": "calibrated",
    "loss.energy_weight": 0.25,
    "optim.weight_decay": 0.1,
    "train.seed": 4,
    "train.freeze": "core",
    "train.init_mode": "matching",
    "train.token_init": "separate",
    "init_from": "hub:alice/x",
    "model.d_model": 20,
    "model.iterations": 5,
    "model.dropout": 0.2,
    "task.length": 10,
}
CHANGEABLE = {
    "train.min_free_disk_gb": 0,
    "train.max_minutes": 60,
    "train.report_to": "tensorboard",
    "train.log_every": 1,
    "train.eval_every": 3,
    "train.eval_samples": 20,
    "train.save_every": 4,
    "train.save_total_limit": 5,
    "train.device": "auto",
    "train.mixed_precision": "bf16",
    "train.prefetch": 3,
    "train.compile": True,
    "train.steps": 14,
    "optim.lr": 1e-4,
    "optim.warmup_steps": 0,
    "optim.min_lr_ratio": 0.5,
    "optim.decay_start": 0.5,
    "optim.fused": True,
    "optim.max_grad_norm": 0.5,
    "finalize.fit_samples": 0,
    "finalize.fit_steps": 7,
    "finalize.eval_samples": 500,
    "finalize.accuracy_tolerance": 0.1,
    "publish.repo": "alice/x",
    "publish.private": True,
    "publish.example_images": True,
    "publish.static_space": "alice/demo",
    "publish.interval_minutes": 30,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunDir:
    """Provide a run that has done 6 of 12 steps. Tests must not change it."""
    run_dir = RunDir(tmp_path_factory.mktemp("trained") / "run")
    train(make_tiny_config(steps=6), run_dir)
    (run_dir.path / "config.yaml").write_text(yaml.safe_dump(make_tiny_config().model_dump(mode="json")))
    return run_dir


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Provide a recipe file whose run is finalized quickly."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY_RECIPE | {"finalize": {"fit_samples": 64, "fit_steps": 5}}))
    return path


def compute_digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a directory."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- rules -----------------------------------------------------------------------------------------------------------


def test_every_setting_of_a_run_has_a_rule():
    for group in (LossConfig, OptimConfig, TrainConfig, FinalizeConfig, PublishConfig):
        assert issubclass(group, RunSettings)
        assert all(find_rule(info) for info in group.model_fields.values()), group
    groups = {"loss", "optim", "train", "finalize", "publish"}
    assert {name for name, info in RunConfig.model_fields.items() if find_rule(info) is None} == groups


def test_a_setting_without_a_rule_cannot_be_declared():
    with pytest.raises(TypeError, match=r"Forgotten\.size has no rule"):

        class Forgotten(RunSettings):
            rate: Changeable[float] = Field(0.5)
            size: int = Field(3)


def test_the_rules_of_the_settings_are_those_of_the_lists():
    rules = {
        f"{group}.{name}": find_rule(info)
        for group, settings in RunConfig.model_fields.items()
        if isinstance(settings.annotation, type) and issubclass(settings.annotation, RunSettings)
        for name, info in settings.annotation.model_fields.items()
    }
    changeable = {name for name, rule in rules.items() if rule is ResumeRule.CHANGEABLE}
    assert changeable == CHANGEABLE.keys()
    assert {name for name, rule in rules.items() if rule is ResumeRule.BATCH_SPLIT} == {
        "train.batch_size",
        "train.gradient_accumulation_steps",
    }


def test_settings_of_tasks_that_change_no_input_may_change():
    changeable = {
        (kind, name)
        for kind, task in get_task_types().items()
        for name, info in task.Settings.model_fields.items()
        if is_changeable(info)
    }
    assert changeable == {("images", name) for name in ("data_files", "streaming", "max_unreadable_rate")}
    for kind, task in get_task_types().items():
        assert {(kind, name) for name in task.machine_local_settings} <= changeable


# --- comparison ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_that_makes_another_experiment_is_rejected(name, trained):
    before = compute_digests(trained.path)
    old = find_value(make_tiny_config(), name)
    with pytest.raises(ValueError, match="other settings") as error:
        trained.initialize(make_tiny_config().with_overrides({name: FIXED[name]}))
    message = str(error.value)
    shown = [json.dumps(value) if isinstance(value, bool) else value for value in (old, FIXED[name])]
    assert f"{name} is {'empty' if old == '' else shown[0]} there and {shown[1]} here" in message
    assert message.endswith("with --run-dir.") and "\n" not in message
    assert compute_digests(trained.path) == before


def find_value(config: RunConfig, name: str):
    """Return the value of a setting with a dotted name."""
    group, _, key = name.rpartition(".")
    owner = getattr(config, group) if group else config
    return owner[key] if isinstance(owner, dict) else getattr(owner, key)


def test_all_settings_that_may_not_change_are_named(trained):
    config = make_tiny_config(seed=9, log_every=1).with_overrides({"model.heads": 4, "optim.lr": 0.5})
    with pytest.raises(ValueError, match=r"train\.seed is 0 there and 9 here") as error:
        trained.check_changes(config)
    assert "model.heads is 2 there and 4 here" in str(error.value)
    assert "optim.lr" not in str(error.value) and "log_every" not in str(error.value)


@pytest.mark.parametrize("name", CHANGEABLE)
def test_other_settings_may_change(name, trained):
    required = {"publish.repo": "alice/x"} if name == "publish.static_space" else {}
    config = make_tiny_config().with_overrides(required | {name: CHANGEABLE[name]})
    (change,) = [change for change in trained.check_changes(config) if change.name not in required]
    assert (change.name, change.old, change.new) == (name, find_value(make_tiny_config(), name), CHANGEABLE[name])


def test_a_stated_default_is_no_change(trained):
    overrides = {"task.encoding": "tokens", "model.deep_nlms": True, "model.kind": "ctm"}
    assert trained.check_changes(make_tiny_config().with_overrides(overrides)) == []


def test_another_kind_of_task_or_model_is_named_alone():
    old = make_tiny_config()
    new = RunConfig.parse(TINY_RECIPE | {"task": {"kind": "brackets"}})
    assert [change.name for change in find_changes(old, new)] == ["task.kind"]
    baseline = {"kind": "ff", "d_model": 16}
    new = RunConfig.parse(TINY_RECIPE | {"model": baseline})
    assert [change.name for change in find_changes(old, new)] == ["model.kind"]


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "processes", "is_allowed"),
    [(4, 2, 1, True), (1, 8, 1, True), (4, 1, 2, True), (8, 1, 2, True), (4, 1, 1, False), (4, 2, 2, False)],
)
def test_batches_are_split_with_the_same_product(batch_size, accumulation, processes, is_allowed, trained):
    """With the same settings, more processes are accepted: a step then has more samples, as it always had."""
    config = make_tiny_config(batch_size=batch_size, gradient_accumulation_steps=accumulation)
    if is_allowed:
        trained.check_changes(config, processes)
    else:
        with pytest.raises(
            ValueError, match=r"8 x 1 x 1 = 8 samples, and would have .*choose values with the product 8"
        ):
            trained.check_changes(config, processes)


def test_fewer_steps_than_are_done_are_rejected(trained):
    with pytest.raises(ValueError, match=r"train\.steps=5 is less than the 6 steps .*set train\.steps=6 or more"):
        trained.check_changes(make_tiny_config(steps=5))
    assert [str(change) for change in trained.check_changes(make_tiny_config(steps=6))] == ["train.steps from 12 to 6"]


def test_a_run_without_a_saved_step_takes_any_settings(tmp_path, recipe):
    run_dir = RunDir(tmp_path / "run")
    words = ["--run-dir", str(run_dir.path)]
    with pytest.raises(SystemExit, match="nothing was trained"):
        main(["train", str(recipe), *words, "train.min_free_disk_gb=100000000"])
    main(["train", str(recipe), *words, "model.d_model=20", "train.steps=2", "finalize.fit_samples=0"])
    assert load(run_dir.final_checkpoint_dir).model.config.d_model == 20
    assert run_dir.read_command().endswith("tiny.yaml model.d_model=20 train.steps=2 finalize.fit_samples=0")
    assert run_dir.history.read() == []


def test_restart_takes_any_settings(tmp_path, recipe):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=2), run_dir)
    train(make_tiny_config(steps=4), run_dir)
    assert len(run_dir.history.read()) == 1
    words = ["model.d_model=20", "train.steps=2", "finalize.fit_samples=0"]
    main(["train", str(recipe), "--run-dir", str(run_dir.path), "--restart", *words])
    assert load(run_dir.final_checkpoint_dir).model.config.d_model == 20 and run_dir.list_steps() == [2]
    assert run_dir.history.read() == []


# --- resumed runs ----------------------------------------------------------------------------------------------------


def test_changes_are_recorded_shown_and_counted(tmp_path, recipe, capsys):
    """Raise the steps and split the batches: the schedule is that of the new settings, the history has each change once."""
    run_dir = RunDir(tmp_path / "run")
    main(["train", str(recipe), "--run-dir", str(run_dir.path), "train.steps=4"])
    command = run_dir.read_command()
    words = ["train.steps=8", "train.batch_size=2", "train.gradient_accumulation_steps=4", "publish.private=true"]
    main(["train", "--run-dir", str(run_dir.path), *words])
    output = capsys.readouterr().out
    assert "Changed from step 4 on: train.steps from 4 to 8, train.batch_size from 8 to 2" in output
    assert "follows the schedule of the new train.steps" in output
    recorded = [(line["step"], line["setting"], line["old"], line["new"]) for line in run_dir.history.read()]
    assert recorded == [
        (4, "train.steps", 4, 8),
        (4, "train.batch_size", 8, 2),
        (4, "train.gradient_accumulation_steps", 1, 4),
        (4, "publish.private", False, True),
    ]
    config = run_dir.load_config()
    rates = {line["step"]: line["lr"] for line in read_metrics(run_dir) if "lr" in line}
    assert rates[6] == pytest.approx(compute_lr(5, 8, config.optim)) and rates[8] == compute_lr(7, 8, config.optim)
    training = load(run_dir.final_checkpoint_dir).metrics["training"]
    assert [line["setting"] for line in training["changes"]] == [setting for _, setting, _, _ in recorded[:3]]
    assert training["steps"] == 8 and training["command"] == command
    card = load(run_dir.final_checkpoint_dir).card
    assert "| 4 | `train.batch_size` | 8 | 2 |" in card and "publish" not in card
    still_training = {"evaluations": [], "training": training, "date": ""}
    assert "| 4 | `train.steps` | 4 | 8 |" in render_checkpoint_card(run_dir.checkpoint_dir(8), metrics=still_training)


def test_a_changed_split_of_batches_gives_the_same_step_for_the_same_samples(tmp_path, monkeypatch):
    """Without dropout, half batches accumulated twice give the weights of whole batches of the same samples."""
    samples = {}
    original = Parity.sample

    def sample(self, split, count, generator):
        batch = original(self, split, 64, generator) if "batch" not in samples else samples["batch"]
        samples["batch"] = batch
        rows = slice(0, 8) if count == 8 else slice(4 * (samples["calls"] % 2), 4 * (samples["calls"] % 2) + 4)
        samples["calls"] += 1
        return type(batch)(batch.inputs[rows], batch.targets[rows], batch.difficulty[rows])

    monkeypatch.setattr(Parity, "sample", sample)
    figures = []
    for name, second in (("whole", {}), ("split", {"batch_size": 4, "gradient_accumulation_steps": 2})):
        samples["calls"] = 0
        run_dir = RunDir(tmp_path / name)
        config = make_tiny_config(steps=3, log_every=1, eval_samples=8).with_overrides({"model.dropout": 0.0})
        train(config, run_dir)
        samples["calls"] = 0
        changes = {f"train.{key}": value for key, value in second.items()}
        train(config.with_overrides({"train.steps": 6, "train.eval_every": 6, **changes}), run_dir)
        lines = [line for line in read_metrics(run_dir) if "loss" in line]
        figures.append([(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in lines])
    assert [line[0] for line in figures[0]] == [1, 2, 3, 4, 5, 6]
    for whole, split in zip(*figures, strict=True):
        assert split == pytest.approx(whole, rel=1e-4)


def test_a_change_that_failed_before_the_settings_were_written_is_recorded_once(trained, tmp_path):
    run_dir = RunDir(tmp_path)
    changes = trained.check_changes(make_tiny_config(steps=14))
    run_dir.history.append(6, changes)
    run_dir.history.append(6, changes)
    assert len(run_dir.history.read()) == 1
    run_dir.history_file.write_bytes(run_dir.history_file.read_bytes() + b'{"time": 3, "st')
    run_dir.history.append(8, changes)
    assert [line["step"] for line in run_dir.history.read()] == [6, 8], "an incomplete line is skipped"


def forget_datasets():
    """Clear the caches of data sets, as a new process would."""
    for function in vars(dataset_source).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def test_data_that_moved_is_read_at_its_new_place(tmp_path, capsys):
    """The former directory is gone, and the class names come from the data."""
    old, new = (write_dataset(tmp_path / name, ["a", "b"]) for name in ("old", "new"))
    other = write_dataset(tmp_path / "other", ["b", "c"])
    task = {"kind": "images", "data_files": str(old), "channels": 3, "resize": 12, "crop": 12}
    model = TINY_RECIPE["model"] | {"backbone_type": "resnet18-1"}
    values = TINY_RECIPE | {"task": task, "model": model, "finalize": {"fit_samples": 0}}
    config = RunConfig.parse(values).with_overrides({"train.steps": 2, "train.batch_size": 2})
    run_dir = RunDir(tmp_path / "run")
    train(config, run_dir)
    old.rename(tmp_path / "gone")
    forget_datasets()
    words = ["train", "--run-dir", str(run_dir.path), "train.steps=4"]
    with pytest.raises(SystemExit, match=r"set task\.data_files to where the images are"):
        main(words)
    with pytest.raises(SystemExit, match=r"have the classes b, c, and this run was trained on a, b"):
        main([*words, f"task.data_files={other}"])
    main([*words, f"task.data_files={new}"])
    assert load(run_dir.final_checkpoint_dir).metrics["training"]["steps"] == 4
    assert (run_dir.history.read()[0]["old"], run_dir.history.read()[0]["new"]) == (str(old), str(new))
    assert str(tmp_path) not in load(run_dir.final_checkpoint_dir).card


# --- finished runs ---------------------------------------------------------------------------------------------------


def test_a_finished_run_stays_as_it_is(tmp_path, recipe, capsys):
    run_dir = RunDir(tmp_path / "run")
    words = ["train", str(recipe), "--run-dir", str(run_dir.path), "train.steps=2"]
    main(words)
    before = compute_digests(run_dir.path)
    capsys.readouterr()
    for arguments in (words, ["train", "--run-dir", str(run_dir.path)], [*words, "finalize.fit_samples=0"]):
        main(arguments)
        output = capsys.readouterr().out
        assert output.startswith("All 2 steps are done. ") and output.count("\n") == 1
        assert str(run_dir.final_checkpoint_dir) in output
        assert compute_digests(run_dir.path) == before
    train_command, finalize_command = (part.partition(": python -m training ")[2] for part in output.split(";")[1:])
    main(shlex.split(finalize_command))
    assert run_dir.load_config().finalize.fit_samples == 0
    assert "fitted_on" not in load(run_dir.final_checkpoint_dir).halting["energy"]
    main(shlex.split(train_command))
    assert run_dir.list_steps()[-1] == 4 and load(run_dir.final_checkpoint_dir).metrics["training"]["steps"] == 4
    with pytest.raises(SystemExit, match=r"train\.seed is 0 there and 3 here"):
        main([*words, "train.seed=3"])


def test_a_run_whose_last_step_is_saved_is_finalized(tmp_path, recipe):
    run_dir = RunDir(tmp_path / "run")
    train(RunConfig.parse(yaml.safe_load(recipe.read_text())).with_overrides({"train.steps": 2}), run_dir)
    main(["train", "--run-dir", str(run_dir.path)])
    assert run_dir.read_outcome()["reason"] == "finished" and run_dir.read_final_step() == 2


def test_a_job_of_a_finished_run_records_its_outcome(tmp_path, recipe):
    run_dir = RunDir(tmp_path / "run")
    main(["train", str(recipe), "--run-dir", str(run_dir.path), "train.steps=2"])
    run_dir.reset_outcome()  # as the launcher of jobs does
    main(["train", str(run_dir.config_file), "--run-dir", str(run_dir.path)])
    assert run_dir.read_outcome()["reason"] == "finished"
    assert run_dir.read_outcome()["sentence"] == "All 2 steps are done."


def test_a_recipe_or_a_run_is_needed(tmp_path):
    with pytest.raises(SystemExit, match="Name a recipe"):
        main(["train"])
    with pytest.raises(SystemExit, match="There is no run at"):
        main(["train", "--run-dir", str(tmp_path / "none"), "train.steps=3"])


def test_finalize_takes_settings_that_may_change(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    train(make_tiny_config(steps=2), run_dir)
    with pytest.raises(SystemExit, match=r"model\.heads is 2 there and 4 here"):
        main(["finalize", str(run_dir.path), "model.heads=4"])
    main(["finalize", str(run_dir.path), "finalize.fit_samples=0", "finalize.accuracy_tolerance=0.25"])
    checkpoint = load(run_dir.final_checkpoint_dir)
    assert {record.get("tolerance") for record in checkpoint.halting["policies"].values()} <= {0.25, None}
    assert [line["setting"] for line in run_dir.history.read()] == [
        "finalize.fit_samples",
        "finalize.accuracy_tolerance",
    ]
    assert json.loads(json.dumps(checkpoint.metrics["training"]["changes"])) == run_dir.history.read()
