"""Processes: their ends are not left lying about."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from training.jobs import process_group
from training.jobs.process_group import count_available_cpus, fix_thread_env, launch, reap_zombies


def wait_until_zombie(pid: int) -> psutil.Process:
    """A process that has ended and was not asked for its exit code yet."""
    process = psutil.Process(pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    return process


def test_the_first_process_of_a_container_lets_go_of_what_it_inherited(tmp_path):
    code = [sys.executable, "-c", "raise SystemExit(7)"]
    inherited = wait_until_zombie(os.posix_spawn(sys.executable, code, os.environ))
    group, own = launch(code, "test", tmp_path / "log.txt", os.environ)
    wait_until_zombie(group.pid)
    reap_zombies()  # this process is not the first one
    assert inherited.is_running()
    reap_zombies(init_pid=os.getpid())
    assert not psutil.pid_exists(inherited.pid)
    assert own.wait() == 7  # whoever began it still gets to know


def test_a_running_process_is_not_touched():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        reap_zombies(init_pid=os.getpid())
        assert process.poll() is None
        process.communicate(b"\n")
    assert process.returncode == 0


@pytest.mark.parametrize("told", ["3500m", "", "0", "two", "7"])
def test_nonsense_for_a_number_of_threads_is_mended(told):
    variables = {"OMP_NUM_THREADS": told, "CPU_CORES": "1900m"}
    fix_thread_env(variables)
    assert variables["OMP_NUM_THREADS"] == ("7" if told == "7" else "1")
    assert "MKL_NUM_THREADS" not in variables


@pytest.mark.parametrize("text, granted", [("150000 100000", 1.5), ("max 100000", 0.0), ("", 0.0), ("nonsense", 0.0)])
def test_a_container_gets_the_cpus_of_its_quota(text, granted, tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "CGROUP_CPU_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(text)
    assert process_group.read_cpu_quota() == granted
    assert count_available_cpus({}) == (1 if granted else len(os.sched_getaffinity(0)))
    assert count_available_cpus({"CPU_CORES": "1"}) == 1  # what is told goes before
