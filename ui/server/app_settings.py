"""Settings of the app from environment variables, validated once with one sentence per error.

This module imports nothing that loads slowly, because it runs before the server listens.
"""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APP_VARIABLES = ("CTM_HOME", "CTM_CHECKPOINTS", "CTM_MODELS", "CTM_ADMIN_TOKEN", "CTM_RESUME", "CTM_BATCH")
TEST_VARIABLES = ("CTM_REQUIRE_BROWSER",)  # read by the tests
DEFAULT_HUB_MODELS = "SakanaAI/ctm-imagenet SakanaAI/ctm-maze-large"  # published by the authors of the paper
BOOLEAN_VALUES = {"": False, "0": False, "1": True}
GRADIO_BOOLEAN_VALUES = BOOLEAN_VALUES | {"false": False, "true": True}
MAX_BATCH_SIZE = 64
CONTAINER_MARKERS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # one of them exists in every container


@dataclass(frozen=True)
class AppSettings:
    """Settings of the app.

    Attributes:
        host: Name or address to listen on (GRADIO_SERVER_NAME).
        port: Port to listen on (GRADIO_SERVER_PORT); None for the first free default port.
        home_dir: Directory whose `runs` contains the run directories (CTM_HOME).
        checkpoints_dir: Directory of the bundled checkpoints (CTM_CHECKPOINTS).
        hub_models: Names of Hub models to list (CTM_MODELS).
        resume_interrupted: Whether interrupted runs resume when the app starts (CTM_RESUME).
        max_batch_size: Maximum number of requests in one batch of a model (CTM_BATCH).
        space_id: Name of the Space as owner/name (SPACE_ID); empty elsewhere.
        has_persistent_storage: Whether `home_dir` survives a restart.
        mcp_server: Whether the API is also offered as tools of the Model Context Protocol (GRADIO_MCP_SERVER).
    """

    host: str
    port: int | None
    home_dir: Path
    checkpoints_dir: Path
    hub_models: tuple[str, ...]
    resume_interrupted: bool
    max_batch_size: int
    space_id: str
    has_persistent_storage: bool
    mcp_server: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], root: Path) -> "AppSettings":
        """Read the settings.

        Args:
            environ: Environment of the process.
            root: Directory of the app.

        Raises:
            ValueError: Variables are invalid. The message has one line for each of them.
        """
        problems: list[str] = []

        def read(name: str, default: str | None, parse: Callable[[str], Any], expected: str) -> Any:
            text = environ.get(name, default)
            if text is None:
                return None
            try:
                return parse(text)
            except (ValueError, KeyError):
                problems.append(f"{name} must be {expected}: got {text[:80]!r}.")
                return None

        space_id = environ.get("SPACE_ID", "")
        home = Path(environ.get("CTM_HOME") or root)
        port_range = "a number from 0, which takes any free port, to 65535"
        settings = cls(
            host=environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
            port=read("GRADIO_SERVER_PORT", None, make_int_parser(0, 2**16 - 1), port_range),
            home_dir=home,
            checkpoints_dir=read(
                "CTM_CHECKPOINTS", str(root / "checkpoints"), parse_existing_dir, "an existing directory"
            ),
            hub_models=tuple(environ.get("CTM_MODELS", DEFAULT_HUB_MODELS).replace(",", " ").split()),
            resume_interrupted=read("CTM_RESUME", "", BOOLEAN_VALUES.__getitem__, "1 or 0"),
            max_batch_size=read(
                "CTM_BATCH", "16", make_int_parser(1, MAX_BATCH_SIZE), f"a number from 1 to {MAX_BATCH_SIZE}"
            ),
            space_id=space_id,
            has_persistent_storage=is_persistent(
                home, in_container=bool(space_id) or any(marker.exists() for marker in CONTAINER_MARKERS)
            ),
            mcp_server=read("GRADIO_MCP_SERVER", "", lambda text: GRADIO_BOOLEAN_VALUES[text.lower()], "true or false"),
        )
        if not can_write(home):
            problems.append(
                f"CTM_HOME is {home}, where this account (uid {os.getuid()}) may not write: mount a writable directory there, "
                "or name another one."
            )
        if problems:
            raise ValueError("\n".join(problems))
        return settings


def describe_unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each CTM_ variable that the app does not know, so that a typo is noticed."""
    sentences = []
    for name in sorted(environ):
        if name.startswith("CTM_") and name not in (*APP_VARIABLES, *TEST_VARIABLES):
            matches = difflib.get_close_matches(name, APP_VARIABLES, n=1)
            sentences.append(
                f"{name} is not a variable of this app" + (f"; did you mean {matches[0]}?" if matches else ".")
            )
    return sentences


def make_int_parser(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a parser of integers in a range. It raises `ValueError` for any other text."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise ValueError
        return int(text)

    return parse


def parse_existing_dir(text: str) -> Path:
    """Return the path of a directory. Raises `ValueError` if it does not exist."""
    if not Path(text).is_dir():
        raise ValueError
    return Path(text)


def can_write(home_dir: Path) -> bool:
    """Return whether run directories can be created there. Creates the directory if it does not exist."""
    try:
        home_dir.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    runs_dir = home_dir / "runs"
    return os.access(runs_dir if runs_dir.exists() else home_dir, os.W_OK | os.X_OK)


def is_persistent(directory: Path, in_container: bool) -> bool:
    """Return whether files there survive a restart. In a container only mounted directories do."""
    mount_point = directory.resolve()
    while not os.path.ismount(mount_point):
        mount_point = mount_point.parent
    return not in_container or mount_point != Path(mount_point.anchor)
