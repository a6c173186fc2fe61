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
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        return set(packed.namelist())


def test_a_packed_run_has_what_people_want_and_no_more(training_service):
    folder = create_fake_run(training_service, "run-1", steps=(10, 20))
    Outbox(folder.path).enqueue(folder.final_checkpoint_dir, "ann/x", "t")
    (folder.path / "exit.json").write_text("{}")
    names = list_archive_names(training_service.create_archive("run-1"))
    assert {name.partition("/")[2] for name in names} == {
        "config.yaml",
        "command.txt",
        "status.json",
        "metrics.jsonl",
        "log.txt",
        *(f"checkpoint/{path.name}" for path in folder.final_checkpoint_dir.iterdir()),
    }
    assert {name.partition("/")[0] for name in names} == {"run-1"}
    assert "run-1/checkpoint/model.safetensors" in names and not [name for name in names if "trainer" in name]


def test_an_unfinished_run_is_packed_with_its_newest_step(training_service):
    folder = create_fake_run(training_service, "run-1", state="cancelled", steps=(10, 20))
    (folder.checkpoint_dir(20) / "README.md").write_text("the newest")
    with zipfile.ZipFile(training_service.create_archive("run-1")) as packed:
        assert packed.read("run-1/checkpoint/README.md") == b"the newest"
    create_fake_run(training_service, "run-2", state="failed")
    assert "run-2/log.txt" in list_archive_names(training_service.create_archive("run-2"))
    with pytest.raises(ValueError, match="no run called"):
        training_service.create_archive("../run-1")


def test_packed_runs_do_not_pile_up(training_service, tmp_path, monkeypatch):
    monkeypatch.setattr(run_archive.tempfile, "tempdir", str(tmp_path))
    create_fake_run(training_service, "run-1")
    first, second = Path(training_service.create_archive("run-1")), Path(training_service.create_archive("run-1"))
    assert first.is_file() and second.is_file(), "one may still be on its way"
    long_ago = time.time() - run_archive.ARCHIVE_TTL_S - 1
    os.utime(first.parent, (long_ago, long_ago))
    training_service.create_archive("run-1")
    assert not first.parent.exists() and second.is_file()


def test_saved_steps_are_usable_and_a_pruned_one_gets_an_error_message(training_service):
    folder = create_fake_run(training_service, "run-1", steps=(10, 20))
    services = InferenceService(training_service.catalog)
    for step, name in {None: "run:run-1", 10: "run:run-1@10", 20: "run:run-1@20"}.items():
        assert training_service.get_checkpoint_name("run-1", step) == name
        assert services.get_checkpoint_info(name).input_type == "text"
        assert services.predict(name, "1011", "ticks=3")["ticks"] == 3
    folder.prune(1, None)
    for name in ("run:run-1@10", "run:run-1@99", "run:run-2", "run:run-1@", "run:run-1@../20", "run:../run-1"):
        with pytest.raises(ValueError, match="no checkpoint called") as caught:
            services.predict(name, "1011", "")
        assert "\n" not in str(caught.value)
    assert services.predict("run:run-1@20", "1011", "")


def test_a_checkpoint_is_usable_while_its_run_trains(tmp_path, checkpoints_dir):
    """A real training, which saves and prunes checkpoints meanwhile."""
    trainings = make_training_service(tmp_path, checkpoints_dir, start_jobs=True)
    try:
        id = trainings.start_run(
            "endless", {"train.save_every": 20, "train.save_total_limit": 2, "train.log_every": 10}, "ann"
        )
        wait_until(
            lambda: (
                len(trainings.run_views.get_run_view(id)["saved"]) == 2
                and trainings.run_views.get_run_view(id)["saved"][0] > 20
            )
        )
        services, first = InferenceService(trainings.catalog), trainings.run_views.get_run_view(id)
        assert first["state"] == "running" and first["headline"].startswith("Training: step")
        thought, deadline = 0, time.monotonic() + 20
        while thought < 5 and time.monotonic() < deadline:
            try:
                thought += (
                    services.predict(f"run:{id}@{trainings.run_views.get_run_view(id)['saved'][-1]}", "1011", "")[
                        "ticks"
                    ]
                    > 0
                )
            except ValueError as error:  # pruned at this very moment
                assert "no checkpoint called" in str(error) or "is missing" in str(error)
        assert thought == 5 and trainings.run_views.get_run_view(id)["state"] == "running"
        wait_until(lambda: trainings.run_views.get_run_view(id)["step"] > first["step"])
        with pytest.raises(ValueError, match="no checkpoint called"):
            services.predict(f"run:{id}@20", "1011", "")
        assert trainings.stop(id) == "Stopping: it saves first."
        wait_until(lambda: trainings.run_views.get_run_view(id)["state"] == "cancelled")
        assert trainings.run_views.get_run_view(id)["headline"].startswith("Stopped at step")
    finally:
        stop_scheduler(trainings.scheduler)
