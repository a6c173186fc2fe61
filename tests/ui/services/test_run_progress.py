"""Test what the view of a run says about its progress, its result and the time left."""

import json

import pytest

from tests.ui.queued_runs import training_service
from tests.ui.run_fixtures import create_fake_run
from training.progress_summary import PublishedResult
from ui.services.run_progress import PublishedResults, describe_result, describe_run, estimate_seconds_left

__all__ = ["training_service"]

STATUS = {"phase": "training", "step": 50, "steps": 100, "steps_per_second": 5.0, "seconds_to_finalize": 12.0}
LINES = [{"step": 50, "validation_accuracy_best": 0.3}]
EVALUATION = {"split": "test", "n": 1_000, "iterations": 12, "accuracy_halted": 0.991, "mean_ticks": 4.06}


@pytest.mark.parametrize(
    ("state", "status", "evaluations", "expected"),
    [
        ("queued", STATUS, [], "It waits for its turn."),
        ("running", STATUS, [], "First evaluation: 30% of answers right."),
        (
            "running",
            STATUS | {"phase": "finishing"},
            [],
            "All steps are done; the result is being measured. First evaluation: 30% of answers right.",
        ),
        (
            "succeeded",
            STATUS,
            [EVALUATION],
            "Finished: 99.1% of 1,000 test samples right, in 4.1 of 12 ticks on average.",
        ),
        ("succeeded", STATUS, [], "Finished at step 50 of 100. First evaluation: 30% of answers right."),
        ("cancelled", STATUS, [], "Stopped at step 50 of 100. First evaluation: 30% of answers right."),
        ("failed", STATUS, [], "Failed at step 50 of 100. First evaluation: 30% of answers right."),
        (
            "interrupted",
            STATUS | {"steps": 0},
            [],
            "Interrupted before the first step. First evaluation: 30% of answers right.",
        ),
    ],
)
def test_the_state_of_a_run_is_told_in_sentences(state, status, evaluations, expected):
    assert describe_run(state, status, None, LINES, evaluations, None) == expected


def test_a_feed_forward_result_names_no_ticks():
    assert describe_result([EVALUATION | {"iterations": 1}]) == "99.1% of 1,000 test samples right"


@pytest.mark.parametrize("evaluation", [{}, {"iterations": "x"}, [], None, EVALUATION | {"n": "many"}])
def test_a_damaged_evaluation_gives_no_result(evaluation):
    assert describe_result([evaluation]) == ""


def test_the_time_left_includes_the_measurements_after_the_last_step():
    assert estimate_seconds_left(STATUS) == 50 / 5 + 12
    assert estimate_seconds_left(STATUS | {"steps_per_second": 0.0}) is None
    assert estimate_seconds_left(STATUS | {"phase": "finishing"}) is None


def write_metrics(directory, name, command, **training):
    (directory / name).mkdir()
    training = {"command": command, "steps": 3_000} | training
    (directory / name / "metrics.json").write_text(json.dumps({"training": training, "evaluations": [EVALUATION]}))


def test_the_published_result_is_that_of_the_same_recipe_task_and_model(tmp_path):
    write_metrics(tmp_path, "a", "python -m training train configs/a.yaml train.device=cpu")
    write_metrics(tmp_path, "b", "python -m training train configs/b.yaml", curve=[[100, 0.5]])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text('{"training": 3}')
    results = PublishedResults(tmp_path)
    assert results.find("python -m training train configs/a.yaml optim.lr=1e-3") == PublishedResult(0.991, 3_000)
    assert results.find("python -m training train configs/b.yaml") == PublishedResult(0.991, 3_000, ((100, 0.5),))
    for command in ("unknown", "a 'b", "python -m training train configs/c.yaml", "python -m training train"):
        assert results.find(command) is None
    for override in ("task.length=20", "model.d_model=8", "loss.energy_kind=none"):
        assert results.find(f"python -m training train configs/a.yaml {override}") is None
    assert PublishedResults(None).find("python -m training train configs/a.yaml") is None


def test_the_view_of_a_run_has_the_sentences(training_service):
    run_dir = create_fake_run(training_service, "run-1", state="running", steps=(10, 60))
    view = training_service.run_views.get_run_view("run-1")
    assert view["progress"] == "First evaluation: 90% of answers right." and view["expectation"] == ""
    run_dir.write_status("training", 60, 120, steps_per_second=5.0, seconds_to_finalize=7.5)
    assert training_service.run_views.get_run_view("run-1")["left"] == 60 / 5 + 7.5
    run_dir.config_file.write_text("broken: [")
    training_service.scheduler.store.update("run-1", state="cancelled")
    assert training_service.run_views.get_run_view("run-1")["progress"].startswith("Stopped at step 60 of 120. First")
