"""Estimate the ground of a figure: a flat level, or a morphological closing that follows shading and shadow edges."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from training.data.foreground.components import label_components
from training.data.foreground.morphology import close_image
from training.data.foreground.ruling import find_ruling

MIN_FLAT_CONTRAST = 0.06  # of the figure, where the ground is flat and without noise
MIN_CONTRAST = 0.07
MIN_THRESHOLD = 0.03
NOISE_THRESHOLD = 5.0  # standard deviations of the noise
NOISE_CONTRAST = 8.0
MODE_TOLERANCE = 2.5  # grey levels of 255
MIN_FLAT_SHARE = 0.25  # of the pixels, in the most frequent level of an image in flat colours
MIN_MODES_SHARE = 0.7  # in its three most frequent levels
MIN_SHARP_MODES_SHARE = 0.5  # the same if there is no noise
MIN_MODE_SHARE = 0.08  # in a level that may be the ground


@dataclass(frozen=True)
class Ground:
    """Estimate of what lies behind the figure.

    Attributes:
        level: Brightness of the ground, shape (h, w), or () if it is flat.
        contrast: Difference of the image from the ground; 0 where it has the wrong sign.
        sign: -1 for a figure that is darker than the ground, 1 for a lighter one.
        threshold: Lowest contrast that is more than noise.
        min_contrast: Lowest contrast of a figure.
    """

    level: np.ndarray
    contrast: Float[np.ndarray, "h w"]
    sign: int
    threshold: float
    min_contrast: float

    @property
    def is_flat(self) -> bool:
        """Return whether the ground is one level."""
        return self.level.ndim == 0


def find_flat_levels(grey: Float[np.ndarray, "h w"]) -> list[float]:
    """Return the levels of an image in flat colours, the most frequent first; [] if it is a photo."""
    counts = np.bincount(np.rint(grey * 255).astype(np.intp).ravel(), minlength=256)
    modes: list[tuple[int, float]] = []
    for _ in range(3):
        mode = int(np.convolve(counts, np.ones(5, int), "same").argmax())
        near = slice(max(mode - 2, 0), mode + 3)
        modes.append((mode, counts[near].sum() / grey.size))
        counts[max(mode - 3, 0) : mode + 4] = 0
    smallest = MIN_MODES_SHARE if estimate_noise(grey) > 0.5 / 255 else MIN_SHARP_MODES_SHARE
    if modes[0][1] < MIN_FLAT_SHARE or sum(share for _, share in modes) < smallest:
        return []
    frequent = [mode for mode, share in modes if share >= MIN_MODE_SHARE]
    return [float(np.median(grey[np.abs(grey * 255 - mode) <= MODE_TOLERANCE])) for mode in frequent]


def estimate_noise(grey: Float[np.ndarray, "h w"]) -> float:
    """Return the standard deviation of the noise, from the differences of neighbouring pixels."""
    return 1.4826 / 2**0.5 * float(np.median(np.abs(np.diff(grey, axis=1)))) if grey.shape[1] > 1 else 0.0


def build_flat_ground(grey: Float[np.ndarray, "h w"], level: float, sign: int) -> Ground:
    """Return a ground of one level."""
    contrast = np.maximum(sign * (grey - level), 0)
    threshold = max(0.05, 0.1 * float(contrast.max()))
    return Ground(np.array(level, np.float32), contrast, sign, threshold, MIN_FLAT_CONTRAST)


def build_local_ground(smoothed: Float[np.ndarray, "h w"], window: int, sign: int, noise: float) -> Ground:
    """Return the closing of an image for dark figures, or its opening for light ones.

    Noise lifts the closing by a constant, which the median of the contrast measures if the figure is small.

    Args:
        smoothed: Image.
        window: Side of the closing, pixels.
        sign: -1 for dark figures, 1 for light ones.
        noise: Standard deviation of the noise before the image was smoothed.
    """
    signed = -sign * smoothed
    closed = close_image(signed, window)
    contrast = closed - signed
    sample = contrast[::2, ::2]
    bias = min(float(np.median(sample)), 2 * noise)
    noise = min(1.4826 * float(np.median(np.abs(sample - bias))), noise + 0.01)
    return Ground(
        -sign * (closed - bias),
        np.maximum(contrast - bias, 0),
        sign,
        max(MIN_THRESHOLD, NOISE_THRESHOLD * noise),
        max(MIN_CONTRAST, NOISE_CONTRAST * noise),
    )


def has_line_across(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Return whether a component of a mask reaches over most of the image but covers little of it."""
    components = label_components(mask)
    rows, columns = mask.shape
    across = (components.height > 0.8 * rows) | (components.width > 0.8 * columns)
    return bool((across & (components.area < 0.4 * mask.size)).any())


def include_ruling(ground: Ground, grey: Float[np.ndarray, "h w"]) -> tuple[Ground, Float[np.ndarray, "h w"]]:
    """Return a ground that includes the lines of the paper, and the image without them."""
    lines = find_ruling(ground.contrast, ground.threshold)
    if not lines.any():
        return ground, grey
    level = (ground.level + ground.sign * lines).astype(np.float32)
    return replace(ground, level=level, contrast=ground.contrast - lines), grey - ground.sign * lines


def clear_border(contrast: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h w"]:
    """Remove a frame or a strip of the desk: rows and columns at the edge that stand out on their whole length."""
    mask = contrast > threshold
    rows, columns = mask.mean(1), mask.mean(0)
    sides = (rows, rows[::-1], columns, columns[::-1])
    limit = 0.85 if sum(side[0] > 0.85 for side in sides) >= 3 else 0.97
    widths = [int(np.argmin(side[: max(1, len(side) // 3)] > limit)) for side in sides]
    if not any(widths):
        return contrast
    top, bottom, left, right = (width + 2 if width else 0 for width in widths)
    height, width = contrast.shape
    cleared = np.zeros_like(contrast)
    inner = slice(top, height - bottom), slice(left, width - right)
    cleared[inner] = contrast[inner]
    return cleared
