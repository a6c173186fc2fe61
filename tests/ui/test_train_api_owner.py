"""Test the endpoints of the Train tab as the administrator, who may call all of them."""

import io
import re
import zipfile
from collections.abc import Iterator

import pytest

from tests.training.jobs.conftest import stop_scheduler, wait_until
from tests.ui.gradio_session import GradioSession, find_handler, get_handler_name, make_access, recording_service
from tests.ui.run_fixtures import ADMIN_TOKEN, build_page, make_training_service, serve_page
from training.jobs.scheduler import JobScheduler
from ui.auth.authenticators import ADMIN_TOKEN_HEADER
from ui.services.training_service import TrainingService

__all__ = ["recording_service"]


@pytest.fixture
def owner_session(recording_service) -> Iterator[GradioSession]:
    """Yield a session of the administrator. No job changes its state by itself."""
    access = make_access("token", {})
    blocks = build_page(recording_service, access)
    with serve_page(recording_service, access, blocks) as address:
        session = GradioSession(address, blocks, {ADMIN_TOKEN_HEADER: ADMIN_TOKEN})
        session.load_tabs()
        yield session


def list_jobs(training_service: TrainingService) -> dict[str, str]:
    return {job.id: job.state for job in training_service.scheduler.store.list_jobs()}


def test_the_owner_resumes_a_run_with_other_settings(owner_session, recording_service):
    run_dir = recording_service.scheduler.get_run_dir("waiting-1")
    owner_session.press_button("stop", "waiting-1")
    error = owner_session.get_button_error("resume-changed", "waiting-1", changed_settings="optim.lr=high")
    assert "optim.lr" in error and list_jobs(recording_service)["waiting-1"] == "cancelled"
    owner_session.press_button("resume-changed", "waiting-1", changed_settings="optim.lr=0.25 train.max_minutes=7")
    config = run_dir.load_config()
    assert (config.optim.lr, config.train.max_minutes) == (0.25, 7.0)
    assert list_jobs(recording_service)["waiting-1"] == "queued"
    error = owner_session.get_button_error("resume-changed", "waiting-1", changed_settings="optim.lr=0.5")
    assert "stop it first" in error and run_dir.load_config().optim.lr == 0.25


def test_the_owner_removes_a_run_from_the_queue_and_adds_it_again(owner_session, recording_service):
    owner_session.press_button("stop", "waiting-1")
    assert list_jobs(recording_service)["waiting-1"] == "cancelled"
    owner_session.press_button("resume", "waiting-1")
    assert list_jobs(recording_service)["waiting-1"] == "queued"
    assert "finished; begin a new one" in owner_session.get_button_error("resume", "done-1")
    assert "over already" in owner_session.get_button_error("stop", "done-1")


def test_a_run_is_deleted_only_after_confirmation(owner_session, recording_service):
    assert "There is nothing to confirm" in owner_session.get_button_error("confirm")
    _, question, row = owner_session.press_button("delete", "done-1")
    assert "done-1" in str(question) and "all its checkpoints" in str(question) and row["visible"]
    assert (recording_service.scheduler.runs_dir / "done-1").is_dir()
    assert (
        owner_session.call_directly(find_handler(owner_session.blocks, "cancel")).json()["data"][0]["visible"] is False
    )
    assert (recording_service.scheduler.runs_dir / "done-1").is_dir()
    owner_session.press_button("delete", "done-1")
    owner_session.press_button("confirm")
    assert not (recording_service.scheduler.runs_dir / "done-1").exists() and "done-1" not in list_jobs(
        recording_service
    )
    assert "no run called" in owner_session.get_button_error("confirm"), "a confirmation is valid once"


def test_a_run_that_is_deleted_while_it_is_shown_raises_no_error(owner_session, recording_service, monkeypatch):
    """Another page deletes the run between two reads of the job store."""
    show = next(fn for fn in owner_session.blocks.fns.values() if get_handler_name(fn) == "RunDashboard.show")
    old_runs = recording_service.run_views.list_runs()
    monkeypatch.setattr(recording_service.run_views, "list_runs", lambda: old_runs)
    recording_service.scheduler.store.remove("done-1")
    assert owner_session.call_directly(show, "done-1").status_code == 200
    monkeypatch.undo()
    for invalid_id in ("done-1", "../x", ["done-1"], {"a": 1}, 7, None):  # also in a new session
        assert (
            GradioSession(str(owner_session.http.base_url), owner_session.blocks)
            .call_directly(show, run_id=invalid_id)
            .status_code
            == 200
        )
        assert "no run called" in owner_session.get_button_error("stop", run_id=invalid_id)


def test_a_confirmation_applies_to_the_run_for_which_it_was_requested(owner_session, recording_service):
    owner_session.press_button("delete", "done-1")
    owner_session.press_button("confirm", "stopped-1")
    assert "done-1" not in list_jobs(recording_service) and "stopped-1" in list_jobs(recording_service)


def test_the_archive_of_a_run_is_downloaded(owner_session, recording_service):
    (button,) = owner_session.press_button("create-archive", "done-1")
    assert button["visible"]
    response = owner_session.http.get(button["value"]["url"])
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {"done-1/config.yaml", "done-1/checkpoint/model.safetensors"} <= set(archive.namelist())
    assert button["value"]["orig_name"] == "done-1.zip"


def test_publishing_to_an_invalid_repository_gets_an_error_message(owner_session, recording_service, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    for repo, expected in {
        "": "Name the repository",
        "alice": "namespace/name",
        "../../x": "namespace/name",
        "bob/theirs": "bob/theirs",
    }.items():
        message = owner_session.get_button_error("publish", "stopped-1", repo=repo)
        assert expected in message and "\n" not in message and "Traceback" not in message
    assert recording_service.run_views.get_run_view("stopped-1")["published"] == ""


def test_a_run_is_published_from_the_page(owner_session, recording_service, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    owner_session.press_button("publish", "stopped-1", repo="alice/new")
    assert recording_service.run_views.get_run_view("stopped-1")["published"].startswith(
        "Waiting to be sent to alice/new"
    )


INVALID_SETTINGS = [
    ({"train.steps": 0}, "train.steps", "Training steps: input should be greater than or equal to 1"),
    ({"train.steps": "many"}, "train.steps", "Training steps must be a whole number"),
    ({"train.steps": None}, "train.steps", "Training steps is empty: it needs a whole number"),
    ({"train.steps": True}, "train.steps", "Training steps must be a whole number"),
    ({"optim.lr": 7}, "optim.lr", "Learning rate"),
    ({"model.heads": 7}, "model.d_input", "multiple of heads"),
    ({"loss.tick_reduction": "x"}, "loss.tick_reduction", "Ticks that count"),
    ({"loss.tick_reduction": ["mean"]}, "loss.tick_reduction", "Ticks that count"),
    ({"model.backbone_type": "/etc"}, "model.backbone_type", "Input encoder"),
]
INVALID_FORMS = [
    ({"publish_repo": "nowhere"}, "namespace/name"),
    ({"run_settings": {"changes": {"train.stepz": 1}}}, "not a setting of this form"),
    ({"run_settings": {"changes": [1]}}, "reload the page"),
]
INVALID_CHOICES = [
    ({"source": "../tiny"}, "not in the list"),
    ({"hardware": "a100"}, "not in the list"),
    ({"initial_weights": "/etc"}, "not in the list"),
    ({"initial_weights": "hub:../../x"}, "not in the list"),
]


@pytest.mark.parametrize(("changes", "name", "expected"), INVALID_SETTINGS)
def test_an_invalid_setting_gets_an_error_at_its_field(owner_session, recording_service, changes, name, expected):
    before = list_jobs(recording_service)
    *_, settings = owner_session.press_button("start", run_settings={"changes": changes})
    (error,) = settings["errors"]
    assert error["name"] == name and expected in error["message"]
    assert not re.search(r"[`\n]|Traceback|\w+\.\w+_?\w*`", error["message"])
    assert settings["changes"] == changes and [field for field in settings["fields"] if field["name"] == name]
    assert list_jobs(recording_service) == before


def test_an_invalid_form_gets_an_error_message_and_starts_no_run(owner_session, recording_service):
    before = list_jobs(recording_service)
    for values, expected in INVALID_FORMS:
        *_, settings = owner_session.press_button("start", **values)
        assert expected in settings["problem"] and "\n" not in settings["problem"] and settings["errors"] == []
    for values, expected in INVALID_CHOICES:
        message = owner_session.get_button_error("start", **values)
        assert expected in message and "\n" not in message and "Traceback" not in message, values
    assert list_jobs(recording_service) == before


def test_a_form_starts_a_run_with_its_settings(owner_session, recording_service):
    changes = {"train.steps": 33, "task.length": 7}
    run, tabs, _ = owner_session.press_button("start", run_name="from the page", run_settings={"changes": changes})
    assert run["shown"] == "from-the-page" and tabs["selected"] == "dashboard"
    config = recording_service.scheduler.get_run_dir(run["shown"]).load_config()
    assert (config.train.steps, config.task["length"]) == (33, 7)
    assert recording_service.scheduler.store.get(run["shown"]).submitted_by == "", "the administrator has no user name"


def test_an_estimate_is_formatted_with_units(owner_session, recording_service, monkeypatch):
    estimate_values = {
        "seconds_per_step": 0.05,
        "seconds_per_evaluation": 1.0,
        "parameters": 12_345,
        "seconds_per_1000_steps": 60.0,
        "seconds_to_start": 4.0,
        "seconds_to_finalize": 300.0,
        "seconds_in_all": 7200.0,
        "memory_gb": 0.5,
        "gpu_memory_gb": None,
        "disk_gb": 0.25,
        "save_gb": 0.001,
        "device": "2 cores",
    }
    monkeypatch.setattr("training.jobs.scheduler.run_estimate", lambda *_, **__: estimate_values)
    estimate = next(fn for fn in owner_session.blocks.fns.values() if get_handler_name(fn) == "NewRunForm._estimate")
    text = owner_session.call_queued(estimate)["output"]["data"][0]
    assert "of which 4 s to start and 5 min to finalize" in str(text)
    assert "12,345" in str(text) and "2 h" in str(text) and "0.5 GB" in str(text)
    rejection = owner_session.call_queued(estimate, run_settings={"changes": {"train.steps": 0}})
    assert not rejection["success"] and "train.steps" in rejection["output"]["error"]


def test_a_missing_or_invalid_hub_checkpoint_gets_an_error_message(owner_session, hub):
    assert "bob/parity" in owner_session.get_button_error("hub-source", hub_source="bob/parity")
    assert "namespace/name" in owner_session.get_button_error("hub-source", hub_source="../x")


@pytest.mark.slow
def test_a_real_run_is_started_stopped_resumed_killed_and_deleted(tmp_path, checkpoints_dir):
    """All actions go through the endpoints of the page, with real processes."""
    service = make_training_service(tmp_path, checkpoints_dir, start_jobs=True)
    access = make_access("token", {})
    blocks = build_page(service, access)
    scheduler: JobScheduler = service.scheduler
    try:
        with serve_page(service, access, blocks) as address:
            session = GradioSession(address, blocks, {ADMIN_TOKEN_HEADER: ADMIN_TOKEN})
            session.load_tabs()
            run_id = session.press_button("start", source="endless")[0]["shown"]
            wait_until(lambda: service.run_views.get_run_view(run_id)["step"] > 0)
            session.press_button("stop", run_id)
            wait_until(lambda: list_jobs(service)[run_id] == "cancelled")
            saved = service.run_views.get_run_view(run_id)["saved"][-1]
            session.press_button("resume", run_id)
            wait_until(
                lambda: (
                    list_jobs(service)[run_id] == "running" and service.run_views.get_run_view(run_id)["step"] > saved
                )
            )
            assert "stop it first" in (session.press_button("delete", run_id) and session.get_button_error("confirm"))
            session.press_button("kill", run_id)
            session.press_button("confirm")
            wait_until(lambda: list_jobs(service)[run_id] == "cancelled")
            assert service.run_views.get_run_view(run_id)["sentence"].startswith(
                "Killed."
            ) and service.run_views.get_run_view(run_id)["saved"] == [saved]
            session.press_button("delete", run_id)
            session.press_button("confirm")
            assert list_jobs(service) == {} and not (scheduler.runs_dir / run_id).exists()
    finally:
        stop_scheduler(scheduler)
