"""Test the endpoints of the Train tab as the administrator, who may call all of them."""

import io
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
        visitor = GradioSession(address, blocks, {ADMIN_TOKEN_HEADER: ADMIN_TOKEN})
        visitor.load_tabs()
        yield visitor


def list_jobs(training_service: TrainingService) -> dict[str, str]:
    return {job.id: job.state for job in training_service.scheduler.store.list_jobs()}


def test_the_owner_removes_a_run_from_the_queue_and_adds_it_again(owner_session, recording_service):
    owner_session.press_button("stop", "waiting-1")
    assert list_jobs(recording_service)["waiting-1"] == "cancelled"
    owner_session.press_button("resume", "waiting-1")
    assert list_jobs(recording_service)["waiting-1"] == "queued"
    assert "finished; begin a new one" in owner_session.get_button_error("resume", "done-1")
    assert "over already" in owner_session.get_button_error("stop", "done-1")


def test_a_run_is_deleted_only_after_the_question(owner_session, recording_service):
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
    assert "no run called" in owner_session.get_button_error("confirm"), "asked once, answered once"


def test_a_run_that_vanishes_while_it_is_looked_at_is_no_error(owner_session, recording_service, monkeypatch):
    """Another page deletes the run between two reads of the job store."""
    show = next(fn for fn in owner_session.blocks.fns.values() if get_handler_name(fn) == "RunMonitor.show")
    listed = recording_service.run_views.list_run_choices()
    monkeypatch.setattr(recording_service.run_views, "list_run_choices", lambda: listed)
    recording_service.scheduler.store.remove("done-1")
    assert owner_session.call_directly(show, "done-1").status_code == 200
    monkeypatch.undo()
    for odd in ("done-1", "../x", ["done-1"], {"a": 1}, 7, None):  # also for a session that the server knows nothing of
        assert (
            GradioSession(str(owner_session.http.base_url), owner_session.blocks)
            .call_directly(show, run_id=odd)
            .status_code
            == 200
        )
        assert "no run called" in owner_session.get_button_error("stop", run_id=odd)


def test_what_was_asked_of_one_run_is_not_done_to_another(owner_session, recording_service):
    owner_session.press_button("delete", "done-1")
    owner_session.press_button("confirm", "stopped-1")
    assert "done-1" not in list_jobs(recording_service) and "stopped-1" in list_jobs(recording_service)


def test_a_run_is_packed_and_downloaded(owner_session, recording_service):
    (button,) = owner_session.press_button("create-archive", "done-1")
    assert button["visible"]
    answer = owner_session.http.get(button["value"]["url"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"done-1/config.yaml", "done-1/checkpoint/model.safetensors"} <= set(packed.namelist())
    assert button["value"]["orig_name"] == "done-1.zip"


def test_a_wrong_repository_gets_a_sentence(owner_session, recording_service, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    for repo, says in {
        "": "Name the repository",
        "alice": "namespace/name",
        "../../x": "namespace/name",
        "bob/theirs": "bob/theirs",
    }.items():
        said = owner_session.get_button_error("publish", "stopped-1", repo=repo)
        assert says in said and "\n" not in said and "Traceback" not in said
    assert recording_service.run_views.get_run_view("stopped-1")["published"] == ""


def test_a_run_is_published_from_the_page(owner_session, recording_service, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    owner_session.press_button("publish", "stopped-1", repo="alice/new")
    assert recording_service.run_views.get_run_view("stopped-1")["published"].startswith(
        "Waiting to be sent to alice/new"
    )


INVALID_FORMS = [
    ({"set_train_steps": 0}, "train.steps"),
    ({"set_train_steps": "many"}, "train.steps"),
    ({"set_train_steps": None}, "train.steps"),
    ({"set_train_steps": True}, "train.steps"),
    ({"set_optim_lr": 7}, "optim.lr"),
    ({"set_model_heads": 7}, "multiple of heads"),
    ({"set_loss_tick_reduction": "x"}, "loss.tick_reduction"),
    ({"set_loss_tick_reduction": ["mean"]}, "loss.tick_reduction"),
    ({"set_model_backbone_type": "/etc"}, "backbone_type"),
    ({"run_name": "../x"}, "small letters"),
    ({"run_name": "A B"}, "small letters"),
    ({"publish_repo": "nowhere"}, "namespace/name"),
    ({"source": "../tiny"}, "not in the list"),
    ({"hardware": "a100"}, "not in the list"),
    ({"initial_weights": "/etc"}, "not in the list"),
    ({"initial_weights": "hub:../../x"}, "not in the list"),
]


def test_a_wrong_form_gets_a_sentence_and_begins_nothing(owner_session, recording_service):
    before = list_jobs(recording_service)
    for given, says in INVALID_FORMS:
        said = owner_session.get_button_error("start", **given)
        assert says in said and "\n" not in said and "Traceback" not in said, given
    assert list_jobs(recording_service) == before


def test_a_form_begins_a_run_with_just_its_settings(owner_session, recording_service):
    run, rooms = owner_session.press_button(
        "start", run_name="from-the-page", set_train_steps=33, set_parity_task_length=7
    )
    assert run["value"].startswith("from-the-page-") and rooms["selected"] == "watch"
    config = recording_service.scheduler.get_run_dir(run["value"]).load_config()
    assert (config.train.steps, config.task["length"]) == (33, 7)
    assert recording_service.scheduler.store.get(run["value"]).submitted_by == "", "who knows the token has no name"


def test_an_estimate_is_formatted_for_people(owner_session, recording_service, monkeypatch):
    found = {
        "parameters": 12_345,
        "seconds_per_1000_steps": 60.0,
        "seconds_in_all": 7200.0,
        "memory_gb": 0.5,
        "gpu_memory_gb": None,
        "disk_gb": 0.25,
        "save_gb": 0.001,
        "device": "2 cores",
    }
    monkeypatch.setattr("training.jobs.scheduler.run_estimate", lambda *_: found)
    estimate = next(fn for fn in owner_session.blocks.fns.values() if get_handler_name(fn) == "NewRunForm._estimate")
    said = owner_session.call_queued(estimate)["output"]["data"][0]
    assert "12,345" in str(said) and "2 h" in str(said) and "0.5 GB" in str(said)
    refused = owner_session.call_queued(estimate, set_train_steps=0)
    assert not refused["success"] and "train.steps" in refused["output"]["error"]


def test_a_checkpoint_of_the_hub_fills_the_form(owner_session, hub):
    assert "bob/parity" in owner_session.get_button_error("hub-source", hub_source="bob/parity")
    assert "namespace/name" in owner_session.get_button_error("hub-source", hub_source="../x")


@pytest.mark.slow
def test_a_real_run_is_begun_stopped_gone_on_with_killed_and_deleted(tmp_path, checkpoints_dir):
    """Everything goes through the endpoints of the page, with real processes."""
    trainings = make_training_service(tmp_path, checkpoints_dir, start_jobs=True)
    access = make_access("token", {})
    blocks = build_page(trainings, access)
    runner: JobScheduler = trainings.scheduler
    try:
        with serve_page(trainings, access, blocks) as address:
            owner = GradioSession(address, blocks, {ADMIN_TOKEN_HEADER: ADMIN_TOKEN})
            owner.load_tabs()
            id = owner.press_button("start", source="endless")[0]["value"]
            wait_until(lambda: trainings.run_views.get_run_view(id)["step"] > 0)
            owner.press_button("stop", id)
            wait_until(lambda: list_jobs(trainings)[id] == "cancelled")
            saved = trainings.run_views.get_run_view(id)["saved"][-1]
            owner.press_button("resume", id)
            wait_until(
                lambda: list_jobs(trainings)[id] == "running" and trainings.run_views.get_run_view(id)["step"] > saved
            )
            assert "stop it first" in (owner.press_button("delete", id) and owner.get_button_error("confirm"))
            owner.press_button("kill", id)
            owner.press_button("confirm")
            wait_until(lambda: list_jobs(trainings)[id] == "cancelled")
            assert trainings.run_views.get_run_view(id)["sentence"].startswith(
                "Killed."
            ) and trainings.run_views.get_run_view(id)["saved"] == [saved]
            owner.press_button("delete", id)
            owner.press_button("confirm")
            assert list_jobs(trainings) == {} and not (runner.runs_dir / id).exists()
    finally:
        stop_scheduler(runner)
