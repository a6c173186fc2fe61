"""Creation and removal of run directories below one runs directory."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.config import RunConfig
from training.run_dir import RunDir

TRASH_PREFIX = ".trash-"
RUN_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
MAX_RUNS_PER_SECOND = 999
UNLOCK_TIMEOUT_S = 2.0


def create_run_dir(runs_dir: Path, name: str, config: RunConfig, command: str) -> RunDir:
    """Create a run directory with a unique name, the settings and the command.

    Args:
        runs_dir: Parent of the run directories.
        name: Name of the directory: small letters, digits and hyphens. If it is taken, the time is added.
        config: Settings of the run.
        command: Command line that trains the same model by hand.

    Raises:
        ValueError: The name is invalid, or the directory cannot be written.
    """
    if not RUN_NAME_PATTERN.fullmatch(name):
        raise ValueError(f"A run's name is made of small letters, digits and hyphens, 40 at most: got {name[:60]!r}.")
    try:
        run_dir = RunDir(create_named_dir(runs_dir, name))
        with remove_on_error(run_dir.path):
            run_dir.initialize(config)
            run_dir.save_command(command)
    except OSError as error:
        raise ValueError(f"The run cannot be created in {runs_dir}: {error.strerror}. Free some disk space.") from None
    return run_dir


def create_named_dir(parent: Path, name: str) -> Path:
    """Create a directory, with the time after its name if the name is taken.

    Raises:
        ValueError: All names are taken.
        OSError: The directory cannot be created.
    """
    path = parent / name
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return create_unique_dir(parent, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    return path


def create_unique_dir(parent: Path, name: str) -> Path:
    """Create a directory, with a number after its name if the name is taken.

    Raises:
        ValueError: All numbers are taken.
        OSError: The directory cannot be created.
    """
    for number in range(1, MAX_RUNS_PER_SECOND + 1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise ValueError("A thousand runs were created in one second; wait a moment.")


@contextmanager
def remove_on_error(directory: Path) -> Iterator[None]:
    """Remove a directory if the block fails: a partial run would be discovered as an untracked run."""
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def delete_run_dir(path: Path) -> None:
    """Delete a run directory, if it exists. It disappears at once; its content may take longer.

    Raises:
        ValueError: A process trains in it.
        OSError: It cannot be renamed.
    """
    if RunDir(path).is_locked_after_wait(UNLOCK_TIMEOUT_S):
        raise ValueError(f"Another process is training in {path.name}: stop it first.")
    trash = path.with_name(f"{TRASH_PREFIX}{path.name}")
    if path.is_dir():
        path.rename(trash)  # atomic, so that nobody sees a partial directory
    shutil.rmtree(trash, ignore_errors=True)


def delete_trash(runs_dir: Path) -> None:
    """Delete the rest of run directories whose deletion was interrupted."""
    for trash in runs_dir.glob(f"{TRASH_PREFIX}*"):
        shutil.rmtree(trash, ignore_errors=True)
