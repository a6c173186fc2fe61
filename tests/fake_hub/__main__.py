"""Start a fake Hub by hand: python -m tests.fake_hub --port 7000 --repo alice/digits=checkpoints/digits

Users `alice` and `bob` have the tokens `hf_alice_write`, `hf_alice_read` and `hf_bob_write`, and share the organisation `lab`.
"""

import argparse
import contextlib
import threading
from pathlib import Path

from tests.fake_hub.server import LoopbackHub


def main(arguments: list[str] | None = None) -> None:
    """Run the command until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_hub", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="where to listen; default: any free port")
    parser.add_argument(
        "--repo",
        action="append",
        default=[],
        metavar="OWNER/NAME=DIRECTORY",
        help="initial repository; may be repeated",
    )
    args = parser.parse_args(arguments)
    with LoopbackHub(port=args.port) as hub:
        hub.add_user("alice", "hf_alice_write", orgs={"lab": "admin"})
        hub.add_user("alice", "hf_alice_read", role="read", orgs={"lab": "admin"})
        hub.add_user("bob", "hf_bob_write", orgs={"lab": "write"})
        for text in args.repo:
            repo_id, _, directory = text.partition("=")
            if not Path(directory).is_dir() or repo_id.count("/") != 1:
                parser.error(f"--repo {text}: expected OWNER/NAME=DIRECTORY, and an existing directory")
            hub.add_repo(repo_id, read_directory(Path(directory)))
        print(hub.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def read_directory(directory: Path) -> dict[str, bytes]:
    """Return path and content of every file below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


if __name__ == "__main__":
    main()
