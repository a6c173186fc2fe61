"""Test the answers to fixed validation inputs that a run stores at every evaluation."""

import json

import numpy as np
import pytest
import torch

from ctm.checkpoint import load
from tests.image_datasets import write_dataset
from tests.training.test_task_contract import SMALL_MODEL_CONFIG
from tests.training.test_trainer import make_tiny_config
from training import live_samples, training_loop
from training.config import RunConfig
from training.live_samples import LiveSamples, choose_inputs, reduce_attention, reduce_picture
from training.pipeline import Pipeline
from training.run_dir import RunDir
from training.tasks import list_task_kinds, make_task
from training.tasks.samples import Batch
from training.tasks.splits import VALIDATION, make_generator
from training.thought_record import encode_base64
from training.training_loop import train

LSTM = {"kind": "lstm", "d_model": 16, "iterations": 3, "d_input": 8, "heads": 2, "num_layers": 1}
FEED_FORWARD = {"kind": "ff", "d_model": 16}


def make_config(task: dict, model: dict, **train_settings) -> RunConfig:
    """Return the settings of a run of 4 steps with an evaluation after every second one."""
    settings = {"steps": 4, "eval_every": 2, "save_every": 2, "log_every": 2, "eval_samples": 12, "batch_size": 4}
    return RunConfig.parse(
        {"task": task, "model": model, "train": settings | {"device": "cpu"} | train_settings, "optim": {"lr": 0.01}}
    )


@pytest.fixture
def image_task(tmp_path):
    """Return the settings of a task of small photographs."""
    dataset = write_dataset(tmp_path / "pictures", ["a", "b", "c"])
    return {"kind": "images", "data_files": str(dataset), "resize": 12, "crop": 12, "augment": "none"}


@pytest.fixture(
    params=["parity", "parity, lstm", "parity, ff", "sorting", "qamnist", "images", "mazes, energy", "digits, ff"]
)
def config(request, image_task):
    """Return runs of several models and tasks: structured answers, CTC, inputs that change by tick, pictures, an energy."""
    kind, _, variant = request.param.partition(", ")
    model = {"lstm": LSTM, "ff": FEED_FORWARD}.get(variant, SMALL_MODEL_CONFIG)
    tasks = {
        "parity": {"kind": "parity", "length": 9},
        "sorting": {"kind": "sorting", "count": 4},
        "qamnist": {"kind": "qamnist", "digits": 1, "operations": 1, "per_digit": 1, "per_part": 1, "answering": 2},
        "images": image_task,
        "mazes": {"kind": "mazes", "side": 9, "route": 12},
        "digits": {"kind": "digits"},
    }
    fixed = make_task(tasks[kind]).with_resolved_settings().get_spec().config_overrides
    config = make_config(tasks[kind], {key: value for key, value in model.items() if key not in fixed})
    if kind == "sorting":
        config = config.with_overrides({"model.iterations": 6})
    return config if variant == "energy" else config.with_overrides({"loss.energy_kind": "none"})


def read_lines(run_dir: RunDir) -> list[dict]:
    """Return the stored lines."""
    return [json.loads(line) for line in run_dir.samples_file.read_text().splitlines()]


def test_each_record_equals_what_the_pipeline_answers_for_that_checkpoint_and_input(config, tmp_path):
    run_dir = RunDir(tmp_path / "run")
    assert train(config, run_dir)
    lines = read_lines(run_dir)
    assert [(line["step"], line["evaluation"]) for line in lines] == [(2, 1), (4, 2)]
    task = config.make_task()
    inputs = choose_inputs(task, config.train.seed)
    for line in lines:
        pipeline = Pipeline(load(run_dir.checkpoint_dir(line["step"])), task)
        assert len(line["samples"]) == len(inputs) == 3
        for sample, (title, task_input) in zip(line["samples"], inputs, strict=True):
            (expected,) = pipeline.build_records([task_input], pipeline.parse_policy(""))
            record = sample["record"]
            assert sample["title"] == title and sample["is_correct"] is (expected["verdict"] == "correct")
            for name in (
                "label",
                "sentence",
                "answer",
                "ticks",
                "answer_tick",
                "labels_by_tick",
                "truth",
                "routes",
                "policy",
            ):
                assert record[name] == expected[name], name
            np.testing.assert_allclose(record["certainty"], expected["certainty"], atol=2e-4)
            np.testing.assert_allclose(record["probability"], expected["probability"], atol=1e-5)
            assert record.get("activity") is None and record["input"] == expected["input"]


def test_a_resumed_run_stores_the_same_samples(tmp_path, monkeypatch):
    """The run is interrupted after an evaluation whose step is not saved."""
    config = make_tiny_config(eval_every=2, save_every=6)
    reference, resumed = RunDir(tmp_path / "reference"), RunDir(tmp_path / "resumed")
    assert train(config, reference)

    save = training_loop.TrainingLoop._save

    def save_until_step_6(loop):
        if loop.trainer.state.step > 6:
            raise KeyboardInterrupt
        save(loop)

    monkeypatch.setattr(training_loop.TrainingLoop, "_save", save_until_step_6)
    with pytest.raises(KeyboardInterrupt):
        train(config, resumed)
    monkeypatch.undo()
    assert resumed.samples.list_steps()[-1] == 12 and resumed.last_step == 6
    assert train(config, resumed)
    assert resumed.samples_file.read_bytes() == reference.samples_file.read_bytes()
    assert resumed.samples.list_steps() == [2, 4, 6, 8, 10, 12]


def test_samples_do_not_change_the_training(tmp_path, monkeypatch):
    with_samples, without = RunDir(tmp_path / "with"), RunDir(tmp_path / "without")
    train(make_tiny_config(), with_samples)
    monkeypatch.setattr(live_samples, "choose_inputs", lambda task, seed: [])
    train(make_tiny_config(), without)
    assert with_samples.samples_file.is_file() and not without.samples_file.exists()
    weights = [load(run_dir.checkpoint_dir(12)).model.state_dict() for run_dir in (with_samples, without)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_goes_on_if_its_samples_cannot_be_stored(tmp_path, monkeypatch, capsys):
    def fail(self, model, step):
        raise ValueError("This takes more than 60 seconds here.")

    monkeypatch.setattr(LiveSamples, "build_samples", fail)
    run_dir = RunDir(tmp_path / "run")
    assert train(make_tiny_config(), run_dir)
    assert not run_dir.samples_file.exists()
    assert "step 4: the answers to the validation inputs are not stored. This takes more" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [kind for kind in list_task_kinds() if kind != "images"])
def test_inputs_are_validation_samples_of_increasing_difficulty(kind):
    task = make_task({"kind": kind} | ({"side": 9} if kind == "mazes" else {}))
    inputs = choose_inputs(task, 1)
    assert len(inputs) == 3
    if task.difficulty_name:
        difficulties = [int(title.rpartition(": ")[2]) for title, _ in inputs]
        assert difficulties == sorted(difficulties) and difficulties[0] < difficulties[-1]
    again, others = choose_inputs(task, 1), choose_inputs(task, 2)
    same = [torch.equal(a.inputs, b.inputs) for (_, a), (_, b) in zip(inputs, again, strict=True)]
    assert all(same) and not all(torch.equal(a.inputs, b.inputs) for (_, a), (_, b) in zip(inputs, others, strict=True))


def test_every_sample_of_a_task_is_a_parsed_input_with_its_answer(any_validation_task):
    task = any_validation_task
    batch = task.sample(VALIDATION, 12, make_generator("x"))
    for row in range(len(batch.inputs)):
        rows = slice(row, row + 1)
        task_input = task.build_task_input(Batch(batch.inputs[rows], batch.targets[rows], batch.difficulty[rows]))
        assert torch.equal(task_input.inputs, batch.inputs[rows])
        answer = list(task_input.true_choices)
        assert answer == batch.targets[row, : len(answer)].tolist() and task_input.shift is None
        assert task.is_correct(task_input, answer)
        task.format_answer(task_input, answer)


@pytest.fixture(params=[*list_task_kinds(), "parity, signs", "mazes, expanded", "tracking, quadrant"])
def any_validation_task(request, image_task):
    kind, _, variant = request.param.partition(", ")
    variants = {
        "signs": {"encoding": "signs"},
        "expanded": {"expand_range": True},
        "quadrant": {"target": "quadrant"},
        "": image_task if kind == "images" else {},
    }
    return make_task({"kind": kind} | variants[variant]).with_resolved_settings()


def test_a_large_photograph_is_reduced_to_the_means_of_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (130, 100, 3))
    view = {"kind": "picture", "width": 100, "height": 130, "channels": 3, "data": encode_base64(pixels)}
    reduced = reduce_picture(view)
    assert (reduced["width"], reduced["height"]) == (34, 44) and max(34, 44) <= live_samples.MAX_PICTURE_SIDE
    result = live_samples.decode_base64(reduced["data"]).reshape(44, 34, 3)
    assert np.abs(result[2, 3] - pixels[6:9, 9:12].mean((0, 1))).max() <= 0.5
    assert reduce_picture(view | {"start": [0, 0]}) == view | {"start": [0, 0]}, "the places of a maze are pixels"


def test_attention_that_is_too_large_is_averaged_over_its_heads_or_left_out():
    weights = np.random.default_rng(0).integers(0, 256, (10, 4, 64))
    view = {"heads": 4, "map": [8, 8], "data": encode_base64(weights)}
    assert reduce_attention({**view, "data": encode_base64(weights[:2])})["heads"] == 4
    reduced = reduce_attention(view)
    result = live_samples.decode_base64(reduced["data"]).reshape(10, 64)
    assert reduced["heads"] == 1 and np.abs(result - weights.mean(1)).max() <= 0.5
    assert reduce_attention({**view, "data": encode_base64(np.zeros((40, 4, 64)))}) is None
    assert reduce_attention(None) is None
