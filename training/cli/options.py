"""Checkpoints that a command line names: opened with their task, written anew in place or elsewhere."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ctm.checkpoint import Checkpoint, check_can_overwrite, load
from ctm.io.atomic import get_temp_path
from ctm.stores import HUB_PREFIX, resolve_checkpoint_dir
from training.tasks import Task, build_task


def add_checkpoint_arguments(command: argparse.ArgumentParser) -> None:
    """What every command says of a checkpoint that it opens and writes anew."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="its folder, or hub:namespace/name")
    command.add_argument("--out", type=Path, help="where the new checkpoint goes (default: in place)")
    command.add_argument("--files", help="where this machine keeps the task's data, for pictures of local files")


def open_checkpoint(args: argparse.Namespace) -> tuple[Checkpoint, Task]:
    """The checkpoint that a command names, and its task."""
    checkpoint = load(resolve_checkpoint_dir(args.checkpoint)[0])
    told = checkpoint.task
    if args.files:
        told = told | {"settings": told.get("settings", {}) | {"files": args.files}}
    return checkpoint, build_task(told, checkpoint.model.config.to_dict())


def resolve_output_dir(args: argparse.Namespace) -> Path:
    """Where a command writes the checkpoint that it made of another."""
    if args.out is None and args.checkpoint.startswith(HUB_PREFIX):
        raise ValueError("A checkpoint of the Hub stays as it is there: say where the new one goes, with --out FOLDER.")
    return check_writable_dir(Path(args.checkpoint) if args.out is None else args.out)


def check_writable_dir(path: Path) -> Path:
    """A place for a checkpoint, tried before any work is done for it.

    Raises:
        ValueError: it holds something else, or cannot be written.
    """
    whole = path.resolve()
    check_can_overwrite(whole)
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        draft = get_temp_path(whole)
        draft.mkdir()
        draft.rmdir()
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): name another folder with --out.") from None
    return path


def bounded_number(
    minimum: float | int, maximum: float | int, number_type: type = float
) -> Callable[[str], float | int]:
    """How an argument is read that is a number with bounds."""

    def read(text: str) -> float | int:
        try:
            value = number_type(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            a_number = "a whole number" if number_type is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {a_number} from {minimum:,} to {maximum:,}: got {text!r}")
        return value

    return read
