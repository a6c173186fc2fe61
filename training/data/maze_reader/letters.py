"""Recognise the letter S, for a start, among letters on two positions of a maze."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GLYPH_SIZE = 12
GLYPH_LETTERS = "SEGFAB12"


def normalize_glyph(ink: np.ndarray) -> np.ndarray:
    """Return ink cropped to its extent and scaled to `GLYPH_SIZE` a side, with mean 0 and length 1."""
    is_inked = ink > 0.4 * ink.max()
    if not is_inked.any():
        return np.zeros((GLYPH_SIZE, GLYPH_SIZE))
    rows, columns = np.flatnonzero(is_inked.any(1)), np.flatnonzero(is_inked.any(0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    scaled = np.asarray(
        Image.fromarray(cropped).resize((GLYPH_SIZE, GLYPH_SIZE), Image.Resampling.BILINEAR), np.float64
    )
    scaled = scaled - scaled.mean()
    return scaled / max(float(np.linalg.norm(scaled)), 1e-9)


def compute_likeness(glyph: np.ndarray) -> float:
    """Return how much more a glyph is like an S than like another letter that may stand in a maze."""
    letters = load_letters()
    likeness = {letter: float((glyph * template).sum()) for letter, template in letters.items()}
    return likeness["S"] - max(value for letter, value in likeness.items() if letter != "S")


@cache
def load_letters() -> dict[str, np.ndarray]:
    """Return templates of letters."""
    font = ImageFont.load_default(40)
    letters = {}
    for letter in GLYPH_LETTERS:
        image = Image.new("L", (64, 64))
        ImageDraw.Draw(image).text((32, 32), letter, fill=255, font=font, anchor="mm")
        letters[letter] = normalize_glyph(np.asarray(image, np.float32) / 255)
    return letters
