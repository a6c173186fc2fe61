"""Grey-scale morphology with square windows, in NumPy.

A window of n pixels costs log2(n) passes per axis, so windows of any size take about the same time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

Array = np.ndarray[Any, Any]


def slide(
    values: Shaped[np.ndarray, "h w"], size: int, axis: int, combine: Callable[[Array, Array], Array]
) -> Shaped[np.ndarray, "h2 w2"]:
    """Combine every `size` neighbouring values along an axis.

    Args:
        values: Array that has at least `size` values along the axis.
        size: Length of the window.
        axis: Axis of the window.
        combine: Associative and idempotent function, such as `np.maximum`.

    Returns:
        Array that is shorter by `size - 1` along the axis.
    """
    result, span = np.moveaxis(values, axis, 0), 1
    while span * 2 <= size:
        result = combine(result[:-span], result[span:])
        span *= 2
    if size > span:
        result = combine(result[: span - size], result[size - span :])
    return np.moveaxis(result, 0, axis)


def slide_square(
    values: Shaped[np.ndarray, "h w"], size: int, combine: Callable[[Array, Array], Array]
) -> Shaped[np.ndarray, "h2 w2"]:
    """Combine the values of every square of `size` x `size` pixels."""
    return slide(slide(values, size, 0, combine), size, 1, combine)


def close_image(grey: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "h w"]:
    """Return the morphological closing: dark areas that a square of `size` pixels does not fit into are filled.

    The image is continued beyond its border with its own gradient. The closing therefore keeps linear gradients, also at
    the border, and straight edges.
    """
    inner = [min(size - 1, length - 1) for length in grey.shape]
    padded = np.pad(grey, [(n, n) for n in inner], mode="reflect", reflect_type="odd")
    rest = [size - 1 - n for n in inner]
    padded = np.pad(padded, [(n, n) for n in rest], mode="edge")
    return slide_square(slide_square(padded, size, np.maximum), size, np.minimum)


def smooth(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the image, filtered with the binomial kernel (1, 2, 1) / 4 along both axes."""
    padded = np.pad(grey, 1, mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def compute_local_range(grey: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "h w"]:
    """Return the difference between the largest and the smallest value in a square around every pixel; `size` is odd."""
    padded = np.pad(grey, size // 2, mode="edge")
    return slide_square(padded, size, np.maximum) - slide_square(padded, size, np.minimum)


def dilate(mask: Bool[np.ndarray, "h w"], distance: int) -> Bool[np.ndarray, "h w"]:
    """Return a mask, extended by `distance` pixels in all eight directions."""
    return slide_square(np.pad(mask, distance), 2 * distance + 1, np.logical_or)


def find_outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of a mask that have a neighbour outside it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def measure_thickness(mask: Bool[np.ndarray, "h w"]) -> int:
    """Return the side of the largest square that fits into a mask that is not empty."""
    low, high = 1, min(mask.shape)
    while low < high:
        middle = (low + high + 1) // 2
        if slide_square(mask, middle, np.logical_and).any():
            low = middle
        else:
            high = middle - 1
    return low
