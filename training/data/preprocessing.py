"""Prepare images for the model: resize, crop, and isolate an object from a plain background."""

import numpy as np
from jaxtyping import Float
from PIL import Image

PILImage = Image.Image


def resize_center_crop(image: PILImage, size: int, crop: int) -> PILImage:
    """Resize so that the shorter side has `size` pixels, and cut out the middle, `crop` x `crop`."""
    short = min(image.size)
    width, height = (int(size * side / short) for side in image.size)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)  # this one blurs before it shrinks
    return resized.crop((left, top, left + crop, top + crop))


def to_grayscale(pixels: np.ndarray) -> np.ndarray:
    """Brightness (h, w) of a picture (h, w, 3); grey pictures (h, w) are taken as they are."""
    return pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def background_level(grey: Float[np.ndarray, "h w"]) -> float:
    """Brightness of the ground: the middle one along the border."""
    return float(np.median(np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))))


def extract_foreground(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """What stands out from the ground, light on black, whether it was darker or lighter."""
    ground = background_level(grey)
    return np.clip(ground - grey if ground > 0.5 else grey - ground, 0, 1)


def crop_to_foreground(foreground: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h2 w2"]:
    """The part of a figure that is brighter than `least`, and all between."""
    rows, columns = (np.flatnonzero((foreground > threshold).any(axis)) for axis in (1, 0))
    return foreground[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit_into_square(foreground: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "s s"]:
    """A figure as large as fits, in the middle of a black square: so the pictures of Fashion-MNIST were made."""
    scale = side / max(foreground.shape)
    size = [max(1, round(length * scale)) for length in foreground.shape[::-1]]
    small = np.asarray(Image.fromarray(foreground).resize(size, Image.Resampling.BILINEAR))
    picture = np.zeros((side, side), np.float32)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture
