"""Find the two colours of a maze in an image: that of the walls and that of the paths, whichever is which."""

from dataclasses import dataclass

import numpy as np

MAX_EDGE_PIXELS = 40_000  # whose colours are looked at
MIN_COLOUR_DISTANCE = 0.1  # between the two colours
MAX_OVERSHOOT = 0.6  # of a pixel beyond one of the colours; in blurred images, edges show them too close together
OFF_DISTANCE = 0.25  # from the line between the two colours, beyond which a pixel has a third colour


@dataclass(frozen=True)
class TwoColours:
    """An image on the scale between two colours.

    Attributes:
        dark: The darker colour, shape (3).
        bright: The brighter colour, shape (3).
        brightness: Near 0 for dark pixels and near 1 for bright ones, shape (h, w).
        is_two_coloured: Whether each pixel is near one of the colours or a mixture of them, shape (h, w).
    """

    dark: np.ndarray
    bright: np.ndarray
    brightness: np.ndarray
    is_two_coloured: np.ndarray


def split_colours(pixels: np.ndarray) -> TwoColours | None:
    """Return an image on the scale between the two colours that meet at most edges, or None if it has one colour.

    Args:
        pixels: Image of shape (h, w, 3) in [0, 1], float32.
    """
    colours = select_edges(pixels)
    if colours is None or len(colours) < 16:
        return None
    dark, bright = find_two_colours(colours)
    if np.linalg.norm(bright - dark) < MIN_COLOUR_DISTANCE:
        return None
    residual, brightness = project_colours(pixels, dark, bright)
    distance = compute_lengths(residual)
    typical = float(np.median(distance[:: max(1, len(distance) // 200)]))  # of noise
    return TwoColours(dark, bright, brightness, distance < max(OFF_DISTANCE, 4 * min(typical, 0.2)))


def project_colours(pixels: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what pixels have beside a mixture of two colours, shape (h, w, 3), and the share of the second, shape (h, w)."""
    start, axis = start.astype(np.float32), (end - start).astype(np.float32)
    share = np.clip((pixels - start) @ (axis / (axis @ axis)), -MAX_OVERSHOOT, 1 + MAX_OVERSHOOT)
    return pixels - start - share[..., None] * axis, share


def select_edges(pixels: np.ndarray) -> np.ndarray | None:
    """Return the colours of pixels beside strong edges, shape (n, 3): walls and paths alike, but no wide margin."""
    across = find_largest(np.abs(np.diff(pixels, axis=1)))
    down = find_largest(np.abs(np.diff(pixels, axis=0)))
    strongest = max(float(across.max()), float(down.max())) / 2
    strongest = max(strongest, *(float(np.quantile(slopes[::4, ::4], 0.99)) for slopes in (across, down)))
    if strongest < 0.004:
        return None
    is_near = np.zeros(pixels.shape[:2], bool)
    for shift in (-1, 0, 1, 2):
        rows, columns = np.nonzero(across > strongest / 3)
        is_near[rows, np.clip(columns + shift, 0, pixels.shape[1] - 1)] = True
        rows, columns = np.nonzero(down > strongest / 3)
        is_near[np.clip(rows + shift, 0, pixels.shape[0] - 1), columns] = True
    colours = pixels[is_near]
    return colours[:: max(1, len(colours) // MAX_EDGE_PIXELS)].astype(np.float64)


def find_largest(values: np.ndarray) -> np.ndarray:
    """Return the largest value of three channels, shape (h, w); NumPy reduces short axes slowly."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def compute_lengths(vectors: np.ndarray) -> np.ndarray:
    """Return the Euclidean length of vectors along the last axis."""
    return np.sqrt(np.einsum("...c,...c->...", vectors, vectors))


def find_two_colours(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the darker and the brighter of the two colours of most pixels."""
    centred = colours - np.median(colours, 0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    axis = directions[:, -1] * (1 if directions[:, -1].sum() >= 0 else -1)
    for _ in range(2):
        along = colours @ axis
        is_bright = along > find_threshold(along)
        if is_bright.all() or not is_bright.any():
            break
        dark, bright = np.median(colours[~is_bright], 0), np.median(colours[is_bright], 0)
        if not (bright - dark).any():
            break
        axis = (bright - dark) / np.linalg.norm(bright - dark)
    else:
        return dark, bright
    return np.quantile(colours, 0.1, 0), np.quantile(colours, 0.9, 0)


def find_threshold(values: np.ndarray) -> float:
    """Return the threshold that separates values into two classes with the least variance within (Otsu)."""
    ordered = np.sort(values, axis=None)
    total = np.cumsum(ordered)
    count = np.arange(1, len(ordered))
    below = total[:-1] / count
    above = (total[-1] - total[:-1]) / (len(ordered) - count)
    between = count * (len(ordered) - count) * (above - below) ** 2
    best = int(between.argmax()) if len(between) else 0
    return float((below[best] + above[best]) / 2) if len(between) else float(ordered[0])
