"""Checkpoints that a command line names: opened with their task, written anew in place or elsewhere."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ctm.checkpoint import Checkpoint, check_can_overwrite, load
from ctm.io.atomic import get_temp_path
from ctm.stores import HUB_PREFIX, resolve_checkpoint_dir
from training.tasks import Task, task_of


def takes_checkpoint(command: argparse.ArgumentParser) -> None:
    """What every command says of a checkpoint that it opens and writes anew."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="its folder, or hub:namespace/name")
    command.add_argument("--out", type=Path, help="where the new checkpoint goes (default: in place)")
    command.add_argument("--files", help="where this machine keeps the task's data, for pictures of local files")


def opened(args: argparse.Namespace) -> tuple[Checkpoint, Task]:
    """The checkpoint that a command names, and its task."""
    checkpoint = load(resolve_checkpoint_dir(args.checkpoint)[0])
    told = checkpoint.task
    if args.files:
        told = told | {"settings": told.get("settings", {}) | {"files": args.files}}
    return checkpoint, task_of(told, checkpoint.model.config.to_dict())


def goes_to(args: argparse.Namespace) -> Path:
    """Where a command writes the checkpoint that it made of another."""
    if args.out is None and args.checkpoint.startswith(HUB_PREFIX):
        raise ValueError("A checkpoint of the Hub stays as it is there: say where the new one goes, with --out FOLDER.")
    return writable(Path(args.checkpoint) if args.out is None else args.out)


def writable(folder: Path) -> Path:
    """A place for a checkpoint, tried before any work is done for it.

    Raises:
        ValueError: it holds something else, or cannot be written.
    """
    whole = folder.resolve()
    check_can_overwrite(whole)
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        draft = get_temp_path(whole)
        draft.mkdir()
        draft.rmdir()
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}): name another folder with --out.") from None
    return folder


def between(least: float | int, most: float | int, kind: type = float) -> Callable[[str], float | int]:
    """How an argument is read that is a number with bounds."""

    def read(text: str) -> float | int:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            a_number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {a_number} from {least:,} to {most:,}: got {text!r}")
        return value

    return read
