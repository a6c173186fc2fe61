"""Directories of the project that the training code reads."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA_DIR = ROOT / "data"
EXAMPLES_DIR = DATA_DIR / "examples"
