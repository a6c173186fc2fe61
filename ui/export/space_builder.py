"""A static Space: the exported page as index.html, and a README.md with the settings that the Hub reads."""

from collections.abc import Sequence
from pathlib import Path

from ctm.io.atomic import write_text
from ctm.io.yaml import format_yaml
from ui.export.checkpoint_data import PageCheckpoint
from ui.export.page_builder import build_page, get_default_title

INDEX_NAME, README_NAME = "index.html", "README.md"
MAX_DESCRIPTION_CHARS = 60  # limit of the Hub
SHORT_DESCRIPTION = "A model that thinks tick by tick, in your browser"


def write_space(checkpoints: Sequence[PageCheckpoint], directory: Path, title: str = "") -> list[Path]:
    """Write a static Space.

    Args:
        checkpoints: Its checkpoints.
        directory: Directory to write; other files in it stay.
        title: Title of the Space; see `build_page`.

    Returns:
        The files.

    Raises:
        OSError: The directory cannot be written.
        ValueError: See `build_page`.
    """
    page = build_page(checkpoints, title)
    directory.mkdir(parents=True, exist_ok=True)
    files = {directory / INDEX_NAME: page, directory / README_NAME: build_readme(checkpoints, title)}
    for path, content in files.items():
        write_text(path, content)
    return list(files)


def build_readme(checkpoints: Sequence[PageCheckpoint], title: str = "") -> str:
    """Return README.md: settings of the Space, then one line for each checkpoint."""
    heading = title or get_default_title(checkpoints)
    licenses = {checkpoint.license for checkpoint in checkpoints}
    repos = [checkpoint.repo for checkpoint in checkpoints if checkpoint.repo]
    settings = {
        "title": heading,
        "emoji": "🧠",
        "colorFrom": "yellow",
        "colorTo": "red",
        "sdk": "static",
        "app_file": INDEX_NAME,
        "pinned": False,
        "short_description": SHORT_DESCRIPTION,
        **({"license": licenses.pop()} if len(licenses) == 1 and "" not in licenses else {}),
        **({"models": repos} if repos else {}),
        "tags": ["continuous-thought-machine", "adaptive-computation"],
    }
    front_matter = format_yaml(settings)
    lines = [f"- {checkpoint.name}: {checkpoint.summary}" for checkpoint in checkpoints]
    return (
        f"---\n{front_matter}---\n\n# {heading}\n\nThe models run in the browser of the visitor: `index.html` holds them, and "
        "there is no server.\n\n" + "\n".join(lines) + "\n"
    )
