"""Command `publish`."""

import argparse
from pathlib import Path

from ctm.stores import HubStore
from ctm.stores.base import is_complete_checkpoint
from training.config import PublishConfig
from training.console import write_line
from training.publishing.outbox import Outbox
from training.publishing.run_publisher import deliver_and_wait, enqueue_checkpoint
from training.run_dir import RunDir


def add_publish_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `publish`."""
    command.add_argument("run_dir", type=Path, metavar="RUN")
    command.add_argument("--repo", help="namespace/name (default: the run's own setting)")
    command.add_argument("--private", action="store_true", help="create the repository as private if it does not exist")


def run_publish(args: argparse.Namespace) -> None:
    """Upload the final checkpoint of a run and wait until the Hub has it.

    Raises:
        ValueError: No repository is named, the run has no final checkpoint, or the upload failed.
    """
    run_dir = RunDir(args.run_dir)
    store = HubStore()
    repo = args.repo or run_dir.load_config().publish.repo
    if not repo:
        raise ValueError("--repo namespace/name is needed: the run's settings name no repository.")
    settings = PublishConfig.parse(
        {"repo": repo, "private": args.private or run_dir.load_config().publish.private}, "publish"
    )
    if not is_complete_checkpoint(run_dir.final_checkpoint_dir):
        raise ValueError(f"{run_dir.path} has no finished checkpoint: python -m training finalize {run_dir.path}")
    store.check_write_access(settings.repo, settings.private)
    outbox = Outbox(run_dir.path)
    entry = enqueue_checkpoint(outbox, run_dir, run_dir.final_checkpoint_dir, settings.repo, settings.private)
    entry = deliver_and_wait(outbox, store, entry, write_line)
    if entry.state != "published":
        raise ValueError(entry.format_status())
    write_line(entry.format_status())
