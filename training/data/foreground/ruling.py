"""Find the lines of ruled and squared paper, so that they can be counted as ground.

Lines are parallel to one slope per direction and run across the whole image. Strips of the image show at which heights
there is contrast; a slope is right if the heights of most strips agree.
"""

import numpy as np
from jaxtyping import Float, Int

MAX_SLOPE, SLOPES = 0.2, 81  # rise by width; number of slopes that are tried
STRIPS = 16
COVERAGE = 20  # percentile of the strips, or of the pixels of a line, that must show the line
MIN_LENGTH = 0.25  # of the width, of the part of a line that lies in the image
MAX_LINES_SHARE = 0.4  # of the heights; more are the spaces between lines, on the other sign
REACH = 3  # pixels above and below a line that show whether a stroke crosses it


def find_ruling(contrast: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h w"]:
    """Return the contrast that is due to lines across the image; 0 where a stroke crosses a line.

    Args:
        contrast: Difference of the image from its ground.
        threshold: Contrast above which it is more than noise.
    """
    lines = np.zeros_like(contrast)
    for flip in (False, True):
        part = contrast.T if flip else contrast
        found = find_rows(part, threshold)
        lines = np.maximum(lines, found.T if flip else found)
    if not lines.any():
        return lines
    rest = np.where(contrast > 1.5 * lines + threshold, contrast, np.maximum(contrast - lines, 0))
    rest[lines == 0] = contrast[lines == 0]
    is_stroke = (rest > threshold) & (lines == 0)
    crossed = (look(is_stroke, 0, 1) & look(is_stroke, 0, -1)) | (look(is_stroke, 1, 1) & look(is_stroke, 1, -1))
    return np.where(crossed, 0, np.minimum(lines, contrast))


def look(mask: np.ndarray, axis: int, direction: int) -> np.ndarray:
    """Return for every pixel whether one of the next `REACH` pixels in a direction belongs to a mask."""
    result = np.zeros_like(mask)
    for step in range(1, REACH + 1):
        shifted = np.zeros_like(mask)
        source, target = slice(step, None), slice(None, -step)
        if direction < 0:
            source, target = target, source
        index = (target, slice(None)) if axis == 0 else (slice(None), target)
        origin = (source, slice(None)) if axis == 0 else (slice(None), source)
        shifted[index] = mask[origin]
        result |= shifted
    return result


def find_rows(contrast: Float[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, "h w"]:
    """Return the contrast of the lines that are nearly horizontal."""
    height, width = contrast.shape
    if width < 4 * STRIPS or height < 16:
        return np.zeros_like(contrast)
    row = np.arange(height)[:, None]
    column = np.arange(width) - width / 2
    centres = column[: width // STRIPS * STRIPS].reshape(STRIPS, -1).mean(1)
    strips = contrast[:, : width // STRIPS * STRIPS].reshape(height, STRIPS, -1).mean(2)
    best_slope, best_score = 0.0, 0.0
    for slope in np.linspace(-MAX_SLOPE, MAX_SLOPE, SLOPES):
        sheared = shear(strips, row, np.rint(slope * centres).astype(np.intp))
        score = float((np.sort(sheared, 1)[:, STRIPS * COVERAGE // 100] ** 2).sum())
        if score > 1.02 * best_score or (score >= best_score and abs(slope) < abs(best_slope)):
            best_slope, best_score = float(slope), score
    offset = np.rint(best_slope * column).astype(np.intp)
    low, middle = compute_percentiles(shear(contrast, row, offset, outside=np.inf))
    profile = np.where(low > threshold / 2, middle, 0)
    profile = np.maximum(profile, np.maximum(np.roll(profile, 1), np.roll(profile, -1)) * (middle > threshold / 2))
    if (profile > 0).mean() > MAX_LINES_SHARE:
        return np.zeros_like(contrast)
    profile = remove_wide_runs(profile, max(3, height // 40))
    return profile[np.clip(row - offset, 0, height - 1)]


def remove_wide_runs(profile: Float[np.ndarray, " h"], most: int) -> Float[np.ndarray, " h"]:
    """Return a profile without the runs of more than `most` values above 0, which are no lines."""
    bounds = np.flatnonzero(np.diff(np.concatenate(([0], (profile > 0).astype(np.int8), [0]))))
    result = profile.copy()
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        if end - start > most:
            result[start:end] = 0
    return result


def compute_percentiles(
    sheared: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, " h"], Float[np.ndarray, " h"]]:
    """Return the percentile `COVERAGE` and the median of the finite values of every row; 0 where few are finite."""
    ordered = np.sort(sheared, 1)
    count = np.isfinite(ordered).sum(1)
    low, middle = (
        np.take_along_axis(ordered, np.maximum(count * share // 100 - 1, 0)[:, None], 1)[:, 0]
        for share in (COVERAGE, 50)
    )
    enough = count > MIN_LENGTH * sheared.shape[1]
    return np.where(enough, low, 0), np.where(enough, middle, 0)


def shear(
    values: Float[np.ndarray, "h n"], row: Int[np.ndarray, "h 1"], offset: Int[np.ndarray, " n"], outside: float = 0.0
) -> Float[np.ndarray, "h n"]:
    """Return the values with every column moved up by its offset; rows beyond the border have the value `outside`."""
    source = row + offset
    inside = (source >= 0) & (source < len(values))
    moved = np.take_along_axis(values, np.clip(source, 0, len(values) - 1), 0)
    return np.where(inside, moved, outside).astype(values.dtype)
