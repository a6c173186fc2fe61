"""Test the inference service: records are plain data, and invalid input gets one error sentence."""

import base64
import json
import shutil

import numpy as np
import pytest

from inference.halting.policy_parser import parse
from tests.ui.conftest import make_checkpoint, make_inference_service

TEXTS = {"parity-16": "101101", "arithmetic": "3 7 11 15"}


@pytest.fixture(scope="module")
def inference_service(checkpoints_dir):
    return make_inference_service(checkpoints_dir)


def make_digit_image() -> np.ndarray:
    grey = np.ones((60, 60), np.float32)
    grey[10:50, 26:34] = 0
    return grey


def make_input(name: str):
    return TEXTS.get(name, make_digit_image())


@pytest.mark.parametrize("name", ["digits", "parity-16", "arithmetic"])
@pytest.mark.parametrize("policy", ["", "ticks=3", "energy<-99", "certainty>0.9|same=2"])
def test_a_record_is_json_with_one_entry_per_tick(inference_service, name, policy):
    record = json.loads(json.dumps(inference_service.predict(name, make_input(name), policy), allow_nan=False))
    ticks = record["ticks"]
    assert 1 <= ticks <= record["iterations"] == 6
    for key in ("energy", "p_correct", "certainty", "answers_by_tick"):
        assert len(record[key]) == ticks
    by_tick = record["choices"].get("probabilities") or record["choices"]["chosen"]
    assert len(by_tick) == ticks
    heads, num_positions = record["attention"]["heads"], int(np.prod(record["attention"]["map"]))
    assert len(base64.b64decode(record["attention"]["data"])) == ticks * heads * num_positions
    assert len(base64.b64decode(record["activity"]["data"])) == ticks * record["activity"]["neurons"]
    assert 0 <= record["probability"] <= 1 and record["sentence"].endswith(".")
    assert record["halted_by"] == "budget" if policy == "energy<-99" else True


@pytest.mark.parametrize(("kind", "max_ticks"), [("lstm", 6), ("ff", 1)])
def test_baselines_run(kind, max_ticks, tmp_path):
    """A feed-forward network has one tick and no attention."""
    make_checkpoint(tmp_path / "digits", "digits", kind=kind)
    services = make_inference_service(tmp_path)
    assert services.get_checkpoint_info("digits").iterations == max_ticks
    record = json.loads(json.dumps(services.predict("digits", make_digit_image(), "energy<-99"), allow_nan=False))
    assert record["ticks"] == record["iterations"] == max_ticks == len(record["energy"])
    assert (record["attention"] is None) is (kind == "ff")
    assert len(base64.b64decode(record["activity"]["data"])) == max_ticks * record["activity"]["neurons"]
    assert services.describe("digits")["config"]["d_model"] == 16


def test_a_fixed_number_of_ticks_is_used(inference_service):
    record = inference_service.predict("parity-16", "1", "ticks=4")
    assert (record["ticks"], record["answer_tick"], record["halted_by"]) == (4, 4, "ticks=4")
    assert "set to 4 ticks" in record["sentence"]
    assert record["answer"] == record["answers_by_tick"][3] and len(record["answer"]) == 1


@pytest.mark.parametrize(
    "policy, part, ticks", [("ticks=80", "ticks=80", 80), ("energy<-99|ticks=7", "ticks=7", 7), ("same=7", "same=7", 7)]
)
def test_ticks_that_the_model_does_not_have_are_noted(inference_service, policy, part, ticks):
    record = inference_service.predict("parity-16", "101", policy)
    note = f"The rule {part} needs {ticks} ticks, but this model has 6: no more than 6 can run."
    assert (record["ticks"], record["notes"]) == (6, [note]) and record["sentence"].endswith(f". {note}")
    assert inference_service.predict("parity-16", "101", "ticks=6|same=3")["notes"] == []


def get_probabilities(record: dict) -> np.ndarray:
    """Return the probability of the shown answer at every tick."""
    choices = record["choices"]
    probabilities = choices.get("probabilities") or choices["probability"]
    return np.max(probabilities, 1) if "probabilities" in choices else np.prod(probabilities, 1)


def test_p_correct_is_the_sigmoid_of_minus_energy_and_at_most_the_probability(inference_service):
    record = inference_service.predict("digits", make_digit_image(), "ticks=6")
    expected = np.minimum(1 / (1 + np.exp(record["energy"])), get_probabilities(record))
    np.testing.assert_allclose(record["p_correct"], expected, atol=2e-4)


def test_p_correct_may_depend_on_energy_and_certainty(tmp_path):
    directory = make_checkpoint(tmp_path / "waiting", "parity")
    metadata = {"kind": "wait", "chance": {"energy": 0.5, "certainty": -3.0, "bias": 1.0}}
    (directory / "halting.json").write_text(json.dumps({"energy": metadata}))
    record = make_inference_service(tmp_path).predict("waiting", "11", "ticks=3")
    expected = 1 / (1 + np.exp(0.5 * np.array(record["energy"]) - 3 * np.array(record["certainty"]) + 1))
    np.testing.assert_allclose(record["p_correct"], np.minimum(expected, get_probabilities(record)), atol=2e-4)
    (directory / "halting.json").write_text(json.dumps({"energy": {"kind": "wait"}}))
    assert make_inference_service(tmp_path).predict("waiting", "11", "ticks=3")["p_correct"] is None


def test_p_correct_of_a_contrastive_energy_is_one_minus_energy_over_margin(tmp_path):
    directory = make_checkpoint(tmp_path / "old", "parity")
    metadata = json.loads((directory / "halting.json").read_text())
    (directory / "halting.json").write_text(json.dumps(metadata | {"energy": {"kind": "contrastive", "margin": 10.0}}))
    record = make_inference_service(tmp_path).predict("old", "11", "ticks=2")
    expected = np.clip(1 - np.array(record["energy"]) / 10, 0, 1)
    np.testing.assert_allclose(record["p_correct"], np.minimum(expected, get_probabilities(record)), atol=1e-4)


@pytest.mark.parametrize(
    "name, value, policy, message",
    [
        ("nowhere", "1", "", "no checkpoint called 'nowhere'"),
        ("../digits", "1", "", "namespace/name"),
        ("", "1", "", "no checkpoint called"),
        ("parity-16", "", "", "Type some bits"),
        ("parity-16", "10a1", "", "0 and 1 only"),
        ("parity-16", "1" * 17, "", "at most 16 bits, got 17"),
        ("parity-16", "x" * 1001, "", "1,001 characters"),
        ("arithmetic", "1 2", "", "3 to 6 numbers, got 2"),
        ("arithmetic", "1 2 3 nan", "", "not a whole number"),
        ("parity-16", "1", "energy<", "not a halting rule"),
        ("parity-16", "1", "ticks=0", "at least 1"),
        ("digits", np.ones((40, 40), np.float32), "", "empty"),
    ],
)
def test_invalid_input_gets_one_error_sentence(inference_service, name, value, policy, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")) as caught:
        inference_service.predict(name, value, policy)
    assert "\n" not in str(caught.value)


def test_a_deleted_checkpoint_is_named_in_the_error_and_a_new_one_is_listed(tmp_path, checkpoints_dir):
    shutil.copytree(checkpoints_dir / "parity-16", tmp_path / "a")
    services = make_inference_service(tmp_path)
    services.predict("a", "1", "")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert services.list_checkpoint_names() == ["a", "b"]
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(ValueError, match=r"called 'a'.*there are: b"):
        services.predict("a", "1", "")


def test_a_checkpoint_that_is_replaced_on_disk_is_loaded_again(tmp_path):
    make_checkpoint(tmp_path / "a", "parity")
    services = make_inference_service(tmp_path)
    assert services.get_checkpoint_info("a").iterations == 6
    make_checkpoint(tmp_path / "a", "parity", iterations=9)
    assert services.get_checkpoint_info("a").iterations == 9


def test_a_damaged_checkpoint_gets_one_error_sentence_and_others_still_run(tmp_path, checkpoints_dir):
    shutil.copytree(checkpoints_dir / "parity-16", tmp_path / "good")
    shutil.copytree(checkpoints_dir / "parity-16", tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"nonsense")
    services = make_inference_service(tmp_path)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        services.predict("bad", "1", "")
    assert services.predict("good", "1", "")["ticks"] >= 1


def test_info_lists_the_policy_of_the_checkpoint_first(inference_service):
    info = inference_service.get_checkpoint_info("parity-16")
    policy, option = next(iter(info.policy_options.items()))
    assert (option.name, policy) == ("Energy below threshold", "energy<-0.05")
    assert option.description.endswith("On 9 calibration samples: 100.0% correct in 3 ticks on average.")
    assert all(parse(policy) and option.description for policy, option in info.policy_options.items())
