"""Test what a prediction can be compared with, and the rows of a comparison."""

import json

import pytest

from inference.halting.stored_policies import NEVER_HALT_POLICY
from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.services.comparisons import MAX_COMPARED
from ui.services.halting_view_model import FULL_BUDGET_LABEL


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory):
    """Return the comparisons of two CTMs and a feed-forward model of one task, and of a model of another task."""
    directory = tmp_path_factory.mktemp("comparison")
    for name, task_kind, kind in (("a", "parity", "ctm"), ("b", "parity", "ctm"), ("ff", "parity", "ff")):
        make_checkpoint(directory / name, task_kind, kind=kind, **({"iterations": 4} if name == "b" else {}))
    make_checkpoint(directory / "other", "arithmetic")
    make_checkpoint(directory / "digits", "digits")
    return make_inference_service(directory).comparisons


def test_policies_and_models_of_the_same_task_may_be_compared(comparisons):
    choices = {choice["value"]: choice for choice in comparisons.list_choices("a")}
    assert choices[f"rule:{NEVER_HALT_POLICY}"]["name"] == f"Rule: {FULL_BUDGET_LABEL}"
    models = {value: choice["is_baseline"] for value, choice in choices.items() if choice["model"]}
    assert models == {"model:b": False, "model:ff": True}, "a baseline is of another type"
    assert [c["value"] for c in comparisons.list_choices("ff") if c["policy"]] == [], "one pass has no rules"


def test_each_choice_gets_a_row(comparisons):
    asked = [f"rule:{NEVER_HALT_POLICY}", "model:b", "model:ff"]
    rows = json.loads(json.dumps(comparisons.run("a", "101", asked)))
    assert list(rows) == asked
    assert rows[asked[0]]["policy"] == NEVER_HALT_POLICY and rows["model:ff"]["ticks"] == 1
    assert rows["model:b"]["iterations"] == 4 and rows["model:b"]["verdict"] in ("correct", "wrong", "out of ticks")
    assert len(rows[asked[0]]["answers"]) == len(rows[asked[0]]["certainty"]) == rows[asked[0]]["ticks"]
    assert len(comparisons.run("a", "101", [f"rule:{number}" for number in range(9)])) == MAX_COMPARED


def test_a_choice_that_cannot_run_is_reported_in_its_row(comparisons):
    asked = [f"rule:{NEVER_HALT_POLICY}", "model:../../etc", "model:other"]
    rows = comparisons.run("a", "1" * 40, asked)
    assert "at most 16 bits" in rows[asked[0]]["problem"]
    assert "cannot be compared" in rows[asked[1]]["problem"] and "cannot be compared" in rows[asked[2]]["problem"]


def test_a_path_is_no_image(comparisons):
    (row,) = comparisons.run("digits", "/etc/passwd", [f"rule:{NEVER_HALT_POLICY}"]).values()
    assert row["problem"]


def test_browsers_get_the_files_of_the_compared_checkpoints(comparisons):
    manifests = comparisons.get_manifests("a", [f"rule:{NEVER_HALT_POLICY}", "model:ff", "model:other"])
    assert {value: manifest["name"] for value, manifest in manifests.items()} == {
        f"rule:{NEVER_HALT_POLICY}": "a",
        "model:ff": "ff",
    }
    assert comparisons.get_manifests("gone", ["model:ff"]) == {}
