"""Checkpoints that a command line names: opened with their task, written anew in place or elsewhere."""

import argparse
from pathlib import Path

from ctm.checkpoint import Checkpoint, load
from ctm.stores import HUB, folder_of
from training.tasks import Task, task_of


def takes_checkpoint(command: argparse.ArgumentParser) -> None:
    """What every command says of a checkpoint that it opens and writes anew."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="its folder, or hub:namespace/name")
    command.add_argument("--out", type=Path, help="where the new checkpoint goes (default: in place)")
    command.add_argument("--files", help="where this machine keeps the task's data, for pictures of local files")


def opened(args: argparse.Namespace) -> tuple[Checkpoint, Task]:
    """The checkpoint that a command names, and its task."""
    checkpoint = load(folder_of(args.checkpoint)[0])
    told = checkpoint.task
    if args.files:
        told = told | {"settings": told.get("settings", {}) | {"files": args.files}}
    return checkpoint, task_of(told, checkpoint.machine.config.published())


def goes_to(args: argparse.Namespace) -> Path:
    """Where a command writes the checkpoint that it made of another."""
    if args.out is None and args.checkpoint.startswith(HUB):
        raise ValueError("A checkpoint of the Hub stays as it is there: say where the new one goes, with --out FOLDER.")
    return args.out or Path(args.checkpoint)
