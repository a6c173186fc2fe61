"""The Train tab's endpoints, called by the administrator, who can do everything and is told what is wrong."""

import io
import zipfile
from collections.abc import Iterator

import pytest

from tests.training.jobs.conftest import end, until
from tests.ui.gradio_session import Visitor, access_of, name_of, tab, triggered
from tests.ui.run_fixtures import SECRET, built, served, trainings_in
from training.jobs.scheduler import JobScheduler
from ui.auth.authenticators import ADMIN_TOKEN_HEADER
from ui.services.training_service import TrainingService

__all__ = ["tab"]


@pytest.fixture
def owner(tab) -> Iterator[Visitor]:
    """The administrator, before a tab in which nothing moves by itself."""
    access = access_of("token", {})
    blocks = built(tab, access)
    with served(tab, access, blocks) as address:
        visitor = Visitor(address, blocks, {ADMIN_TOKEN_HEADER: SECRET})
        visitor.prepare()
        yield visitor


def jobs_of(tab: TrainingService) -> dict[str, str]:
    return {job.id: job.state for job in tab.scheduler.store.list_jobs()}


def test_the_owner_takes_a_run_out_of_the_line_and_puts_it_back(owner, tab):
    owner.pressed("stop", "waiting-1")
    assert jobs_of(tab)["waiting-1"] == "cancelled"
    owner.pressed("resume", "waiting-1")
    assert jobs_of(tab)["waiting-1"] == "queued"
    assert "finished; begin a new one" in owner.refused("resume", "done-1")
    assert "over already" in owner.refused("stop", "done-1")


def test_a_run_is_deleted_only_after_the_question(owner, tab):
    assert "Nothing was asked" in owner.refused("yes")
    _, question, row = owner.pressed("delete", "done-1")
    assert "done-1" in str(question) and "all its checkpoints" in str(question) and row["visible"]
    assert (tab.scheduler.runs_dir / "done-1").is_dir()
    assert owner.direct(triggered(owner.blocks, "no")).json()["data"][0]["visible"] is False
    assert (tab.scheduler.runs_dir / "done-1").is_dir()
    owner.pressed("delete", "done-1")
    owner.pressed("yes")
    assert not (tab.scheduler.runs_dir / "done-1").exists() and "done-1" not in jobs_of(tab)
    assert "no run called" in owner.refused("yes"), "asked once, answered once"


def test_a_run_that_vanishes_while_it_is_looked_at_is_no_error(owner, tab, monkeypatch):
    """Another page has deleted it between two looks at the book."""
    show = next(fn for fn in owner.blocks.fns.values() if name_of(fn) == "Watch.show")
    listed = tab.run_views.list_run_choices()
    monkeypatch.setattr(tab.run_views, "list_run_choices", lambda: listed)
    tab.scheduler.store.remove("done-1")
    assert owner.direct(show, "done-1").status_code == 200
    monkeypatch.undo()
    for odd in ("done-1", "../x", ["done-1"], {"a": 1}, 7, None):  # also for a session that the server knows nothing of
        assert Visitor(str(owner.http.base_url), owner.blocks).direct(show, run=odd).status_code == 200
        assert "no run called" in owner.refused("stop", run=odd)


def test_what_was_asked_of_one_run_is_not_done_to_another(owner, tab):
    owner.pressed("delete", "done-1")
    owner.pressed("yes", "stopped-1")
    assert "done-1" not in jobs_of(tab) and "stopped-1" in jobs_of(tab)


def test_a_run_is_packed_and_downloaded(owner, tab):
    (button,) = owner.pressed("pack", "done-1")
    assert button["visible"]
    answer = owner.http.get(button["value"]["url"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"done-1/config.yaml", "done-1/checkpoint/model.safetensors"} <= set(packed.namelist())
    assert button["value"]["orig_name"] == "done-1.zip"


def test_a_wrong_repository_gets_a_sentence(owner, tab, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    for repo, says in {
        "": "Name the repository",
        "alice": "namespace/name",
        "../../x": "namespace/name",
        "bob/theirs": "bob/theirs",
    }.items():
        said = owner.refused("publish", "stopped-1", repo=repo)
        assert says in said and "\n" not in said and "Traceback" not in said
    assert tab.run_views.get_run_view("stopped-1")["published"] == ""


def test_a_run_is_published_from_the_page(owner, tab, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    owner.pressed("publish", "stopped-1", repo="alice/new")
    assert tab.run_views.get_run_view("stopped-1")["published"].startswith("Waiting to be sent to alice/new")


WRONG_FORMS = [
    ({"set_train_steps": 0}, "train.steps"),
    ({"set_train_steps": "many"}, "train.steps"),
    ({"set_train_steps": None}, "train.steps"),
    ({"set_train_steps": True}, "train.steps"),
    ({"set_optim_lr": 7}, "optim.lr"),
    ({"set_model_heads": 7}, "multiple of heads"),
    ({"set_loss_trunk": "x"}, "loss.trunk"),
    ({"set_loss_trunk": ["mean"]}, "loss.trunk"),
    ({"set_model_backbone_type": "/etc"}, "backbone_type"),
    ({"run_name": "../x"}, "small letters"),
    ({"run_name": "A B"}, "small letters"),
    ({"start_repo": "nowhere"}, "namespace/name"),
    ({"source": "../tiny"}, "not in the list"),
    ({"place": "a100"}, "not in the list"),
    ({"beginning": "/etc"}, "not in the list"),
    ({"beginning": "hub:../../x"}, "not in the list"),
]


def test_a_wrong_form_gets_a_sentence_and_begins_nothing(owner, tab):
    before = jobs_of(tab)
    for given, says in WRONG_FORMS:
        said = owner.refused("start", **given)
        assert says in said and "\n" not in said and "Traceback" not in said, given
    assert jobs_of(tab) == before


def test_a_form_begins_a_run_with_just_its_settings(owner, tab):
    run, rooms = owner.pressed("start", run_name="from-the-page", set_train_steps=33, set_parity_task_length=7)
    assert run["value"].startswith("from-the-page-") and rooms["selected"] == "watch"
    config = tab.scheduler.get_run_dir(run["value"]).config()
    assert (config.train.steps, config.task["length"]) == (33, 7)
    assert tab.scheduler.store.get(run["value"]).by == "", "who knows the token has no name"


def test_an_estimate_is_told_as_people_read_it(owner, tab, monkeypatch):
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
    monkeypatch.setattr("ui.services.training_service.measure", lambda *_: found)
    estimate = next(fn for fn in owner.blocks.fns.values() if name_of(fn) == "Form._estimate")
    said = owner.queued(estimate)["output"]["data"][0]
    assert "12,345" in str(said) and "2 h" in str(said) and "0.5 GB" in str(said)
    refused = owner.queued(estimate, set_train_steps=0)
    assert not refused["success"] and "train.steps" in refused["output"]["error"]


def test_a_checkpoint_of_the_hub_fills_the_form(owner, hub):
    assert "bob/parity" in owner.refused("from-hub", from_hub="bob/parity")
    assert "namespace/name" in owner.refused("from-hub", from_hub="../x")


@pytest.mark.slow
def test_a_real_run_is_begun_stopped_gone_on_with_killed_and_deleted(tmp_path, checkpoints):
    """All of it through the page's endpoints, with processes."""
    trainings = trainings_in(tmp_path, checkpoints, starts=True)
    access = access_of("token", {})
    blocks = built(trainings, access)
    runner: JobScheduler = trainings.scheduler
    try:
        with served(trainings, access, blocks) as address:
            owner = Visitor(address, blocks, {ADMIN_TOKEN_HEADER: SECRET})
            owner.prepare()
            id = owner.pressed("start", source="endless")[0]["value"]
            until(lambda: trainings.run_views.get_run_view(id)["step"] > 0)
            owner.pressed("stop", id)
            until(lambda: jobs_of(trainings)[id] == "cancelled")
            saved = trainings.run_views.get_run_view(id)["saved"][-1]
            owner.pressed("resume", id)
            until(lambda: jobs_of(trainings)[id] == "running" and trainings.run_views.get_run_view(id)["step"] > saved)
            assert "stop it first" in (owner.pressed("delete", id) and owner.refused("yes"))
            owner.pressed("kill", id)
            owner.pressed("yes")
            until(lambda: jobs_of(trainings)[id] == "cancelled")
            assert trainings.run_views.get_run_view(id)["sentence"].startswith(
                "Killed."
            ) and trainings.run_views.get_run_view(id)["saved"] == [saved]
            owner.pressed("delete", id)
            owner.pressed("yes")
            assert jobs_of(trainings) == {} and not (runner.runs_dir / id).exists()
    finally:
        end(runner)
