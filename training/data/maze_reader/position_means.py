"""Compute means over the positions of a grid in an image, whose bounds may be fractions of pixels."""

import numpy as np

SAMPLED_SHARE = 0.5  # of a strip, in its middle, whose pixels are averaged


def integrate(image: np.ndarray) -> np.ndarray:
    """Return the sums of an image over the rectangles from its first pixel, shape (h + 1, w + 1) or (h + 1, w + 1, c)."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1, *image.shape[2:]))
    np.cumsum(image, 0, dtype=np.float64, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], 1, out=sums[1:, 1:])
    return sums


def compute_means(
    sums: np.ndarray, row_strips: np.ndarray, column_strips: np.ndarray, share: float = SAMPLED_SHARE
) -> np.ndarray:
    """Return the mean over the middle of each position, with fractions of pixels, shape (n, m) or (n, m, c).

    Args:
        sums: Result of `integrate`.
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        share: Share of each strip, in its middle, that counts.
    """
    for strips in (row_strips, column_strips):
        length = len(sums) - 1
        middle, half = strips.mean(1), share * (strips[:, 1] - strips[:, 0]) / 2
        low, high = np.clip(middle - half, 0, length - 0.1), np.clip(middle + half, 0.1, length)
        high = np.maximum(high, low + 0.05)
        difference = interpolate_rows(sums, high) - interpolate_rows(sums, low)
        sums = (difference.T / (high - low)).T.swapaxes(0, 1)
    return sums


def interpolate_rows(sums: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the sums at fractional positions along the first axis."""
    positions = np.clip(positions, 0, len(sums) - 1)
    whole = np.minimum(positions.astype(int), len(sums) - 2)
    part = (positions - whole).reshape(-1, *[1] * (sums.ndim - 1))
    return sums[whole] * (1 - part) + sums[whole + 1] * part
