"""Tests of reaping zombie processes in the init process of a container."""

import os
import subprocess
import sys
import time

import psutil

from training.jobs.process_group import launch, reap_zombies


def wait_until_zombie(pid: int) -> psutil.Process:
    """Wait until a process is a zombie, and return it."""
    process = psutil.Process(pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    return process


def test_the_init_process_reaps_inherited_zombies(tmp_path):
    code = [sys.executable, "-c", "raise SystemExit(7)"]
    inherited = wait_until_zombie(os.posix_spawn(sys.executable, code, os.environ))
    group, own = launch(code, "test", tmp_path / "log.txt", os.environ)
    wait_until_zombie(group.pid)
    reap_zombies()  # has no effect, because this process is not the init process
    assert inherited.is_running()
    reap_zombies(init_pid=os.getpid())
    assert not psutil.pid_exists(inherited.pid)
    assert own.wait() == 7  # its owner still reads the exit code


def test_running_process_is_not_reaped():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        reap_zombies(init_pid=os.getpid())
        assert process.poll() is None
        process.communicate(b"\n")
    assert process.returncode == 0
