"""The JavaScript tasks read any image as the Python tasks do, or reject it with the same sentence."""

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.ui.static.ctm.node_tasks import collect_examples, compare
from training.data.maze import COLOURS
from training.tasks.registry import build_task

NAMES = {"names": ["a", "b"], "channels": 1, "resize": 28, "crop": 28, "mean": [0.3], "std": [0.4]}
METADATA = {
    "digits": {"task": "digits"},
    "images": {"task": "images", "settings": {"resize": 40, "crop": 32}, "labels": ["a", "b"]},
    "images, on black": {"task": "images", "settings": {**NAMES, "background": "dark"}},
    "mazes": {"task": "mazes", "settings": {"expand_range": True, "route": 9}},
}

sides = st.integers(1, 60) | st.sampled_from([1, 7, 8, 28, 130])
levels = st.sampled_from([0, 36, 41, 128, 255]) | st.integers(0, 255)
colours = st.tuples(levels, levels, levels) | levels.map(lambda level: (level,) * 3)


@st.composite
def images(draw) -> np.ndarray:
    """Generate images (h, w, 3), uint8: noise, blocks in the colours of mazes, or rectangles on a plain or shaded ground."""
    height, width = draw(sides), draw(sides)
    kind = draw(st.sampled_from(["noise", "blocks", "rectangles", "rectangles", "shaded"]))
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    if kind == "noise":
        return generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind == "blocks":
        rows, columns, scale = draw(st.integers(5, 11)), draw(st.integers(5, 11)), draw(st.integers(1, 6))
        kinds = generator.choice(len(COLOURS), (rows, columns), p=[0.45, 0.45, 0.04, 0.04, 0.02])
        return (COLOURS[kinds] * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    picture = np.full((height, width, 3), draw(colours), np.float64)
    for _ in range(draw(st.integers(0, 4))):
        row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        picture[row : row + draw(st.integers(1, 25)), column : column + draw(st.integers(1, 25))] = draw(colours)
    if kind == "shaded":
        picture *= np.linspace(1, 0.6, width)[:, None]
        picture += generator.normal(0, 3, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", METADATA)
def test_any_image_is_read_or_rejected_as_in_python(name, tmp_path):
    metadata = METADATA[name]
    settings = (
        {"names": ["a", "b"], **metadata["settings"]} if metadata["task"] == "images" else metadata.get("settings", {})
    )
    task = build_task({"task": metadata["task"], "settings": settings})
    found = collect_examples(images())
    compare({f"image {index}": pixels for index, pixels in enumerate(found)}, metadata, tmp_path, task)
