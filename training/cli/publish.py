"""Command `publish`."""

import argparse
import shlex
from pathlib import Path

from ctm.stores import HubStore
from ctm.stores.base import is_complete_checkpoint
from training.config import PublishConfig
from training.console import write_line
from training.publishing.checkpoint_publisher import build_published_files, get_checkpoint_outbox
from training.publishing.outbox import Outbox, OutboxEntry, get_outboxes
from training.publishing.run_publisher import check_publish_access, deliver_and_wait, enqueue_checkpoint
from training.publishing.static_space import enqueue_static_space
from training.run_dir import RunDir


def add_publish_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `publish`."""
    command.add_argument(
        "path", type=Path, metavar="RUN|CHECKPOINT", help="run directory, or directory of a checkpoint"
    )
    command.add_argument("--repo", help="namespace/name (default: the run's own setting)")
    command.add_argument(
        "--example-images",
        action="store_true",
        help="publish a few held-out images of the data set as example inputs; the data set must permit it",
    )
    command.add_argument(
        "--static-space",
        metavar="NAMESPACE/NAME",
        help="static Space that runs the model of a run in the browser (default: the run's own setting)",
    )
    command.add_argument("--private", action="store_true", help="create the repository as private if it does not exist")


def run_publish(args: argparse.Namespace) -> None:
    """Upload the final checkpoint of a run and its static Space, or a checkpoint directory, and wait until the Hub has them.

    Raises:
        ValueError: No repository is named, there is no checkpoint, or the upload failed.
    """
    store = HubStore()
    run_dir = RunDir(args.path)
    if not run_dir.config_file.is_file() and is_complete_checkpoint(args.path):
        queued = [enqueue_dir(args, store)]
    else:
        queued = enqueue_run(args, store, run_dir)
    entries = [deliver_and_wait(outbox, store, entry, write_line) for outbox, entry in queued]
    for entry in entries:
        if entry.state == "published":
            write_line(entry.format_status())
    if problems := [entry.format_status() for entry in entries if entry.state != "published"]:
        raise ValueError(" ".join(problems))


def enqueue_dir(args: argparse.Namespace, store: HubStore) -> tuple[Outbox, OutboxEntry]:
    """Put a checkpoint directory into its outbox, and return both."""
    if not args.repo:
        raise ValueError("--repo namespace/name is needed: a checkpoint directory names no repository.")
    if args.static_space:
        raise ValueError(
            "--static-space needs a run; for a checkpoint directory use: "
            f"{shlex.join(['python', '-m', 'ui.export', 'space', str(args.path), '--out', 'DIR', '--repo', args.static_space])}"
        )
    settings = PublishConfig.parse({"repo": args.repo, "private": args.private}, "publish")
    files = build_published_files(args.path, settings.repo, example_images=args.example_images)
    store.check_write_access(settings.repo, settings.private)
    outbox = get_checkpoint_outbox(args.path)
    title = f"{args.path.resolve().name}: checkpoint"
    return outbox, outbox.enqueue(args.path, settings.repo, title, settings.private, files)


def enqueue_run(args: argparse.Namespace, store: HubStore, run_dir: RunDir) -> list[tuple[Outbox, OutboxEntry]]:
    """Put the final checkpoint of a run and its static Space, if one is named, into their outboxes. Return all of them."""
    run_settings = run_dir.load_config().publish
    repo = args.repo or run_settings.repo
    if not repo:
        raise ValueError("--repo namespace/name is needed: the run's settings name no repository.")
    static_space = args.static_space or run_settings.static_space
    settings = PublishConfig.parse(
        {"repo": repo, "private": args.private or run_settings.private, "static_space": static_space}, "publish"
    )
    if not is_complete_checkpoint(run_dir.final_checkpoint_dir):
        raise ValueError(f"{run_dir.path} has no finished checkpoint: python -m training finalize {run_dir.path}")
    check_publish_access(store, settings)
    outbox, space_outbox = get_outboxes(run_dir.path)
    checkpoint = run_dir.final_checkpoint_dir
    example_images = args.example_images or run_settings.example_images
    entry = enqueue_checkpoint(
        outbox, run_dir, checkpoint, settings.repo, settings.private, example_images=example_images
    )
    queued = [(outbox, entry)]
    if settings.static_space:
        queued.append((space_outbox, enqueue_static_space(space_outbox, run_dir, settings)))
    return queued
