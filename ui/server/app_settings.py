"""What the environment says: read once, and said in one sentence where it is wrong. Nothing that loads slowly is imported."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APP_VARIABLES = ("CTM_HOME", "CTM_CHECKPOINTS", "CTM_MODELS", "CTM_ADMIN_TOKEN", "CTM_RESUME", "CTM_BATCH")
TEST_VARIABLES = ("CTM_REQUIRE_BROWSER",)  # of tests
DEFAULT_HUB_MODELS = "SakanaAI/ctm-imagenet SakanaAI/ctm-maze-large"  # by the authors of the paper
BOOLEAN_VALUES = {"": False, "0": False, "1": True}
MAX_BATCH_SIZE = 64  # thoughts
CONTAINER_MARKERS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # one of them lies in every container


@dataclass(frozen=True)
class AppSettings:
    """Settings of the app."""

    host: str  # GRADIO_SERVER_NAME: to listen on
    port: int | None  # GRADIO_SERVER_PORT; None for the first free one of the usual ports
    home_dir: Path  # CTM_HOME: its `runs` holds the runs
    checkpoints_dir: Path  # CTM_CHECKPOINTS: folder of bundled checkpoints
    hub_models: tuple[str, ...]  # CTM_MODELS: of the Hub, to list
    resume_interrupted: bool  # CTM_RESUME: whether runs that the app's end interrupted go on by themselves
    max_batch_size: int  # CTM_BATCH: most thoughts that one checkpoint thinks at once
    space_id: str  # SPACE_ID: owner/name; empty elsewhere
    has_persistent_storage: bool  # whether what is in `home` outlives a restart

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], root: Path) -> "AppSettings":
        """Settings from variables.

        Args:
            variables: of the process.
            root: the app's own folder.

        Raises:
            ValueError: one line for each that is wrong.
        """
        problems: list[str] = []

        def told(name: str, usual: str | None, parse: Callable[[str], Any], remedy: str) -> Any:
            text = environ.get(name, usual)
            try:
                return None if text is None else parse(text)
            except (ValueError, KeyError):
                problems.append(f"{name} must be {remedy}: got {text[:80]!r}.")

        space = environ.get("SPACE_ID", "")
        home = Path(environ.get("CTM_HOME") or root)
        any_free = "a number from 0, which takes any free port, to 65535"
        settings = cls(
            host=environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
            port=told("GRADIO_SERVER_PORT", None, make_int_parser(0, 2**16 - 1), any_free),
            home_dir=home,
            checkpoints_dir=told(
                "CTM_CHECKPOINTS", str(root / "checkpoints"), parse_existing_dir, "a folder of checkpoints"
            ),
            hub_models=tuple(environ.get("CTM_MODELS", DEFAULT_HUB_MODELS).replace(",", " ").split()),
            resume_interrupted=told("CTM_RESUME", "", BOOLEAN_VALUES.__getitem__, "1 or 0"),
            max_batch_size=told(
                "CTM_BATCH", "16", make_int_parser(1, MAX_BATCH_SIZE), f"a number from 1 to {MAX_BATCH_SIZE}"
            ),
            space_id=space,
            has_persistent_storage=is_persistent(
                home, in_container=bool(space) or any(sign.exists() for sign in CONTAINER_MARKERS)
            ),
        )
        if not can_write(home):
            problems.append(
                f"CTM_HOME is {home}, where this account (number {os.getuid()}) may not write: mount a folder there that it "
                "may write to, or name another."
            )
        if problems:
            raise ValueError("\n".join(problems))
        return settings


def describe_unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none, so that a slip of the keyboard is seen."""
    said = []
    for name in sorted(environ):
        if name.startswith("CTM_") and name not in (*APP_VARIABLES, *TEST_VARIABLES):
            near = difflib.get_close_matches(name, APP_VARIABLES, n=1)
            said.append(f"{name} is no variable of this app" + (f"; did you mean {near[0]}?" if near else "."))
    return said


def make_int_parser(minimum: int, maximum: int) -> Callable[[str], int]:
    """Reads a whole number; `ValueError` for any other text."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise ValueError
        return int(text)

    return read


def parse_existing_dir(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError
    return Path(text)


def can_write(home_dir: Path) -> bool:
    """Whether runs can be put there; the folder is made if need be."""
    try:
        home_dir.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    runs = home_dir / "runs"
    return os.access(runs if runs.exists() else home_dir, os.W_OK | os.X_OK)


def is_persistent(directory: Path, in_container: bool) -> bool:
    """Whether what is put there outlives a restart: in a container only what is mounted does."""
    place = directory.resolve()
    while not os.path.ismount(place):
        place = place.parent
    return not in_container or place != Path(place.anchor)
