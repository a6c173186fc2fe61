"""Command `film`."""

import argparse
from pathlib import Path
from typing import Any

from training.cli.options import open_checkpoint
from training.console import write_line
from training.data.image_inputs import read_image_input
from training.film.frames import iterate_frames
from training.film.writer import check_film_path, write_film
from training.pipeline import Pipeline
from training.tasks import Task

MAX_TEXT_FILE_BYTES = 10_000


def add_film_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `film`."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="its directory, or hub:namespace/name")
    command.add_argument(
        "--input", required=True, metavar="TEXT|FILE", help="a text, or the file of a text or a picture"
    )
    command.add_argument(
        "--policy", default="", help="halting policy, e.g. 'energy<-3' (default: the checkpoint's own)"
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="film.gif, film.mp4 or film.webm")
    command.add_argument(
        "--data-files",
        metavar="PATH",
        help="directory or parquet file of the task's images on this computer, for a task of local files",
    )


def run_film(args: argparse.Namespace) -> None:
    """Run a checkpoint on one input and write a film of the unroll.

    Raises:
        ValueError: The checkpoint, the input, the policy or the file is invalid.
    """
    check_film_path(args.out)
    checkpoint, task = open_checkpoint(args)
    name = Path(args.checkpoint).name
    record = Pipeline(checkpoint, task, name).build_record(read_input(task, args.input), args.policy)
    count = write_film(iterate_frames(record, f"{task.title} \N{MIDDLE DOT} {name}"), args.out)
    write_line(f"{record['sentence']}\nWrote {args.out}: {count} frames, {args.out.stat().st_size / 1e6:.1f} MB.")


def read_input(task: Task, value: str) -> Any:
    """Return the input of a task from a word of the command line.

    Args:
        task: The task.
        value: A text or the path of a text file; for a task of images the path of a picture.

    Raises:
        ValueError: The file cannot be read.
    """
    if task.input_type != "text":
        return read_image_input(value).to_array()
    path = Path(value)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long or impossible for a path
        is_file = False
    if not is_file:
        return value
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_TEXT_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"The text file {path} cannot be read ({error.__class__.__name__}): give a UTF-8 text."
        ) from None
