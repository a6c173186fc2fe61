"""What the environment says: read once, and said in one sentence where it is wrong. Nothing that loads slowly is imported."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = ("CTM_HOME", "CTM_CHECKPOINTS", "CTM_MODELS", "CTM_ADMIN_TOKEN", "CTM_RESUME", "CTM_BATCH")
OTHERS = ("CTM_REQUIRE_BROWSER",)  # of tests
PUBLISHED = "SakanaAI/ctm-imagenet SakanaAI/ctm-maze-large"  # by the authors of the paper
SWITCH = {"": False, "0": False, "1": True}
MOST_TOGETHER = 64  # thoughts
CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # one of them lies in every container


@dataclass(frozen=True)
class Environment:
    """Settings of the app."""

    host: str  # GRADIO_SERVER_NAME: to listen on
    port: int | None  # GRADIO_SERVER_PORT; None for the first free one of the usual ports
    home: Path  # CTM_HOME: its `runs` holds the runs
    checkpoints: Path  # CTM_CHECKPOINTS: folder of bundled checkpoints
    models: tuple[str, ...]  # CTM_MODELS: of the Hub, to list
    resumes: bool  # CTM_RESUME: whether runs that the app's end interrupted go on by themselves
    together: int  # CTM_BATCH: most thoughts that one checkpoint thinks at once
    space: str  # SPACE_ID: owner/name; empty elsewhere
    lasting: bool  # whether what is in `home` outlives a restart

    @classmethod
    def read(cls, variables: Mapping[str, str], root: Path) -> "Environment":
        """Settings from variables.

        Args:
            variables: of the process.
            root: the app's own folder.

        Raises:
            ValueError: one line for each that is wrong.
        """
        problems: list[str] = []

        def told(name: str, usual: str | None, parse: Callable[[str], Any], remedy: str) -> Any:
            text = variables.get(name, usual)
            try:
                return None if text is None else parse(text)
            except (ValueError, KeyError):
                problems.append(f"{name} must be {remedy}: got {text[:80]!r}.")

        space = variables.get("SPACE_ID", "")
        home = Path(variables.get("CTM_HOME") or root)
        any_free = "a number from 0, which takes any free port, to 65535"
        settings = cls(
            host=variables.get("GRADIO_SERVER_NAME", "127.0.0.1"),
            port=told("GRADIO_SERVER_PORT", None, number_within(0, 2**16 - 1), any_free),
            home=home,
            checkpoints=told("CTM_CHECKPOINTS", str(root / "checkpoints"), folder_of, "a folder of checkpoints"),
            models=tuple(variables.get("CTM_MODELS", PUBLISHED).replace(",", " ").split()),
            resumes=told("CTM_RESUME", "", SWITCH.__getitem__, "1 or 0"),
            together=told("CTM_BATCH", "16", number_within(1, MOST_TOGETHER), f"a number from 1 to {MOST_TOGETHER}"),
            space=space,
            lasting=is_lasting(home, in_container=bool(space) or any(sign.exists() for sign in CONTAINERS)),
        )
        if not may_write(home):
            problems.append(
                f"CTM_HOME is {home}, where this account (number {os.getuid()}) may not write: mount a folder there that it "
                "may write to, or name another."
            )
        if problems:
            raise ValueError("\n".join(problems))
        return settings


def unknown_to_us(variables: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none, so that a slip of the keyboard is seen."""
    said = []
    for name in sorted(variables):
        if name.startswith("CTM_") and name not in (*OURS, *OTHERS):
            near = difflib.get_close_matches(name, OURS, n=1)
            said.append(f"{name} is no variable of this app" + (f"; did you mean {near[0]}?" if near else "."))
    return said


def number_within(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number; `ValueError` for any other text."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return read


def folder_of(text: str) -> Path:
    if not Path(text).is_dir():
        raise ValueError
    return Path(text)


def may_write(folder: Path) -> bool:
    """Whether runs can be put there; the folder is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    runs = folder / "runs"
    return os.access(runs if runs.exists() else folder, os.W_OK | os.X_OK)


def is_lasting(folder: Path, in_container: bool) -> bool:
    """Whether what is put there outlives a restart: in a container only what is mounted does."""
    place = folder.resolve()
    while not os.path.ismount(place):
        place = place.parent
    return not in_container or place != Path(place.anchor)
