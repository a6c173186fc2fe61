"""Test archives of runs, and predictions with their checkpoints."""

import os
import time
import zipfile
from pathlib import Path

import pytest

from tests.training.jobs.conftest import stop_scheduler, wait_until
from tests.ui.queued_runs import training_service
from tests.ui.run_fixtures import create_fake_run, make_training_service
from training.publishing.outbox import Outbox
from ui.services import run_archive
from ui.services.inference_service import InferenceService

__all__ = ["training_service"]


def list_archive_names(path: str) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def test_an_archive_contains_the_run_files_and_the_final_checkpoint_only(training_service):
    run_dir = create_fake_run(training_service, "run-1", steps=(10, 20))
    Outbox(run_dir.path).enqueue(run_dir.final_checkpoint_dir, "ann/x", "t")
    (run_dir.path / "exit.json").write_text("{}")
    names = list_archive_names(training_service.create_archive("run-1"))
    assert {name.partition("/")[2] for name in names} == {
        "config.yaml",
        "command.txt",
        "status.json",
        "metrics.jsonl",
        "log.txt",
        *(f"checkpoint/{path.name}" for path in run_dir.final_checkpoint_dir.iterdir()),
    }
    assert {name.partition("/")[0] for name in names} == {"run-1"}
    assert "run-1/checkpoint/model.safetensors" in names and not [name for name in names if "trainer" in name]


def test_the_archive_of_an_unfinished_run_contains_its_newest_checkpoint(training_service):
    run_dir = create_fake_run(training_service, "run-1", state="cancelled", steps=(10, 20))
    (run_dir.checkpoint_dir(20) / "README.md").write_text("the newest")
    with zipfile.ZipFile(training_service.create_archive("run-1")) as archive:
        assert archive.read("run-1/checkpoint/README.md") == b"the newest"
    create_fake_run(training_service, "run-2", state="failed")
    assert "run-2/log.txt" in list_archive_names(training_service.create_archive("run-2"))
    with pytest.raises(ValueError, match="no run called"):
        training_service.create_archive("../run-1")


def test_expired_archives_are_deleted(training_service, tmp_path, monkeypatch):
    monkeypatch.setattr(run_archive.tempfile, "tempdir", str(tmp_path))
    create_fake_run(training_service, "run-1")
    first, second = Path(training_service.create_archive("run-1")), Path(training_service.create_archive("run-1"))
    assert first.is_file() and second.is_file(), "an earlier archive may still be downloading"
    long_ago = time.time() - run_archive.ARCHIVE_TTL_S - 1
    os.utime(first.parent, (long_ago, long_ago))
    training_service.create_archive("run-1")
    assert not first.parent.exists() and second.is_file()


def test_saved_steps_are_usable_and_a_pruned_one_gets_an_error_message(training_service):
    run_dir = create_fake_run(training_service, "run-1", steps=(10, 20))
    inference_service = InferenceService(training_service.catalog)
    for step, name in {None: "run:run-1", 10: "run:run-1@10", 20: "run:run-1@20"}.items():
        assert training_service.get_checkpoint_name("run-1", step) == name
        assert inference_service.get_checkpoint_info(name).input_type == "text"
        assert inference_service.predict(name, "1011", "ticks=3")["ticks"] == 3
    run_dir.prune(1, None)
    for name in ("run:run-1@10", "run:run-1@99", "run:run-2", "run:run-1@", "run:run-1@../20", "run:../run-1"):
        with pytest.raises(ValueError, match="no checkpoint called") as caught:
            inference_service.predict(name, "1011", "")
        assert "\n" not in str(caught.value)
    assert inference_service.predict("run:run-1@20", "1011", "")


def test_a_checkpoint_is_usable_while_its_run_trains(tmp_path, checkpoints_dir):
    """A real run saves and prunes checkpoints during the predictions."""
    service = make_training_service(tmp_path, checkpoints_dir, start_jobs=True)
    try:
        run_id = service.start_run(
            "endless", {"train.save_every": 20, "train.save_total_limit": 2, "train.log_every": 10}, "ann"
        )
        wait_until(
            lambda: (
                len(service.run_views.get_run_view(run_id)["saved"]) == 2
                and service.run_views.get_run_view(run_id)["saved"][0] > 20
            )
        )
        inference_service, first_view = InferenceService(service.catalog), service.run_views.get_run_view(run_id)
        assert first_view["state"] == "running" and first_view["headline"].startswith("Training: step")
        num_predictions, deadline = 0, time.monotonic() + 20
        while num_predictions < 5 and time.monotonic() < deadline:
            try:
                num_predictions += (
                    inference_service.predict(
                        f"run:{run_id}@{service.run_views.get_run_view(run_id)['saved'][-1]}", "1011", ""
                    )["ticks"]
                    > 0
                )
            except ValueError as error:  # pruned after its name was read
                assert "no checkpoint called" in str(error) or "is missing" in str(error)
        assert num_predictions == 5 and service.run_views.get_run_view(run_id)["state"] == "running"
        wait_until(lambda: service.run_views.get_run_view(run_id)["step"] > first_view["step"])
        with pytest.raises(ValueError, match="no checkpoint called"):
            inference_service.predict(f"run:{run_id}@20", "1011", "")
        assert service.stop(run_id) == "Stopping: it saves first."
        wait_until(lambda: service.run_views.get_run_view(run_id)["state"] == "cancelled")
        assert service.run_views.get_run_view(run_id)["headline"].startswith("Stopped at step")
    finally:
        stop_scheduler(service.scheduler)
