"""Directories of the project that the app reads."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES_DIR = ROOT / "data" / "examples"
STATIC_DIR = ROOT / "ui" / "static"
