"""Tests of the pipeline: one input, batches and streams agree with each other and with the engine."""

import json
import shutil

import numpy as np
import pytest

import ctm
from ctm.checkpoint import Checkpoint, load
from inference import Engine, parse
from tests.paths import ROOT
from tests.ui.conftest import make_checkpoint, make_inference_service
from training.pipeline import RESPONSE_KEYS, Pipeline, build_response, pipeline
from training.tasks import make_task
from ui.services.image_decoding import decode_image_with_notes

CHECKPOINTS = ROOT / "checkpoints"
DIGIT_PATHS = [str(path) for path in sorted((ROOT / "data/examples").glob("digit-*.png"))]
TEXTS = {
    "parity-16": ["10110", "0110", "1111000011110000", "01"],
    "arithmetic": ["3 7 11 15", "2 4 6", "1 2 3 4 5"],
    "sorting-10": ["0.5 -1 0.2 1.5 -0.3 0.1 2 -2 0 0.7"],
    "tracking-position": ["3,4 4,5 - 6,7 7,8 8,9 +4"],
}
ACTUAL_DURATION = "milliseconds"


@pytest.fixture(scope="module")
def digits() -> Pipeline:
    return pipeline(CHECKPOINTS / "digits")


def drop_duration(result: dict) -> dict:
    return {key: value for key, value in result.items() if key != ACTUAL_DURATION}


def assert_equal_results(result: dict, expected: dict) -> None:
    """Compare two results. A matrix product may round differently in a batch of another size."""
    assert result.keys() == expected.keys() == set(RESPONSE_KEYS)
    for key, value in drop_duration(expected).items():
        is_numeric = key in ("probability", "p_correct", "p_last", "energy", "certainty") and value is not None
        assert result[key] == (pytest.approx(value, rel=1e-4, abs=1e-4) if is_numeric else value), key


# --- one implementation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["", "ticks=3", "certainty>1"])
@pytest.mark.parametrize("name", ["digits", *TEXTS])
def test_the_result_is_that_of_the_api(name, policy):
    policy = policy if name != "sorting-10" else policy.replace("certainty>1", "ticks=25")
    service = make_inference_service(CHECKPOINTS)
    value = DIGIT_PATHS[0] if name == "digits" else TEXTS[name][0]
    user_input, notes = decode_image_with_notes(value) if name == "digits" else (value, ())
    expected = service.answer(name, user_input, policy, notes)
    result = pipeline(CHECKPOINTS / name)(value, policy)
    assert drop_duration(result) == drop_duration(expected)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_default_policy_is_that_of_the_checkpoint(digits):
    halting = digits.checkpoint.halting
    assert digits(DIGIT_PATHS[0])["policy"] == halting["policies"][halting["default"]]["policy"]


def test_the_answer_is_that_of_the_engine(digits):
    task_input = digits.task.parse_input(digits._read_input(DIGIT_PATHS[2])[0].display["pixels"])
    result = Engine(digits.model, parse("certainty>0.5")).run(task_input.inputs)
    answer = digits(DIGIT_PATHS[2], "certainty>0.5")
    assert (answer["ticks_used"], answer["answer"]) == (int(result.ticks[0]), int(result.answer.argmax(1)[0]))


# --- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_batch_size", [1, 2, 16])
def test_a_list_gives_the_results_of_its_inputs_in_order(max_batch_size):
    for name, inputs in ("digits", DIGIT_PATHS), ("parity-16", TEXTS["parity-16"]), ("arithmetic", TEXTS["arithmetic"]):
        model = pipeline(CHECKPOINTS / name, max_batch_size=max_batch_size)
        results = model(inputs, "certainty>0.9|ticks=10")
        assert isinstance(results, list) and len(results) == len(inputs)
        for value, result in zip(inputs, results, strict=True):
            assert_equal_results(result, model(value, "certainty>0.9|ticks=10"))


def test_an_empty_list_and_a_list_of_one_are_lists(digits):
    assert digits([]) == [] and len(digits(DIGIT_PATHS[:1])) == 1 and len(digits(tuple(DIGIT_PATHS[:2]))) == 2


def test_inputs_of_one_shape_share_batches(digits, monkeypatch):
    sizes = []
    stream = Engine.stream
    monkeypatch.setattr(
        Engine, "stream", lambda self, inputs, *rows: sizes.append(len(inputs)) or stream(self, inputs, *rows)
    )
    digits(DIGIT_PATHS)
    assert sizes == [len(DIGIT_PATHS)]


def test_an_invalid_input_of_a_list_is_named():
    with pytest.raises(ValueError, match=r"^Input 2 of 3: .*'x'"):
        pipeline(CHECKPOINTS / "parity-16")(["101", "x", "1"])


# --- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["", "ticks=4", "energy<-99"])
@pytest.mark.parametrize("name", ["digits", *TEXTS])
def test_a_stream_yields_the_ticks_of_the_run(name, policy):
    model = pipeline(CHECKPOINTS / name)
    value = DIGIT_PATHS[1] if name == "digits" else TEXTS[name][0]
    expected = model(value, policy)
    ticks = list(model.stream(value, policy))
    assert [tick["tick"] for tick in ticks] == list(range(1, expected["ticks_used"] + 1))
    assert [tick["choices"] for tick in ticks] == expected["answers_by_tick"]
    for key in ("certainty", "energy", "p_correct"):  # low temperatures magnify the last bits of a confidence
        tolerance = 1e-4 if key == "p_correct" else 1e-6
        assert [tick[key] for tick in ticks] == pytest.approx(expected[key], abs=tolerance), key
    assert [tick["halted_by"] for tick in ticks] == [None] * (len(ticks) - 1) + [expected["halted_by"]]
    assert all(tick["result"] is None for tick in ticks[:-1])
    assert_equal_results(ticks[-1]["result"], expected)


def test_a_stream_computes_a_tick_only_when_it_is_asked_for(digits, monkeypatch):
    counts = []
    tick = type(digits.model).tick
    monkeypatch.setattr(type(digits.model), "tick", lambda *args: counts.append(1) or tick(*args))
    stream = digits.stream(DIGIT_PATHS[0], "ticks=9")
    assert not counts
    next(stream)
    assert len(counts) == 1


def test_a_stream_reports_invalid_input_at_the_call(digits):
    with pytest.raises(ValueError, match="not a halting rule"):
        digits.stream(DIGIT_PATHS[0], "energy<")
    with pytest.raises(ValueError, match="cannot be read"):
        digits.stream("nowhere.png")


# --- arguments ---------------------------------------------------------------------------------------------------------


def test_a_policy_may_be_an_object(digits):
    assert digits(DIGIT_PATHS[0], parse("ticks=3"))["ticks_used"] == 3


@pytest.mark.parametrize(
    ("name", "value", "policy", "words"),
    [
        ("parity-16", 10110, "", "must be a text: got int 10110"),
        ("parity-16", "1" * 1_001, "", "1,001 characters"),
        ("parity-16", np.zeros((4, 4)), "", "must be a text: got ndarray"),
        ("digits", 3, "", "must be a path, .*: got int 3"),
        ("digits", DIGIT_PATHS[0], "said=3", "whole answer at every tick"),
        ("digits", DIGIT_PATHS[0], "nonsense", "not a halting rule"),
    ],
)
def test_invalid_arguments_get_one_sentence(name, value, policy, words):
    with pytest.raises(ValueError, match=words) as exc_info:
        pipeline(CHECKPOINTS / name)(value, policy)
    assert "\n" not in str(exc_info.value)


def test_a_checkpoint_object_and_a_task_are_accepted(tmp_path):
    checkpoint = load(make_checkpoint(tmp_path / "parity", "parity"))
    assert pipeline(checkpoint)("10110")["checkpoint"] == ""
    bare = Checkpoint(checkpoint.model)
    assert pipeline(bare, task="parity")("10110")["answer"] == pipeline(checkpoint)("10110", "certainty>1")["answer"]
    with pytest.raises(ValueError, match="cannot do the task 'digits'"):
        pipeline(bare, task="digits")


def test_a_checkpoint_without_policies_uses_every_tick(tmp_path):
    checkpoint = load(make_checkpoint(tmp_path / "parity", "parity"))
    result = pipeline(Checkpoint(checkpoint.model, make_task({"kind": "parity"}).describe()))("10110")
    assert result["ticks_used"] == result["iterations"] == 6


def test_ctm_pipeline_is_the_pipeline_and_names_local_checkpoints_by_directory(tmp_path, monkeypatch):
    assert ctm.pipeline is pipeline
    shutil.copytree(CHECKPOINTS / "parity-16", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert ctm.pipeline("mine")("10")["checkpoint"] == "mine"


def test_the_response_has_the_notes_of_the_file_first():
    record = dict.fromkeys([*RESPONSE_KEYS, "ticks"], 0) | {"notes": ["b"]}
    assert build_response(record, ["a"])["notes"] == ["a", "b"]
