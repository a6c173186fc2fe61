"""Tests of recipes in stages: a run equals the commands that it replaces, and resumes exactly inside and between stages."""

import json
import os
import shutil
import signal

import pytest
import torch
import yaml

from ctm.checkpoint import load
from tests.image_datasets import write_dataset
from tests.training.test_trainer import TINY_RECIPE, load_step_weights, read_metrics
from training.__main__ import main
from training.config import RunConfig, read_recipe
from training.estimate import estimate_run
from training.finalize import finalize_run
from training.run_dir import RunDir
from training.stages import build_stages, find_saved_stage, find_stage_to_train
from training.training_loop import train

STAGES = [
    {"train.steps": 6},
    {"optim": {"lr": 1e-3}, "model.iterations": 5, "train.steps": 4, "loss.tick_reduction": "mix"},
    {"task.length": 11, "model": {"n_synch_out": 10}, "train": {"init_mode": "expand", "steps": 5}},
]
FINALIZE = {"fit_samples": 64, "fit_steps": 5}


def make_staged_config(stages=STAGES, **train_settings) -> RunConfig:
    """Build the settings of a tiny run with stages."""
    train_group = TINY_RECIPE["train"] | {"save_total_limit": 9, "save_every": 2} | train_settings
    return RunConfig.parse(TINY_RECIPE | {"train": train_group, "finalize": FINALIZE, "stages": stages})


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> RunDir:
    """Provide a run that has done all its stages. Tests must not change it."""
    run_dir = RunDir(tmp_path_factory.mktemp("staged") / "run")
    assert train(make_staged_config(), run_dir)
    return run_dir


def assert_equal_weights(run_dir: RunDir, reference: RunDir, step: int, reference_step: int | None = None) -> None:
    """Check that two runs have the same weights."""
    weights, expected = load_step_weights(run_dir, step), load_step_weights(reference, reference_step or step)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in expected)


# --- settings --------------------------------------------------------------------------------------------------------


def test_each_stage_combines_its_overrides_with_the_settings_above():
    config = make_staged_config()
    stages = build_stages(config)
    assert [(s.number, s.first_step, s.end_step) for s in stages] == [(1, 0, 6), (2, 6, 10), (3, 10, 15)]
    assert config.num_steps == 15 and config.last_stage is stages[2].config
    assert [s.config.optim.lr for s in stages] == [3e-3, 1e-3, 3e-3], "stages do not inherit from each other"
    assert [s.config.model["iterations"] for s in stages] == [4, 5, 4]
    assert [s.config.task["length"] for s in stages] == [9, 9, 11]
    assert not any(s.config.stages for s in stages)


def test_a_run_without_stages_is_one_stage():
    config = RunConfig.parse(TINY_RECIPE)
    (stage,) = build_stages(config)
    assert stage.config is config and stage.end_step == 12 and stage.status == {} and not stage.setting_prefix


def test_a_saved_step_belongs_to_the_stage_that_trained_it():
    config = make_staged_config()
    assert [find_saved_stage(config, step).number for step in (1, 6, 7, 10, 11, 15, 20)] == [1, 1, 2, 2, 3, 3, 3]
    assert [find_stage_to_train(config, step).number for step in (0, 5, 6, 9, 10, 15)] == [1, 1, 2, 2, 3, 3]


def test_task_or_model_of_another_kind_replaces_the_group():
    model = {"kind": "lstm", "iterations": 3, "d_model": 8, "d_input": 8, "heads": 2}
    config = make_staged_config([{}, {"task": {"kind": "chain"}, "model": model, "train.init_mode": "matching"}])
    assert config.last_stage.task == {"kind": "chain"} and config.last_stage.model == model


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"train.seed": 3}, r"stage 2: train\.seed cannot differ between stages: set it above `stages`"),
        ({"publish": {"repo": "a/b"}}, r"stage 2: publish cannot differ between stages"),
        ({"init_from": "x"}, r"stage 2: init_from cannot differ between stages"),
        ({"modle.d_model": 3}, r"stage 2: Unknown setting `modle`; did you mean `model`"),
        ({"train.stepz": 3}, r"stage 2: Unknown setting `train\.stepz`; did you mean `steps`"),
        ({"loss.mean_share": 3}, r"stage 2: Setting `loss\.mean_share`: input should be less than or equal to 1"),
        ({"model.iterations": 0}, r"stage 2: Setting `model\.iterations`"),
        (
            {"model.d_model": 20},
            r"stage 2: the model of stage 1 does not fit this run's model: .*Set train\.init_mode=matching",
        ),
        (
            {"model": {"kind": "ff", "d_model": 8}, "train.init_mode": "matching", "train.freeze": "core"},
            r"stage 2: train\.freeze=core needs",
        ),
        (5, r"stage 2: must be a group of `name: value` lines.*got 5"),
    ],
)
def test_an_invalid_stage_is_named_before_the_first_step(stage, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_staged_config([{}, stage])
    assert len(str(caught.value).splitlines()) == 1


def test_overrides_count_in_all_stages_or_in_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(TINY_RECIPE | {"stages": STAGES}))
    assert [s.train.steps for s in read_recipe(path, ["train.steps=3"]).stage_configs] == [3, 3, 3]
    assert [s.train.steps for s in read_recipe(path, ["stages.2.train.steps=3"]).stage_configs] == [6, 3, 5]
    assert [s.optim.warmup_steps for s in read_recipe(path, ["stages.3.optim.warmup=9"]).stage_configs] == [3, 3, 9]
    assert make_staged_config().with_overrides({"stages.1.optim.lr": 0.1}).stage_configs[0].optim.lr == 0.1
    for word in ("stages.4.train.steps=3", "stages.0.train.steps=3", "stages.x.train.steps=3", "stages.1=3"):
        with pytest.raises(ValueError, match=r"must read stages\.NUMBER\.group\.setting.*3 stages"):
            read_recipe(path, [word])


def test_settings_of_one_computer_are_not_portable(tmp_path):
    """The second stage reads other files than the first."""
    for name in ("first", "second"):
        write_dataset(tmp_path / name, ["a", "b"], 8, 3, train=12)
    task = {"kind": "images", "dataset": "alice/x", "names": ["a", "b"], "data_files": str(tmp_path / "first")}
    model = TINY_RECIPE["model"] | {"backbone_type": "resnet18-1"}
    stages = [{}, {"task.data_files": str(tmp_path / "second"), "optim.lr": 0.1}]
    config = RunConfig.parse(TINY_RECIPE | {"task": task, "model": model, "stages": stages})
    assert config.machine_local_settings == {"task.data_files", "stages.1.task.data_files", "stages.2.task.data_files"}
    assert str(tmp_path) not in str(config.to_portable_dict())
    assert config.to_portable_dict()["stages"] == [{}, {"task": {}, "optim": {"lr": 0.1}}]


# --- training --------------------------------------------------------------------------------------------------------


def test_stages_equal_the_commands_that_they_replace(reference, tmp_path):
    """Each command starts from the checkpoint of the one before, as `init_from` does."""
    model = None
    for stage in build_stages(make_staged_config()):
        run_dir = RunDir(tmp_path / f"stage{stage.number}")
        assert train(stage.config, run_dir, init_model=model)
        steps = stage.config.train.steps
        assert_equal_weights(reference, run_dir, stage.end_step, steps)
        model = load(run_dir.checkpoint_dir(steps)).model


def test_metrics_count_on_and_name_the_stage_where_it_changes(reference):
    lines = read_metrics(reference)
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert [(line["step"], line["stage"]) for line in lines if "stage" in line] == [(0, 1), (6, 2), (10, 3)]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12, 14, 15]
    status = reference.read_status()
    assert (status["step"], status["steps"], status["stage"], status["stages"]) == (15, 15, 3, 3)


@pytest.mark.parametrize("stop_step", [4, 6, 8, 10, 12])
def test_run_stopped_in_a_stage_or_between_two_equals_a_straight_run(stop_step, reference, tmp_path, monkeypatch):
    run_dir, config = RunDir(tmp_path / "run"), make_staged_config()
    log = RunDir.log_metrics

    def stop(self, values):
        log(self, values)
        if values["step"] == stop_step and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunDir, "log_metrics", stop)
    assert not train(config, run_dir)
    monkeypatch.undo()
    assert run_dir.list_steps()[-1] == stop_step and run_dir.read_status()["phase"] == "stopped"
    assert train(config, run_dir)
    for step in (6, 10, 15):
        assert_equal_weights(run_dir, reference, step)
    assert read_metrics(run_dir) == read_metrics(reference)
    assert read_counted_batches(run_dir) == read_counted_batches(reference)


def read_counted_batches(run_dir: RunDir) -> list[dict]:
    """Return the counted batches of the last step."""
    (cost,) = run_dir.load_trainer_state(15)["costs"]
    assert cost["processor_seconds"] > 0
    return cost["batches"]


def test_run_resumes_from_the_stage_before_if_the_steps_of_a_stage_are_unreadable(reference, tmp_path):
    run_dir = RunDir(tmp_path / "run")
    shutil.copytree(reference.path, run_dir.path)
    for step in (8, 10, 12, 14, 15):
        (run_dir.trainer_state_dir(step) / "progress.pt").write_bytes(b"")
    assert train(make_staged_config(), run_dir)
    assert_equal_weights(run_dir, reference, 15)


# --- resume with other settings --------------------------------------------------------------------------------------


@pytest.fixture
def in_second_stage(reference, tmp_path) -> RunDir:
    """Provide a run that has done 8 of 15 steps, in its second stage."""
    run_dir = RunDir(tmp_path / "run")
    shutil.copytree(reference.path, run_dir.path)
    for step in (10, 12, 14, 15):
        shutil.rmtree(run_dir.checkpoint_dir(step))
    return run_dir


def test_rules_hold_per_stage(in_second_stage):
    def find(**overrides):
        config = make_staged_config().with_overrides(
            {key.replace("__", "."): value for key, value in overrides.items()}
        )
        return [(change.name, change.new) for change in in_second_stage.check_changes(config)]

    assert find(**{"stages.2.optim.lr": 0.5}) == [("stages.2.optim.lr", 0.5)]
    assert find(**{"stages.1.optim.lr": 0.5}) == [], "the first stage is over"
    assert find(**{"stages.3.loss.tick_reduction": "mean"}) == [("stages.3.loss.tick_reduction", "mean")]
    assert find(**{"train.max_minutes": 5}) == [("train.max_minutes", 5)]
    for name, value in {
        "stages.2.loss.tick_reduction": "mean",
        "stages.1.loss.tick_reduction": "mean",
        "stages.1.train.steps": 7,
        "stages": STAGES[:1],
        "train.seed": 3,
    }.items():
        with pytest.raises(ValueError, match="a resumed run cannot change them"):
            find(**{name: value})
    with pytest.raises(
        ValueError, match=r"stages\.2\.train\.steps=1 is less than the 2 steps that this stage has done"
    ):
        find(**{"stages.2.train.steps": 1})


def test_stage_that_has_not_begun_may_be_removed_or_added(in_second_stage):
    shorter = make_staged_config(STAGES[:2])
    (change,) = in_second_stage.check_changes(shorter)
    assert change.name == "stages.3" and change.new is None
    longer = make_staged_config([*STAGES, {"train.steps": 2, "task.length": 11, "model.n_synch_out": 10}])
    (change,) = in_second_stage.check_changes(longer)
    assert change.name == "stages.4" and change.old is None and change.new["train"] == {"steps": 2}
    in_second_stage.initialize(longer)
    assert in_second_stage.load_config().num_steps == 17


# --- commands --------------------------------------------------------------------------------------------------------


def test_one_command_trains_all_stages_and_finalizes_the_last(tmp_path, capsys):
    path, run_dir = tmp_path / "staged.yaml", RunDir(tmp_path / "run")
    path.write_text(yaml.safe_dump(make_staged_config().model_dump(mode="json")))
    main(["train", str(path), "--run-dir", str(run_dir.path)])
    output = capsys.readouterr().out
    assert "Stage 2 of 3: steps 7 to 10." in output and "step 8 of 15 (stage 2 of 3):" in output
    assert run_dir.read_outcome()["sentence"] == "All 15 steps are done."
    checkpoint = load(run_dir.final_checkpoint_dir)
    assert checkpoint.task["settings"]["length"] == 11 and checkpoint.model.config.n_synch_out == 10
    training = checkpoint.metrics["training"]
    assert training["steps"] == 15 and training["stage"] == training["stages"] == 3
    assert training["processor_seconds"] > 0 and training["flops"] > 0
    card = (run_dir.final_checkpoint_dir / "README.md").read_text()
    assert "| 2 | 4 |" in card and "`optim.lr=0.001`" in card and "Floating-point operations" in card
    main(["train", "--run-dir", str(run_dir.path)])
    assert "raise stages.3.train.steps" in capsys.readouterr().out
    main(["train", "--run-dir", str(run_dir.path), "stages.3.train.steps=7"])
    assert load(run_dir.final_checkpoint_dir).metrics["training"]["steps"] == 17
    stages = [*STAGES[:2], STAGES[2] | {"train": {"init_mode": "expand", "steps": 7}}]
    further = STAGES[2] | {"train": {"steps": 3}, "optim": {"lr": 5e-4}}
    main(
        [
            "train",
            "--run-dir",
            str(run_dir.path),
            f"stages={json.dumps([*stages, further])}",
        ]
    )
    training = load(run_dir.final_checkpoint_dir).metrics["training"]
    assert (training["steps"], training["stages"]) == (20, 4), "a finished run continues with a further stage"


def test_run_between_two_stages_cannot_be_finalized(in_second_stage):
    with pytest.raises(ValueError, match="has done stage 2 of 3, and a run is finalized in its last stage"):
        finalize_run(in_second_stage, None)


def test_estimate_covers_all_stages():
    estimate = estimate_run(make_staged_config())
    assert estimate["seconds_per_1000_steps"] > 0 and estimate["parameters"] > 0
