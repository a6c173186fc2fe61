"""Command `layout`."""

import argparse
from pathlib import Path

from ctm.checkpoint.layout import LAYOUT_NAME, write_layout
from training.cli.options import open_checkpoint
from training.console import write_line
from training.neuron_layout import compute_checkpoint_layout


def add_layout_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `layout`."""
    command.add_argument("checkpoints", metavar="CHECKPOINT", nargs="+", help="directory of a checkpoint")
    command.add_argument(
        "--data-files",
        metavar="PATH",
        help="directory or parquet file of the task's images on this computer, for a task of local files",
    )


def run_layout(args: argparse.Namespace) -> None:
    """Compute the layout of each checkpoint from calibration samples, and write it to layout.json.

    Raises:
        ValueError: A checkpoint cannot be read, or has no neurons to lay out.
    """
    for name in args.checkpoints:
        if not Path(name).is_dir():
            raise ValueError(f"There is no checkpoint at {name}.")
        checkpoint, task = open_checkpoint(argparse.Namespace(checkpoint=name, data_files=args.data_files))
        layout = compute_checkpoint_layout(checkpoint.model, task)
        if not layout:
            raise ValueError(f"{name} has no layout: only a CTM with at most 1,024 neurons has one.")
        write_layout(Path(name), layout)
        write_line(f"Wrote the places of {len(layout['order']):,} neurons to {Path(name) / LAYOUT_NAME}.")
