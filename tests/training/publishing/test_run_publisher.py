"""Tests of the publication of runs with the Hub client in training processes: at the end, at intervals, after a kill."""

import base64
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from ctm import ContinuousThoughtMachine
from ctm.checkpoint import Checkpoint, load, save
from ctm.stores import Commit
from tests.command_process import CommandProcess
from tests.fake_hub.fixtures import TOKEN, read_dir_files
from tests.fake_hub.server import LoopbackHub
from training.__main__ import main
from training.config import PublishConfig
from training.publishing.run_publisher import RunPublisher
from training.run_dir import RunDir

RECIPE = {
    "task": {"kind": "parity", "length": 9},
    "model": {
        "iterations": 4,
        "d_model": 16,
        "d_input": 8,
        "heads": 2,
        "n_synch_out": 8,
        "n_synch_action": 8,
        "synapse_depth": 1,
        "memory_length": 3,
        "memory_hidden_dims": 2,
    },
    "train": {
        "steps": 6,
        "batch_size": 8,
        "log_every": 2,
        "eval_every": 3,
        "eval_samples": 30,
        "save_every": 3,
        "device": "cpu",
    },
    "finalize": {"fit_samples": 64, "fit_steps": 5},
}
REPO = "alice/new"
SPACE = "alice/demo"


@pytest.fixture
def hub():
    with LoopbackHub() as hub:
        hub.add_user("alice", TOKEN)
        hub.add_user("alice", "hf_alice_read", role="read")
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    return hub.build_environment(tmp_path / "home", TOKEN, xet=False) | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(params=[pytest.param("http", marks=pytest.mark.slow), "xet"])
def environment_by_protocol(hub, tmp_path, request):
    """Return the environment with and without xet: two upload protocols of the client."""
    return hub.build_environment(tmp_path / "home", TOKEN, xet=request.param == "xet") | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="module")
def finished_run(recipe) -> Path:
    """Train a run that is not published, and return its directory."""
    main(["train", str(recipe), "--run-dir", str(recipe.parent / "run")])
    return recipe.parent / "run"


@pytest.fixture
def run_copy(finished_run, tmp_path) -> Path:
    """Copy the finished run."""
    return shutil.copytree(finished_run, tmp_path / "run")


def start_command(environment, *arguments) -> CommandProcess:
    return CommandProcess(*arguments, environment=environment)


def run_command(environment, *arguments) -> tuple[int, str]:
    return start_command(environment, *arguments).wait(120)


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)


def read_entries(run_path: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(run_path.glob("outbox/[0-9]*/entry.json"))]


def end_backoff(run_path: Path, outbox: str) -> None:
    """Let the next attempt of every entry of an outbox be due at once."""
    for path in run_path.glob(f"{outbox}/[0-9]*/entry.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"next_try": 0.0}))


def list_run_commits(hub) -> list[str]:
    return [commit.title for commit in hub.list_commits(REPO)][:-1]


def test_finished_run_is_published_with_valid_card_metadata(hub, environment_by_protocol, recipe, tmp_path):
    run_path = tmp_path / "run"
    code, output = run_command(environment_by_protocol, "train", recipe, "--run-dir", run_path, f"publish.repo={REPO}")
    assert code == 0, output
    assert f"published to {REPO} as alice" in output and "/commit/" in output and TOKEN not in output
    files = hub.read_files(REPO)
    assert files.keys() == {*read_dir_files(run_path / "checkpoint"), "accuracy.png", "preview.json"}
    assert files["model.safetensors"] == (run_path / "checkpoint" / "model.safetensors").read_bytes()
    assert files["accuracy.png"].startswith(b"\x89PNG")
    assert len(list_run_commits(hub)) == 1
    card = ModelCard(files["README.md"].decode())
    (result, *_) = card.data.eval_results
    metrics = json.loads(files["metrics.json"])["evaluations"][0]
    assert result.metric_value == round(metrics["accuracy_halted"], 4) and result.dataset_split == "test"
    assert f'ctm.pipeline("{REPO}")' in card.text and "bibtex" in card.text and "accuracy.png" in card.text
    assert not any(TOKEN in path.read_text(errors="ignore") for path in run_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("arguments", "variables"), [(["--no-upload"], {}), ([], {"CTM_COURIER": "1"})])
def test_run_with_no_upload_only_fills_its_outbox(hub, environment, recipe, tmp_path, arguments, variables):
    """The app passes --no-upload and delivers the outbox itself; version 0.1.0 sets a variable instead."""
    run_path = tmp_path / "run"
    command = ["train", recipe, "--run-dir", run_path, f"publish.repo={REPO}", *arguments]
    code, output = run_command(environment | variables, *command)
    assert code == 0 and f"Waiting to be sent to {REPO}" in output, output
    (entry,) = read_entries(run_path)
    assert (entry["state"], entry["tries"]) == ("waiting", 0)
    assert not hub.find_requests("/commit/") and not list_run_commits(hub)


def test_token_without_write_access_is_reported_before_the_first_step(hub, environment, recipe, tmp_path):
    run_path = tmp_path / "run"
    code, output = run_command(
        environment | {"HF_TOKEN": "hf_alice_read"}, "train", recipe, "--run-dir", run_path, f"publish.repo={REPO}"
    )
    assert code == 1 and "needs the right to write" in output and "Traceback" not in output
    assert not (run_path / "metrics.jsonl").exists() and "hf_alice_read" not in output


@pytest.mark.parametrize(
    "setting",
    [
        "publish.repo=new",
        "publish.repo=alice/new@main",
        "publish.repo=alice/a:b",
        "publish.interval_minutes=1",
        "publish.static_space=demo",
    ],
)
def test_invalid_publish_settings_are_rejected(recipe, tmp_path, setting):
    with pytest.raises(SystemExit, match=setting.partition("=")[0]):
        main(["train", str(recipe), "--run-dir", str(tmp_path / "run"), setting])
    assert not (tmp_path / "run").exists()


def test_hub_outage_does_not_fail_the_training_and_the_checkpoint_is_published_later(
    hub, environment, recipe, tmp_path
):
    run_path = tmp_path / "run"
    process = start_command(environment, "train", recipe, "--run-dir", run_path, f"publish.repo={REPO}")
    wait_until(lambda: hub.find_requests("auth-check"))
    outage = hub.add_fault("answer", "", status=503, max_count=None)
    wait_until(lambda: read_entries(run_path) and read_entries(run_path)[-1]["problem"])
    assert (run_path / "checkpoint" / "model.safetensors").is_file(), "the training has finished"
    os.kill(process.pid, signal.SIGTERM)
    process.wait(30)
    outage.disable()
    end_backoff(run_path, "outbox")
    code, output = run_command(environment, "publish", run_path, "--repo", REPO)
    assert code == 0 and "Published" in output, output
    assert len(list_run_commits(hub)) == 1 and len(read_entries(run_path)) == 1


def test_run_killed_during_an_upload_is_published_once(hub, environment_by_protocol, run_copy):
    stall = hub.add_fault("stall", "/commit/main", stall_s=60, max_count=None)
    process = start_command(environment_by_protocol, "publish", run_copy, "--repo", REPO)
    wait_until(lambda: stall.num_triggered)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert read_entries(run_copy)[0]["state"] == "sending"
    stall.disable()
    code, output = run_command(environment_by_protocol, "publish", run_copy, "--repo", REPO)
    assert code == 0, output
    assert len(list_run_commits(hub)) == 1
    assert hub.read_files(REPO)["model.safetensors"] == (run_copy / "checkpoint" / "model.safetensors").read_bytes()
    code, output = run_command(environment_by_protocol, "publish", run_copy, "--repo", REPO)
    assert code == 0 and len(list_run_commits(hub)) == 1, "a repeated command publishes nothing"


def test_run_killed_after_the_commit_is_not_published_again(hub, environment, run_copy):
    stall = hub.add_fault(
        "stall", r"/revision/|/api/models/alice/new\?", "GET", skip_count=1, stall_s=60, max_count=None
    )
    process = start_command(environment, "publish", run_copy, "--repo", REPO)
    wait_until(lambda: stall.num_triggered)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert len(list_run_commits(hub)) == 1, "the commit precedes the kill"
    stall.disable()
    code, output = run_command(environment, "publish", run_copy, "--repo", REPO)
    assert code == 0 and len(list_run_commits(hub)) == 1, output


def test_saved_step_is_published_when_the_interval_has_passed(hub, run_copy, tmp_path, monkeypatch):
    """The card of the published step says that the run is still training."""
    now = [0.0]
    run_dir = RunDir(run_copy)
    monkeypatch.setattr("training.publishing.run_publisher.time.monotonic", lambda: now[0])
    cards: list[str] = []

    class FakeStore:
        def publish(self, checkpoint_dir, name, message, private=False, repo_type="model") -> Commit:
            cards.append((checkpoint_dir / "README.md").read_text())
            return Commit("0" * 40, "https://hub/commit/0")

    publisher = RunPublisher(run_dir, PublishConfig(repo=REPO, interval_minutes=10), FakeStore())
    step = run_dir.list_steps()[-1]
    publisher.on_save(step)
    now[0] += 599
    publisher.on_save(step)
    assert publisher.outbox.entries() == [], "the interval has not passed"
    now[0] += 1
    publisher.on_save(step)
    wait_until(lambda: cards, 10)
    assert "## Still training" in cards[0] and "validation samples: accuracy_best" in cards[0]
    publisher.close()


def read_space_entries(run_path: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(run_path.glob("space-outbox/[0-9]*/entry.json"))]


def test_a_static_space_without_a_repository_is_rejected(recipe, tmp_path):
    with pytest.raises(SystemExit, match="static_space needs repo"):
        main(["train", str(recipe), "--run-dir", str(tmp_path / "run"), f"publish.static_space={SPACE}"])


def test_a_run_publishes_its_static_space_with_its_model(hub, environment, recipe, tmp_path):
    run_path = tmp_path / "run"
    settings = (f"publish.repo={REPO}", f"publish.static_space={SPACE}")
    code, output = run_command(environment, "train", recipe, "--run-dir", run_path, *settings)
    assert code == 0 and f"/spaces/{SPACE}/commit/" in output and TOKEN not in output, output
    assert hub.read_files(REPO)["model.safetensors"] == (run_path / "checkpoint" / "model.safetensors").read_bytes()
    files = hub.read_files(SPACE, kind="spaces")
    assert files.keys() == {"index.html", "README.md"}
    assert f"models:\n- {REPO}\n" in files["README.md"].decode() and "sdk: static" in files["README.md"].decode()
    weights = base64.b64encode((run_path / "checkpoint" / "model.safetensors").read_bytes())
    assert weights in files["index.html"] and f"https://huggingface.co/{REPO}".encode() in files["index.html"]
    assert [entry["state"] for entry in read_space_entries(run_path)] == ["published"]
    assert not any(TOKEN in path.read_text(errors="ignore") for path in run_path.rglob("*") if path.is_file())
    code, output = run_command(environment, "publish", run_path)
    assert code == 0 and len(hub.list_commits(SPACE, kind="spaces")) == 2, "a repeated command publishes nothing"


def test_a_static_space_waits_for_the_hub_and_does_not_delay_the_model(hub, environment, run_copy):
    # 425 is a status that huggingface_hub does not repeat by itself, so the test need not wait for it.
    outage = hub.add_fault("answer", f"/api/spaces/{SPACE}/commit", status=425, max_count=None)
    arguments = ("publish", run_copy, "--repo", REPO, "--static-space", SPACE)
    process = start_command(environment, *arguments)
    wait_until(lambda: [entry for entry in read_space_entries(run_copy) if entry["problem"]])
    assert [entry["state"] for entry in read_entries(run_copy)] == ["published"]
    assert read_space_entries(run_copy)[0]["state"] == "waiting"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    outage.disable()
    end_backoff(run_copy, "space-outbox")
    code, output = run_command(environment, *arguments)
    assert code == 0 and len(hub.list_commits(SPACE, kind="spaces")) == 2, output
    assert [entry["state"] for entry in read_space_entries(run_copy)] == ["published"]


def test_a_model_that_no_browser_runs_is_published_without_a_static_space(run_copy, monkeypatch):
    reports: list[str] = []
    message = "x cannot run in a browser: its weights have 21.0 MiB."

    def fail_to_export(*_: object) -> None:
        raise ValueError(message)

    monkeypatch.setattr("training.publishing.static_space.export_static_space", fail_to_export)
    publisher = RunPublisher(RunDir(run_copy), PublishConfig(repo=REPO, static_space=SPACE), None, reports.append)
    publisher.publish_last(run_copy / "checkpoint")
    assert reports == [
        f"The static Space {SPACE} is not published: {message}",
        f"Waiting to be sent to {REPO}.",
    ]


def test_a_space_with_another_sdk_is_not_replaced(hub, environment, recipe, tmp_path):
    hub.add_repo(SPACE, {"README.md": b"---\nsdk: docker\n---\n"}, kind="spaces")
    settings = (f"publish.repo={REPO}", f"publish.static_space={SPACE}")
    code, output = run_command(environment, "train", recipe, "--run-dir", tmp_path / "run", *settings)
    assert code == 1 and f"{SPACE} is a Space with the SDK 'docker', which a static Space would replace" in output
    assert not (tmp_path / "run" / "metrics.jsonl").exists() and len(hub.list_commits(SPACE, kind="spaces")) == 2


def test_publish_without_a_repository_is_rejected(run_copy):
    with pytest.raises(SystemExit, match="--repo namespace/name is needed"):
        main(["publish", str(run_copy)])


def test_run_starts_from_a_published_checkpoint_and_records_its_revision(
    hub, environment, recipe, finished_run, tmp_path
):
    second_run = tmp_path / "second"
    hub.add_repo(REPO, read_dir_files(finished_run / "checkpoint"))
    code, output = run_command(
        environment,
        "train",
        recipe,
        "--run-dir",
        second_run,
        f"init_from=hub:{REPO}",
        "train.steps=1",
        "optim.lr=1e-12",
    )
    assert code == 0, output
    before, after = (load(run_path / "checkpoint").model.state_dict() for run_path in (finished_run, second_run))
    names = [name for name in before if "energy" not in name]
    assert names and all(torch.allclose(before[name], after[name], atol=1e-9) for name in names), (
        "the learning rate is close to zero"
    )
    origin = json.loads((second_run / "checkpoint" / "metrics.json").read_text())["training"]["init_from"]
    assert origin == f"hub:{REPO}@{hub.list_commits(REPO)[0].oid}"


def test_init_from_a_model_of_another_size_is_rejected(recipe, finished_run, tmp_path):
    settings = (f"init_from={finished_run / 'checkpoint'}", "model.d_model=20")
    with pytest.raises(SystemExit, match="init_from does not fit this run's model: `start_activated_state` is"):
        main(["train", str(recipe), "--run-dir", str(tmp_path / "second"), *settings])


def test_missing_init_from_checkpoint_is_rejected_with_a_remedy(recipe, tmp_path):
    with pytest.raises(
        SystemExit, match=r"no checkpoint at \S*gone, which init_from names\. Train that one first, or set init_from"
    ):
        main(["train", str(recipe), "--run-dir", str(tmp_path / "second"), f"init_from={tmp_path / 'gone'}"])


def test_run_adds_an_energy_head_to_a_checkpoint_without_one(recipe, finished_run, tmp_path):
    """A run with an energy head can start from a checkpoint without one."""
    checkpoint = load(finished_run / "checkpoint")
    config = checkpoint.model.config.model_copy(update={"energy_head_enabled": False})
    headless_model = ContinuousThoughtMachine(config)
    headless_model.load_state_dict(
        {name: value for name, value in checkpoint.model.state_dict().items() if name in headless_model.state_dict()}
    )
    save(Checkpoint(headless_model, checkpoint.task), tmp_path / "headless")
    settings = (f"init_from={tmp_path / 'headless'}", "train.steps=1", "optim.lr=1e-12")
    main(["train", str(recipe), "--run-dir", str(tmp_path / "run"), *settings])
    model = load(tmp_path / "run" / "checkpoint").model
    assert model.config.energy_head_enabled and torch.allclose(model.start_trace, headless_model.start_trace, atol=1e-9)
