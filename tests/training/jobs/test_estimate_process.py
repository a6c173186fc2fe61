"""Tests of the cost estimate in a child process: plausible values, one-sentence errors, no remaining files or processes."""

import json
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ctm.models.registry import count_parameters
from tests.training.jobs.conftest import build_environment, make_tiny_config, wait_until
from training.config import RunConfig
from training.jobs import estimate_process
from training.jobs.estimate_process import run_estimate
from training.jobs.process_group import list_tagged_processes


@pytest.fixture(autouse=True)
def process_tags(tmp_path, monkeypatch):
    """Record the process tags, and check after the test that no file and no process remains."""
    launch, tags = estimate_process.launch, []
    monkeypatch.setattr(
        estimate_process, "launch", lambda command, tag, *rest: tags.append(tag) or launch(command, tag, *rest)
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield tags
    assert list((tmp_path / "temporary").glob("ctm-*")) == []
    wait_until(lambda: not any(list_tagged_processes(tag) for tag in tags), 5)


def replace_estimate_program(monkeypatch, code: str) -> None:
    """Replace the estimate program by Python code."""
    launch = estimate_process.launch
    monkeypatch.setattr(
        estimate_process, "launch", lambda command, *rest: launch([command[0], "-c", code, *command[4:]], *rest)
    )


def get_error_message(config: RunConfig, **options) -> str:
    with pytest.raises(ValueError) as exc_info:
        run_estimate(config, build_environment(), **options)
    message = str(exc_info.value)
    assert "\n" not in message and "Traceback" not in message and len(message) < 700
    return message


def test_estimate_of_a_tiny_run_is_plausible():
    config = make_tiny_config()
    estimate = run_estimate(config, build_environment(OMP_NUM_THREADS="3500m", CPU_CORES="3500m"))
    task = config.make_task()
    assert estimate["parameters"] == count_parameters(config.build_model_config(task), task.get_spec().in_features)
    step, evaluation = estimate["seconds_per_step"], estimate["seconds_per_evaluation"]
    assert 0 < step < 5 and 0 < evaluation < 5
    assert estimate["seconds_per_1000_steps"] == pytest.approx(1_000 * step + 250 * evaluation)
    start, finalization = estimate["seconds_to_start"], estimate["seconds_to_finalize"]
    assert 0.5 < start < 120 and finalization > 0, "imports alone take longer"
    assert estimate["seconds_in_all"] == pytest.approx(start + 12 * step + 3 * evaluation + finalization)
    assert 0.1 < estimate["memory_gb"] < 8 and estimate["gpu_memory_gb"] is None and estimate["device"] == "CPU"
    weights = 4 * estimate["parameters"] / 2**30
    assert 3 * weights <= estimate["save_gb"] < 6 * weights, "weights, two moments, and buffers"
    assert estimate["disk_gb"] == pytest.approx(3 * estimate["save_gb"]), "the two newest and the best"


def test_estimate_of_an_invalid_run_reports_the_error_of_the_run():
    message = get_error_message(
        make_tiny_config().with_overrides(
            {"model.d_model": 65_536, "model.memory_length": 256, "model.memory_hidden_dims": 4_096}
        )
    )
    assert message.startswith("A few steps were tried, and failed: This config asks for 147.1 billion parameters")


@pytest.mark.slow
def test_batch_larger_than_memory_is_reported_in_one_sentence():
    """The allocation exceeds the memory of any host, so it fails at once and affects no other process."""
    message = get_error_message(
        make_tiny_config().with_overrides(
            {"train.batch_size": 65_536, "model.d_model": 2_048, "model.memory_length": 4_096}
        )
    )
    assert message.startswith("A few steps were tried, and failed: The computer ran out of memory")
    assert "Halve train.batch_size" in message


@pytest.mark.parametrize(
    ("code", "expected_text"),
    [
        ("raise SystemExit('Error: There is no data.')", "failed: There is no data."),
        ("print('one'); raise RuntimeError('no such thing')", "failed: RuntimeError: no such thing"),
        ("raise SystemExit(3)", "failed: it ended with code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed it, most likely for want of memory"),
        ("print('x' * 9_000); raise SystemExit(1)", "failed: xxx"),
        ("print('not JSON')", "failed: the program printed no estimate"),
        ("print('[1]')", "failed: the program printed no estimate"),
    ],
)
def test_failure_of_the_process_is_reported_in_one_sentence(monkeypatch, code, expected_text):
    replace_estimate_program(monkeypatch, code)
    assert expected_text in get_error_message(make_tiny_config())


def test_model_that_cannot_be_built_is_rejected_before_a_process_starts():
    with pytest.raises(ValueError, match="multiple of heads"):
        make_tiny_config().with_overrides({"model.heads": 3})


def test_estimate_that_times_out_is_killed_with_its_children(monkeypatch):
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    replace_estimate_program(monkeypatch, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    start_time = time.monotonic()
    message = get_error_message(make_tiny_config(), timeout_s=1.0)
    assert message == "A few steps take more than 1 seconds here: make the model or the batch smaller."
    assert time.monotonic() - start_time < 10


def test_concurrent_estimate_is_rejected_and_consecutive_estimate_runs(monkeypatch, tmp_path, process_tags):
    replace_estimate_program(
        monkeypatch,
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\nprint('{{}}')",
    )
    estimate: list[dict] = []
    thread = threading.Thread(target=lambda: estimate.append(run_estimate(make_tiny_config(), build_environment())))
    thread.start()
    wait_until(lambda: process_tags and list_tagged_processes(process_tags[0]), 10)
    assert get_error_message(make_tiny_config()) == "Another estimate is being measured; ask again in a moment."
    (tmp_path / "go").touch()
    thread.join(10)
    assert estimate == [{}] and run_estimate(make_tiny_config(), build_environment()) == {}


def test_estimate_process_gets_the_settings_and_no_secrets(monkeypatch, tmp_path):
    code = (
        "import json, os, sys; print(json.dumps({'env': dict(os.environ), 'settings': json.load(open(sys.argv[1]))}))"
    )
    replace_estimate_program(monkeypatch, code)
    secrets = {"HF_TOKEN": "hf_secret", "CTM_ADMIN_TOKEN": "s3cret", "OAUTH_CLIENT_SECRET": "s3cret"}
    estimate = run_estimate(make_tiny_config(), build_environment(OMP_NUM_THREADS="3500m", **secrets))
    assert RunConfig.parse(estimate["settings"]) == make_tiny_config()
    assert estimate["env"]["OMP_NUM_THREADS"].isdigit() and not secrets.keys() & estimate["env"].keys()
    assert Path(estimate["env"]["PATH"].partition(":")[0]) and "s3cret" not in json.dumps(estimate)
