"""Root directory of the project, and the files of a bundled checkpoint."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def find_recipe(metrics: dict[str, Any]) -> Path:
    """Return the recipe that a checkpoint was trained with."""
    return ROOT / next(word for word in metrics["training"]["command"].split() if word.endswith(".yaml"))
