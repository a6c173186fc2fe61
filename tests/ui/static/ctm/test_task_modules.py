"""The JavaScript tasks have the attributes of the Python tasks, decode and judge answers alike, and write the same sentences."""

import hashlib
import itertools
import json

import numpy as np
import pytest
import torch

from inference import parse
from inference.confidence import FAMILIAR
from tests.paths import ROOT
from tests.ui.static.ctm.node_tasks import run_jobs
from training.decoding import CTCDecoder
from training.tasks.registry import build_task, list_task_kinds
from training.tasks.samples import DistributionShift, TaskInput
from training.thought_sentence import describe_unfamiliarity, format_sentence, judge_answer

CHECKPOINTS = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/task.json"))
RANDOM_EXAMPLES = {"sorting", "tracking"}  # whose examples are generated


def read_metadata(name):
    return json.loads((ROOT / "checkpoints" / name / "task.json").read_text())


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory):
    jobs = [{"task": read_metadata(name), "describe": True} for name in CHECKPOINTS]
    return dict(zip(CHECKPOINTS, run_jobs(jobs, tmp_path_factory.mktemp("describe")), strict=True))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tasks_of_bundled_checkpoints_are_described_as_in_python(name, descriptions):
    task = build_task(read_metadata(name))
    spec = task.get_spec()
    shown = descriptions[name]
    examples = [example for example in task.get_examples() if isinstance(example, str)]
    if task.name in RANDOM_EXAMPLES:
        assert len(shown.pop("examples")) == len(examples)
    else:
        assert shown.pop("examples") == examples
    assert shown == {
        "name": task.name,
        "title": task.title,
        "inputType": task.input_type,
        "inputHint": task.input_hint,
        "inputEditor": task.input_editor,
        "labels": task.get_labels(),
        "supportsDrawing": task.supports_drawing,
        "supportsGeneration": task.supports_generation,
        "statesResult": task.states_result,
        "hasNaturalInputs": task.has_natural_inputs,
        "sentencePositions": task.sentence_positions,
        "difficultyName": task.difficulty_name,
        "spec": {
            "backbone": spec.backbone,
            "classes": spec.classes,
            "positions": spec.positions,
            "scoredPositions": spec.scored_positions,
            "ctcLength": spec.ctc_length,
        },
    }


def test_every_task_has_a_bundled_checkpoint():
    assert {read_metadata(name)["task"] for name in CHECKPOINTS} == set(list_task_kinds())


def test_ctc_answers_are_decoded_as_in_python(tmp_path):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, 5, (12, 1), generator=generator) for _ in range(50)]
    results = run_jobs([{"call": "decodeCtc", "args": [row.tolist(), 4]} for row in rows], tmp_path)
    assert results == [CTCDecoder(4).decode(row) for row in rows]


def test_hashes_are_those_of_python(tmp_path):
    contents = [
        bytes(range(256))[:length] * repeats for length, repeats in ((0, 1), (1, 1), (128, 1), (129, 1), (200, 9))
    ]
    jobs = [{"call": "hashBlake2b", "args": [list(content), size]} for content in contents for size in (8, 16, 64)]
    expected = [
        list(hashlib.blake2b(content, digest_size=size).digest()) for content in contents for size in (8, 16, 64)
    ]
    assert run_jobs(jobs, tmp_path) == expected


def test_texts_are_quoted_as_in_python(tmp_path):
    texts = [
        "",
        "a",
        "'",
        '"',
        "'\"",
        "\\",
        "\n\r\t\x00\x7f\x85\xa0\xad",
        "\u2028\u3000\ufeff\ud800",
        "\U0001f600\U000e0001",
    ]
    results = run_jobs([{"call": "formatRepr", "args": [text]} for text in texts], tmp_path)
    assert results == [repr(text) for text in texts]


def build_records():
    """Return records of thoughts that differ in what the sentences depend on."""
    for halted_by, (ticks, answer_tick), iterations, confidence, is_correct, unfamiliar in itertools.product(
        ("budget", "certainty>0.9"),
        ((3, 3), (8, 8), (8, 5)),
        (8, 1),
        (None, 0.1, 0.625, 0.9999),
        (None, True, False),
        ("", "x"),
    ):
        policy = "certainty>0.9|ticks=8" if halted_by != "budget" or ticks == 8 else "ticks=3"
        record = {
            "ticks": ticks,
            "iterations": iterations,
            "answer_tick": answer_tick,
            "halted_by": halted_by,
            "policy": policy,
            "probability": 0.0123,
            "p_correct": None if confidence is None else [confidence] * ticks,
            "p_last": [0.345] * ticks if confidence == 0.9999 else None,
            "unfamiliar": unfamiliar,
            "truth": None if is_correct is None else "-3 and A-4",
            "is_adaptive": parse(policy).is_adaptive,
        }
        yield is_correct, record


def test_verdicts_and_sentences_are_those_of_python(tmp_path):
    records = list(build_records())
    for is_correct, record in records:
        record["verdict"] = judge_answer(is_correct, record)
    jobs = [{"call": "judgeAnswer", "args": [is_correct, record]} for is_correct, record in records]
    text = "Next comes -5, pre-1 -.5 - 3 \u00b2-1 _-1"
    jobs += [
        {"call": "formatSentence", "args": [text, record, "certainty 0.95", states_result]}
        for _, record in records
        for states_result in (False, True)
    ]
    verdicts = [record["verdict"] for _, record in records]
    sentences = [
        format_sentence(text, record, "certainty 0.95", states_result)
        for _, record in records
        for states_result in (False, True)
    ]
    assert run_jobs(jobs, tmp_path) == verdicts + sentences
    assert set(verdicts) == {"correct", "wrong", "gave up", "out of ticks", "unknown"}


def test_probabilities_are_rounded_as_in_python(tmp_path):
    shares = [*np.linspace(0, 1, 257).tolist(), 0.145, 0.9995, 0.04999, 0.0225]
    record = next(build_records())[1] | {"verdict": "unknown", "p_correct": None, "p_last": None}
    jobs = [{"call": "formatSentence", "args": ["A", record | {"probability": share}, "", True]} for share in shares]
    expected = [format_sentence("A", record | {"probability": share}, "", True) for share in shares]
    assert run_jobs(jobs, tmp_path) == expected


@pytest.mark.parametrize("sentence", [None, "The maze is large.", "It differs."])
def test_differences_from_the_training_samples_are_named_as_in_python(sentence, tmp_path):
    shift = sentence and {"sentence": sentence, "split": None}
    (text,) = run_jobs([{"call": "describeUnfamiliarity", "args": [{"shift": shift}, False]}], tmp_path)
    task_input = TaskInput(torch.zeros(1), {}, 1, shift=sentence and DistributionShift(sentence))
    assert text == describe_unfamiliarity(task_input, FAMILIAR)
