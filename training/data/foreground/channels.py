"""Sizes and colours of images that are searched for a figure."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image

from training.data.foreground.components import Box
from training.data.foreground.morphology import smooth

MAX_SEARCH_PIXELS = 120_000
MAX_CUT_SIDE = 320  # pixels of the longer side
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
MIN_COLOUR_RANGE = 0.12  # of the difference between two channels


def reduce_image(image: Float[np.ndarray, "h w *c"]) -> tuple[Float[np.ndarray, "h2 w2 *c"], float]:
    """Return an image of at most `MAX_SEARCH_PIXELS` pixels, and its scale."""
    height, width = image.shape[:2]
    scale = min(1.0, (MAX_SEARCH_PIXELS / (height * width)) ** 0.5)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    while min(image.shape[0] / shape[0], image.shape[1] / shape[1]) >= 4:
        rows, columns = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        image = (image[0:rows:2, 0:columns:2] + image[1:rows:2, 1:columns:2]) / 2  # faster than a box filter
    return resize_image(image, shape), scale


def resize_image(image: Float[np.ndarray, "h w *c"], shape: tuple[int, int]) -> Float[np.ndarray, "h2 w2 *c"]:
    """Return an image that is resized with a box filter and cleaned: finite values from 0 to 1."""
    if image.shape[:2] != shape:
        channels = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None]
        resized = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(channel, np.float32)).resize(shape[::-1], Image.Resampling.BOX)
            )
            for channel in channels
        ]
        image = np.stack(resized, -1) if image.ndim == 3 else resized[0]
    return np.nan_to_num(image, posinf=1.0).clip(0, 1).astype(np.float32)


def resize_plane(plane: Float[np.ndarray, "h w"], shape: tuple[int, ...]) -> Float[np.ndarray, "h2 w2"]:
    """Return values that are interpolated linearly to another shape."""
    if plane.shape == shape:
        return plane
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def to_grey(image: Float[np.ndarray, "h w *c"], weights: Float[np.ndarray, " c2"]) -> Float[np.ndarray, "h w"]:
    """Return the weighted sum of the channels; a grey image as it is."""
    return image if image.ndim == 2 else np.ascontiguousarray(image @ weights)


def iterate_channels(image: Float[np.ndarray, "h w *c"]) -> Iterator[Float[np.ndarray, "3"]]:
    """Yield the weights of the brightness, and then of single channels if the image has colours."""
    yield LUMINANCE
    if image.ndim == 3:
        differences = [smooth(smooth(image[..., 1] - image[..., channel])) for channel in (0, 2)]
        if max(float(np.ptp(difference)) for difference in differences) > MIN_COLOUR_RANGE:
            yield from np.eye(3, dtype=np.float32)


def cut_image(
    image: Float[np.ndarray, "h w *c"], box: Box, scale: float, weights: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "h2 w2"], Box]:
    """Return a part of the full image in grey, at most `MAX_CUT_SIDE` long, and its box.

    Args:
        image: Full image.
        box: Box in the reduced image.
        scale: Scale of the reduced image.
        weights: Weights of the channels.
    """
    top, left = (int(edge / scale) for edge in box[:2])
    bottom, right = (
        min(int(np.ceil(edge / scale)), length) for edge, length in zip(box[2:], image.shape, strict=False)
    )
    part = image[top:bottom, left:right]
    factor = min(1.0, MAX_CUT_SIDE / max(part.shape[:2])) if scale < 1 else 1.0
    shape = tuple(max(1, round(length * factor)) for length in part.shape[:2])
    return to_grey(resize_image(part, (shape[0], shape[1])), weights), (top, left, bottom, right)


def extend_image(image: Float[np.ndarray, "h w *c"], margin: int) -> Float[np.ndarray, "h2 w2 *c"]:
    """Return an image with a margin of ground: a plane that most pixels of its border lie on."""
    height, width = image.shape[:2]
    row, column = np.mgrid[-margin : height + margin, -margin : width + margin].astype(np.float32)
    basis = np.stack([np.ones_like(row), row / height, column / width], -1)
    inner = slice(margin, -margin), slice(margin, -margin)
    ring = np.ones((height, width), bool)
    ring[1:-1, 1:-1] = False
    channels = []
    for channel in np.moveaxis(image, -1, 0) if image.ndim == 3 else [image]:
        values, terms = channel[ring], basis[inner][ring]
        weights = np.array([np.median(values), 0, 0])
        for _ in range(5):
            residual = np.abs(values - terms @ weights)
            near = residual <= max(0.03, 1.5 * float(np.median(residual)))
            weights, *_ = np.linalg.lstsq(terms[near], values[near], rcond=None)
        extended = (basis @ weights).clip(0, 1).astype(np.float32)
        extended[inner] = channel
        channels.append(extended)
    return np.stack(channels, -1) if image.ndim == 3 else channels[0]
