"""Test that file locks exclude other processes and threads, and only warn on a mount without locks."""

import errno
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from ctm.io.locks import file_lock

HOLD_LOCK = """
import sys, time
from pathlib import Path
from ctm.io.locks import file_lock
with file_lock(Path(sys.argv[1])) as acquired:
    print(acquired, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    """Provide the path of a lock file in a directory that does not exist yet."""
    return tmp_path / "run" / "lock"


def test_a_lock_is_held_within_the_context_and_free_after_it(path):
    with file_lock(path) as acquired:
        assert acquired
        with file_lock(path) as acquired_again:
            assert not acquired_again
        with file_lock(path) as acquired_again:
            assert not acquired_again, "a failed attempt does not release the lock of another"
    with file_lock(path) as acquired:
        assert acquired and path.is_file()


def test_an_exception_within_the_context_is_passed_on_and_releases_the_lock(path):
    with pytest.raises(ValueError, match="within"), file_lock(path):
        raise ValueError("within")
    with file_lock(path) as acquired:
        assert acquired


def test_waiting_ends_with_the_release_or_with_the_timeout(path):
    with file_lock(path):
        start = time.monotonic()
        with file_lock(path, timeout_s=0.2) as acquired:
            assert not acquired and 0.2 <= time.monotonic() - start < 5
    is_held = threading.Event()

    def hold() -> None:
        with file_lock(path):
            is_held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(10)
    with file_lock(path) as acquired:
        assert not acquired, "another thread holds it"
    with file_lock(path, timeout_s=10.0) as acquired:
        assert acquired
    thread.join()


def test_another_thread_may_release_the_lock(path):
    context = file_lock(path)
    assert context.__enter__()
    thread = threading.Thread(target=context.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    with file_lock(path) as acquired:
        assert acquired


def test_a_lock_ends_with_a_process_that_is_killed(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "True"
        with file_lock(path) as acquired:
            assert not acquired
        process.kill()
        process.wait()
        with file_lock(path, timeout_s=5.0) as acquired:
            assert acquired
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_mount_without_locks_gives_a_warning_and_the_lock(path, code, monkeypatch, caplog):
    def fail(lock) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "_acquire", fail)
    with caplog.at_level(logging.WARNING), file_lock(path) as acquired:
        assert acquired
    assert [record.getMessage() for record in caplog.records] == [f"{path} cannot be locked ({os.strerror(code)})"]


def test_a_lock_file_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(IsADirectoryError), file_lock(tmp_path / "lock"):
        pass
