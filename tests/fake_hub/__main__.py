"""A hub to try things on by hand: python -m tests.fake_hub --port 7000 --repo alice/digits=checkpoints/digits

Users `alice` and `bob` have the tokens `hf_alice_write`, `hf_alice_read` and `hf_bob_write`, and share the organisation `lab`.
"""

import argparse
import contextlib
import threading
from pathlib import Path

from tests.fake_hub.server import LoopbackHub


def main(arguments: list[str] | None = None) -> None:
    made = argparse.ArgumentParser(prog="python -m tests.fake_hub", description=__doc__.splitlines()[0])
    made.add_argument("--port", type=int, default=0, help="where to listen; any free port unless told")
    made.add_argument(
        "--repo", action="append", default=[], metavar="OWNER/NAME=FOLDER", help="a repository to begin with"
    )
    args = made.parse_args(arguments)
    with LoopbackHub(port=args.port) as hub:
        hub.add_user("alice", "hf_alice_write", orgs={"lab": "admin"})
        hub.add_user("alice", "hf_alice_read", role="read", orgs={"lab": "admin"})
        hub.add_user("bob", "hf_bob_write", orgs={"lab": "write"})
        for text in args.repo:
            id, _, folder = text.partition("=")
            if not Path(folder).is_dir() or id.count("/") != 1:
                made.error(f"--repo {text}: expected OWNER/NAME=FOLDER, and a folder that exists")
            hub.add_repo(id, read_folder(Path(folder)))
        print(hub.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
