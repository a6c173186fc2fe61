"""Arguments and checks that several commands share."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ctm.checkpoint import Checkpoint, check_can_overwrite, load
from ctm.io.atomic import get_temp_path
from ctm.stores import HUB_PREFIX, resolve_checkpoint_dir
from training.tasks import Task, build_task


def add_checkpoint_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that reads one checkpoint and may write another."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="its directory, or hub:namespace/name")
    command.add_argument("--out", type=Path, help="directory of the new checkpoint (default: in place)")
    command.add_argument(
        "--data-files",
        "--files",
        metavar="PATH",
        help="directory or parquet file of the task's images on this computer, for a task of local files",
    )


def open_checkpoint(args: argparse.Namespace) -> tuple[Checkpoint, Task]:
    """Load the checkpoint that a command names, and build its task.

    Raises:
        ValueError: The checkpoint does not exist, cannot be read, or fits no task.
    """
    checkpoint = load(resolve_checkpoint_dir(args.checkpoint)[0])
    metadata = checkpoint.task
    if args.data_files:
        metadata = metadata | {"settings": metadata.get("settings", {}) | {"data_files": args.data_files}}
    return checkpoint, build_task(metadata, checkpoint.model.config.to_dict())


def resolve_output_dir(args: argparse.Namespace) -> Path:
    """Return the directory that a command writes its checkpoint to.

    Raises:
        ValueError: The checkpoint is on the Hub and --out is missing, or the directory cannot be written.
    """
    if args.out is None and args.checkpoint.startswith(HUB_PREFIX):
        raise ValueError(
            "A checkpoint on the Hub cannot be changed in place: set the directory of the new one with --out DIRECTORY."
        )
    return check_writable_dir(Path(args.checkpoint) if args.out is None else args.out)


def check_writable_dir(path: Path) -> Path:
    """Check that a checkpoint can be written to a path, before any work is done for it.

    Creates the parent directory.

    Returns:
        The same path.

    Raises:
        ValueError: The path holds something else, or cannot be written.
    """
    resolved = path.resolve()
    check_can_overwrite(resolved)
    try:
        resolved.parent.mkdir(parents=True, exist_ok=True)
        temp_dir = get_temp_path(resolved)
        temp_dir.mkdir()
        temp_dir.rmdir()
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): name another directory with --out.") from None
    return path


def bounded_number(
    minimum: float | int, maximum: float | int, number_type: type = float
) -> Callable[[str], float | int]:
    """Build an argparse type for a number within bounds, both included.

    Args:
        minimum: Smallest value.
        maximum: Largest value.
        number_type: `int` or `float`.
    """

    def parse_number(text: str) -> float | int:
        try:
            value = number_type(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            noun = "a whole number" if number_type is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {noun} from {minimum:,} to {maximum:,}: got {text!r}")
        return value

    return parse_number
