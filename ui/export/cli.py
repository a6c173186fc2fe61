"""Command line of the export.

python -m ui.export page CHECKPOINT... --out page.html
python -m ui.export space CHECKPOINT... --out DIR [--repo me/ctm-demo]
"""

import argparse
import uuid
from collections.abc import Sequence
from pathlib import Path

from ctm.io.atomic import write_text
from ctm.stores import HubStore
from ui.export.checkpoint_data import PageCheckpoint, load_page_checkpoint
from ui.export.page_builder import build_page
from ui.export.space_builder import write_space

MAX_CHECKPOINTS = 16


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Arguments; default: those of the process.
    """
    args = build_parser().parse_args(arguments)
    try:
        written = write_export(args)
        url = upload_space(args.out, args.repo, args.private) if args.repo else ""
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    if url:
        print(url)


def upload_space(directory: Path, repo: str, private: bool) -> str:
    """Upload a static Space, and return the address of the commit.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The name is invalid, the token may not write there, or the Space has another SDK.
    """
    message = f"Upload the exported page [{uuid.uuid4().hex[:12]}]"
    return HubStore().publish(directory, repo, message, private, repo_type="space").url


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m ui.export", description="Write checkpoints as a web page that runs them in the browser."
    )
    commands = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    page = commands.add_parser("page", help="one HTML file, which also opens from a disk")
    page.add_argument("--out", type=Path, required=True, metavar="FILE", help="HTML file to write")
    page.add_argument("--space", type=Path, metavar="DIR", help="also write a static Space to this directory")
    space = commands.add_parser("space", help="a static Space: index.html and README.md")
    space.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to write")
    space.add_argument("--repo", default="", metavar="NAMESPACE/NAME", help="also upload it to this Space of the Hub")
    space.add_argument("--private", action="store_true", help="make a new Space private")
    page.set_defaults(repo="")
    for command in (page, space):
        command.add_argument(
            "checkpoints", nargs="+", metavar="CHECKPOINT", help="checkpoint directory, or namespace/name on the Hub"
        )
        command.add_argument(
            "--model-repo",
            default="",
            metavar="NAMESPACE/NAME",
            help="repository of the checkpoint, which the page links",
        )
        command.add_argument("--title", default="", help="title; default: from the task")
        command.add_argument("--task", default="", help="task of checkpoints without task.json")
    return parser


def write_export(args: argparse.Namespace) -> list[Path]:
    """Write what the arguments ask for.

    Args:
        args: Result of the parser.

    Returns:
        The files.

    Raises:
        OSError: A file cannot be written.
        ValueError: A checkpoint cannot be exported. The message is one sentence.
    """
    checkpoints = load_checkpoints(args.checkpoints, args.task, args.model_repo)
    if args.format == "space":
        return write_space(checkpoints, args.out, args.title)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.out, build_page(checkpoints, args.title))
    return [args.out, *(write_space(checkpoints, args.space, args.title) if args.space else [])]


def load_checkpoints(names: Sequence[str], task_name: str = "", model_repo: str = "") -> list[PageCheckpoint]:
    """Load the checkpoints of a page.

    Args:
        names: Directories, or names on the Hub.
        task_name: Name of the task of checkpoints without task.json.
        model_repo: Repository of the checkpoint, if there is only one.

    Raises:
        ValueError: There are too many, or one cannot be exported.
    """
    if len(names) > MAX_CHECKPOINTS:
        raise ValueError(f"A page holds at most {MAX_CHECKPOINTS} checkpoints: got {len(names)}.")
    if model_repo and len(names) > 1:
        raise ValueError(f"--model-repo names the repository of one checkpoint: got {len(names)} checkpoints.")
    return [load_page_checkpoint(name, task_name, model_repo) for name in names]
